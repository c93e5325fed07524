"""Symbols as people and ccxt write them: `BTC/USDT`, `BTC/USDT:USDT`, `BTC/USDT:USDT-240628`; in paths `BTC-USDT`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from crypto_assets.model.series import OTHER_TYPES


def path_symbol(symbol: str) -> str:
    """Return the form of a symbol in paths and asset keys: `BTC/USDT:USDT` → `BTC-USDT`, dated ones keep the date.

    `BTC/USDT:USDT-240628` → `BTC-USDT-240628`.
    """
    pair, _, settle = symbol.partition(":")
    _, dash, expiry = settle.partition("-")
    return pair.replace("/", "-") + dash + expiry


_SYMBOL = re.compile(r"([^/:\-]+)[/-]([^/:\-]+)(?::([^/:\-]+))?(?:-([0-9]{6}))?")
_NAME = re.compile(r"[A-Z0-9_]{1,50}")
_MOST_LETTERS = 50
"""The most letters of a symbol at Binance. At up to 4 bytes each they still fit into the name of a folder."""

# Invisible letters and marks, by their class: joiners, Hangul fillers, variation selectors.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def is_word(text: str) -> bool:
    """Return whether a text has only letters and decimal digits of any script, and the marks that belong to letters."""
    classes = [unicodedata.category(letter) for letter in text]
    return classes[0] not in ("Mn", "Mc") and all(one[0] == "L" or one in ("Nd", "Mn", "Mc") for one in classes)


def symbol_text(text: str) -> str:
    """Return a typed symbol with its letters as exchanges write them: composed (NFC), capital.

    A letter stays as it is if its capital is several letters, or is another letter's capital too (ß, ı).
    """
    composed = unicodedata.normalize("NFC", text.strip())
    return "".join(c.upper() if len(c.upper()) == 1 and c.upper().lower() == c else c for c in composed)


def unified_symbol(text: str, market_type: str) -> str:
    """Return the symbol as ccxt writes it; `BTC/USDT` and `BTC-USDT` are accepted if the market type decides the rest.

    Letters and digits of every script are accepted (币安人生/USDT is listed); signs, blanks and pictures are not.

    Sources that are no exchange have names instead: COINDESK.

    Raises:
        ValueError: not a symbol, or its settle currency contradicts the market type.
    """
    written = symbol_text(text)
    if market_type in OTHER_TYPES:
        return _name(text, written)
    match = _SYMBOL.fullmatch(written)
    words = [word for word in match.groups() if word] if match else []
    if not match or len(written) > _MOST_LETTERS or _UNSEEN.search(written) or not all(map(is_word, words)):
        raise ValueError(
            f"symbol {text[:80]!r}: expected the form BTC/USDT, BTC/USDT:USDT or BTC/USDT:USDT-240628, of letters and digits"
        )
    base, quote, settle, expiry = match.groups()
    if market_type == "spot":
        if settle or expiry:
            raise ValueError(f"symbol {text!r}: a spot symbol has no settle currency and no date; write {base}/{quote}")
        return f"{base}/{quote}"
    expected = quote if market_type == "linear" else base
    if settle not in (None, expected):
        raise ValueError(f"symbol {text!r}: {market_type} contracts of {base}/{quote} settle in {expected}")
    return f"{base}/{quote}:{expected}" + (f"-{expiry}" if expiry else "")


def _name(text: str, written: str) -> str:
    if not _NAME.fullmatch(written):
        raise ValueError(f"symbol {text[:80]!r}: expected a name of letters and digits such as COINDESK")
    return written


_ALIKE = 0.6
_LEAST = 3


def similar_symbols(symbol: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known symbols that a mistyped symbol may mean, the likeliest first; all must be spelled the same way.

    A common ending does not count: `DOGE/USDT` is not similar to `SOL/USDT`.
    """
    scores = sorted(((_likeness(symbol, name), name) for name in known), key=lambda one: (-one[0], one[1]))
    return [name for score, name in scores[:most] if score >= _ALIKE]


def _likeness(one: str, other: str) -> float:
    from difflib import SequenceMatcher  # imported only after a mistyped symbol

    same = next((n for n, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b), len(one))
    end = max(0, min(same, len(one) - _LEAST, len(other) - _LEAST))
    return SequenceMatcher(None, one[: len(one) - end], other[: len(other) - end]).ratio()
