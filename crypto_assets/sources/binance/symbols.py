"""Binance's own names of symbols: BTC/USDT is `BTCUSDT`, BTC/USD:BTC `BTCUSD_PERP`, BTC/USDT:USDT-240628 `BTCUSDT_240628`."""

from __future__ import annotations

import re

# Every quote asset that Binance has ever listed pairs in, the longer names first: a name does not say where its base ends.
_QUOTES = sorted(
    (
        *("AEUR", "ARS", "AUD", "BIDR", "BKRW", "BNB", "BRL", "BTC", "BUSD", "BVND", "COP", "CZK"),
        *("DAI", "DOGE", "DOT", "ETH", "EUR", "EURI", "FDUSD", "GBP", "GYEN", "IDRT", "JPY", "MXN"),
        *("NGN", "PAX", "PLN", "RON", "RUB", "SOL", "TRX", "TRY", "TUSD", "UAH", "USD", "USD1"),
        *("USDC", "USDP", "USDS", "USDT", "UST", "VAI", "XRP", "XUSD", "ZAR", "BFUSD", "RLUSD", "U"),
    ),
    key=len,
    reverse=True,
)
_DATED = re.compile(r"(.+)_(\d{6})", re.ASCII)
_PERPETUAL = "_PERP"


def exchange_name(market_type: str, symbol: str) -> str:
    """Return Binance's own name of a unified symbol."""
    pair, _, settle = symbol.partition(":")
    _, dash, expiry = settle.partition("-")
    name = pair.replace("/", "")
    if dash:
        return f"{name}_{expiry}"
    return name + _PERPETUAL if market_type == "inverse" else name


def unified(market_type: str, name: str) -> str | None:
    """Return the unified symbol of Binance's own name; None for a name of another market type, or of no known quote asset."""
    pair, expiry = name, ""
    if market_type != "spot":
        if dated := _DATED.fullmatch(name):
            pair, expiry = dated[1], f"-{dated[2]}"
        elif market_type == "inverse":
            if not name.endswith(_PERPETUAL):
                return None
            pair = name.removesuffix(_PERPETUAL)
    quotes = ("USD",) if market_type == "inverse" else _QUOTES
    quote = next((quote for quote in quotes if pair.endswith(quote) and len(pair) > len(quote)), None)
    if quote is None or "_" in pair:
        return None
    base = pair.removesuffix(quote)
    if market_type == "spot":
        return f"{base}/{quote}"
    return f"{base}/{quote}:{base if market_type == 'inverse' else quote}{expiry}"
