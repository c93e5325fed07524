"""Kraken's names of pairs: `XBTUSDT` is BTC/USDT, `XXBTZUSD` is the older name of `XBTUSD`.

Every pair has an `altname`, which requests and downloaded files use, and a canonical name, which answers use; the two differ
for the oldest assets, which have an X (crypto) or Z (currency) before their letters. Some assets have a code of their own.
Pairs of tokenized shares (`AAPLxUSD`), dark pools (`XBTUSD.d`), staked coins (`ETH2.SETH`) and synthetic pairs (`:BTNL`) are
not ours: a tokenized share differs from another asset by a small letter only, and needs another parameter in each request.
"""

from __future__ import annotations

import re

# Kraken's code → the code that ccxt and other exchanges use (ccxt 4.5, kraken, commonCurrencies).
_CODES = {
    "XBT": "BTC",
    "XDG": "DOGE",
    "LUNA": "LUNC",
    "LUNA2": "LUNA",
    "UST": "USTC",
    "REP": "REPV1",
    "REPV2": "REP",
}
_OWN = {code: own for own, code in _CODES.items()}

# Assets with a letter in front in canonical names; no others were added since 2018 (AssetPairs answers of 2021 and 2025).
_WITH_LETTER = frozenset(
    {"XETC", "XETH", "XLTC", "XMLN", "XREP", "XXBT", "XXDG", "XXLM", "XXMR", "XXRP", "XZEC"}
    | {"ZAUD", "ZCAD", "ZEUR", "ZGBP", "ZJPY", "ZUSD"}
)

# Quote currencies; the longest that fits is the quote (AssetPairs answers of 2021 and 2025).
_QUOTES = (
    *("PYUSD", "RLUSD", "USDT", "USDC", "USDG", "USDQ", "USDR", "EURC", "EURQ", "EURR", "EURT", "DAI"),
    *("XBT", "ETH", "DOT", "SOL", "BTC", "USD", "EUR", "GBP", "CAD", "AUD", "JPY", "CHF", "AED"),
)
_LONGEST_FIRST = tuple(sorted(_QUOTES, key=len, reverse=True))

_PAIR = re.compile(r"[A-Z0-9]{3,}")


def exchange_symbol(symbol: str) -> str:
    """Return the altname of a unified symbol: `BTC/USD` → `XBTUSD`."""
    base, _, quote = symbol.partition("/")
    return _OWN.get(base, base) + _OWN.get(quote, quote)


def unified(base: str, quote: str) -> str:
    """Return the unified symbol of two of Kraken's codes, as `wsname` has them: `XBT`, `USD` → `BTC/USD`."""
    return f"{_CODES.get(base, base)}/{_CODES.get(quote, quote)}"


def symbol_of(name: str) -> str | None:
    """Return the unified symbol of an altname or a canonical name; None if it is not a pair of ours."""
    if not _PAIR.fullmatch(name):
        return None
    if len(name) == 8 and {name[:4], name[4:]} <= _WITH_LETTER:
        return unified(name[1:4], name[5:])
    if name == "USDTZUSD":  # the only newer asset with an old currency
        return "USDT/USD"
    for quote in _LONGEST_FIRST:
        base = name.removesuffix(quote)
        if base and base != name:
            return unified(base, quote)
    return None
