"""Symbols of an entry by rule: `all`, patterns such as `*/USDT`, and `top: 50 by quote volume`.

A rule says which of the symbols that an exchange lists, or ever listed, an entry collects. The names come from the ledger
(`crypto_assets/ledger/symbol_rules.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from crypto_assets.model.symbols import is_word, symbol_text

ALL = "all"
_ANY = "*"
_TOP = re.compile(r"(\d{1,5}) by quote volume", re.ASCII)
_PART = r"[^/:\-]*"
_LETTERS = re.compile(r"[^/:\-\s]+([/-][^/:\-\s]+(:[^/:\-\s]+)?)?")


@dataclass(frozen=True, slots=True)
class SymbolRule:
    """Which listed symbols an entry collects: those that match any pattern, all or the `top` of them by quote volume."""

    patterns: tuple[str, ...]
    top: int | None = None

    def matches(self, symbol: str) -> bool:
        """Return whether a unified symbol matches a pattern."""
        return any(_compiled(pattern).fullmatch(symbol) is not None for pattern in self.patterns)

    def of(self, symbols: Iterable[str]) -> list[str]:
        """Return the symbols that match, in their order."""
        return [symbol for symbol in symbols if self.matches(symbol)]

    def __str__(self) -> str:
        every = "all" if self.patterns == (_ANY,) else ", ".join(self.patterns)
        return every if self.top is None else f"top {self.top} by quote volume of {every}"


def is_pattern(text: str) -> bool:
    """Return whether a text in `symbols` is a pattern, not a symbol."""
    return _ANY in text


def spell_out_all(value: Any) -> Any:
    """Return `symbols: all` as the pattern that it stands for; other values as they are."""
    if isinstance(value, str):
        if value.strip().lower() == ALL:
            return [_ANY]
        raise ValueError(f"expected `all` or a list of symbols and patterns such as */USDT, found {value!r}")
    return value


def unified_pattern(text: str, market_type: str) -> str:
    """Return a pattern as it is compared with unified symbols: `*/usdt` → `*/USDT`, `BTC-*` → `BTC/*`.

    Raises:
        ValueError: it is neither `*` nor of the form `*/USDT`, `BTC/*` or `*/USDT:USDT`, or no symbol of the market type
            can match it.
    """
    pattern = symbol_text(text)
    words = filter(None, re.split(r"[*/:\-]", pattern))
    is_pair = pattern == _ANY or "/" in pattern or "-" in pattern
    if not _LETTERS.fullmatch(pattern) or not is_pair or not all(map(is_word, words)):
        raise ValueError(
            f"pattern {text[:80]!r}: expected the form */USDT, BTC/*, 1000*/USDT or *; only * stands for other letters"
        )
    found = pattern if "/" in pattern else pattern.replace("-", "/", 1)
    if market_type == "spot" and ":" in found:
        pair = found.partition(":")[0]
        raise ValueError(f"pattern {text[:80]!r}: a spot symbol has no settle currency; write {pair}")
    return found


def require_one_quote(texts: Sequence[str]) -> None:
    """Require that all symbols of some patterns and symbols have one quote currency: else volumes cannot be compared.

    Raises:
        ValueError: they may have several.
    """
    quotes = sorted({text.partition("/")[2].partition(":")[0] or _ANY for text in texts})
    if len(quotes) > 1 or _ANY in quotes[0]:
        found = ALL if list(texts) == [_ANY] else ", ".join(texts)
        raise ValueError(
            f"top: expected symbols of one quote currency, such as */USDT, because volumes in different currencies cannot be "
            f"compared; found {found[:80]}; write one entry for each quote currency"
        )


def top_of(text: str | None) -> int | None:
    """Return the number in `50 by quote volume`; None without a text.

    Raises:
        ValueError: another form, or no symbol at all.
    """
    if text is None:
        return None
    match = _TOP.fullmatch(" ".join(str(text).split()))
    if match is None or not int(match[1]):
        raise ValueError(f"expected a number of symbols such as `50 by quote volume`, found {text!r}")
    return int(match[1])


def rule_of(patterns: Sequence[str], symbols: Sequence[str], top: int | None) -> SymbolRule | None:
    """Return the rule of an entry; None if it names its symbols. With `top` the named symbols are what is ranked."""
    if top is not None:
        return SymbolRule((*patterns, *symbols), top)
    return SymbolRule(tuple(patterns)) if patterns else None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern. Without a settle currency it is for the pair, in every settlement and date."""
    if pattern == _ANY:
        return re.compile(r".*", re.DOTALL)
    parts = [re.escape(part) for part in pattern.split(_ANY)]
    ending = r"(-\d{6})?" if ":" in pattern else r"(:[^/:]*)?"
    return re.compile(_PART.join(parts) + ending)
