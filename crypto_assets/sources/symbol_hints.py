"""Suggests unified symbols to a person who wrote an exchange's own name (`BTCUSDT`), or forgot the slash."""

from __future__ import annotations

from crypto_assets import sources
from crypto_assets.model import MARKET_TYPES, unified_symbol
from crypto_assets.model.symbols import symbol_text
from crypto_assets.sources.pair_names import splits

_QUOTES = ("USDT", "USDC", "USD", "EUR", "BTC", "ETH")
"""Quote assets that are tried where the exchange itself has no such name."""

_MOST = 3


def symbol_hint(exchange: str, market_type: str, text: str) -> str:
    """Return `; did you mean BTC/USDT (spot) or BTC/USDT:USDT (linear)?` for BTCUSDT, the asked market first; or "".

    A text with a slash is not an exchange's own name, so it gets no suggestion.
    """
    if market_type not in MARKET_TYPES or "/" in text or exchange not in sources.names():
        return ""
    source = sources.get(exchange)
    there = [kind for kind in MARKET_TYPES if source.dataset_names(kind)]
    kinds = sorted(there, key=lambda kind: kind != market_type)
    letters = "".join(sign for sign in symbol_text(text) if sign.isalnum())
    found = {
        (symbol, kind): None
        for kind in kinds
        for name in dict.fromkeys((symbol_text(text), letters))
        for symbol in source.symbols(kind, name)
    }
    if not found:
        base_and_quote = splits(letters, _QUOTES)[:1]
        pairs = [
            (f"{base}/{quote}", kind)
            for base, quote in base_and_quote
            for kind in kinds
            if kind == "spot" or (kind == "inverse") == (quote == "USD")
        ]
        found = {(_unified(pair, kind), kind): None for pair, kind in pairs if _unified(pair, kind)}
    if not found:
        return ""
    first, *_ = found
    alone = len(found) == 1 and first[1] == market_type
    words = [symbol if alone else f"{symbol} ({kind})" for symbol, kind in list(found)[:_MOST]]
    return f"; did you mean {' or '.join(words)}?"


def _unified(pair: str, market_type: str) -> str:
    try:
        return unified_symbol(pair, market_type)
    except ValueError:
        return ""
