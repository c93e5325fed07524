"""Kraken's names of pairs: `XBTUSDT` is BTC/USDT, `XXBTZUSD` is the older name of `XBTUSD`.

Every pair has an `altname`, which requests and downloaded files use, and a canonical name, which answers use; the two differ
for the oldest assets, which have an X (crypto) or Z (currency) before their letters. Some assets have a code of their own.
Pairs of tokenized shares (`AAPLxUSD`), dark pools (`XBTUSD.d`), staked coins (`ETH2.SETH`) and synthetic pairs (`:BTNL`) are
not ours: a tokenized share differs from another asset by a small letter only, and needs another parameter in each request.
"""

from __future__ import annotations

import re

from crypto_assets.sources.pair_names import faithful, splits

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

_LONG = {code[1:]: code for code in _WITH_LETTER}
_TWO_LONG = 8

# Quote currencies (AssetPairs answers of 2021 and 2025).
_QUOTES = (
    *("PYUSD", "RLUSD", "USDT", "USDC", "USDG", "USDQ", "USDR", "EURC", "EURQ", "EURR", "EURT", "DAI"),
    *("XBT", "ETH", "DOT", "SOL", "BTC", "USD", "EUR", "GBP", "CAD", "AUD", "JPY", "CHF", "AED"),
)
_PAIR = re.compile(r"[A-Z0-9]{3,}")


def exchange_symbol(symbol: str) -> str:
    """Return the altname of a unified symbol: `BTC/USD` → `XBTUSD`."""
    base, _, quote = symbol.partition("/")
    return _OWN.get(base, base) + _OWN.get(quote, quote)


def unified(base: str, quote: str) -> str:
    """Return the unified symbol of two of Kraken's codes, as `wsname` has them: `XBT`, `USD` → `BTC/USD`."""
    return f"{_CODES.get(base, base)}/{_CODES.get(quote, quote)}"


def names_of(symbol: str) -> tuple[str, str]:
    """Return the altname of a unified symbol, and the longer canonical name of pairs of old assets (not all have one):
    `XBTUSD` and `XXBTZUSD` for BTC/USD.
    """
    base, _, quote = symbol.partition("/")
    first, second = _OWN.get(base, base), _OWN.get(quote, quote)
    both_old = first in _LONG and second in _LONG
    is_odd = (first, second) == ("USDT", "USD")  # the only newer asset with the longer code of a currency
    return first + second, _LONG.get(first, first) + _LONG[second] if both_old or is_odd else first + second


def symbols_of(name: str) -> tuple[str, ...]:
    """Return the unified symbols that an altname can stand for; none for a canonical name, or for no pair of ours."""
    if not _PAIR.fullmatch(name) or (len(name) == _TWO_LONG and {name[:4], name[4:]} <= _WITH_LETTER):
        return ()
    texts = [unified(base, quote) for base, quote in splits(name, _QUOTES)]
    return faithful("spot", name, texts, exchange_symbol)
