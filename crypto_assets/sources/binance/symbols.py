"""Binance's own names of symbols: BTC/USDT is `BTCUSDT`, BTC/USD:BTC `BTCUSD_PERP`, BTC/USDT:USDT-240628 `BTCUSDT_240628`."""

from __future__ import annotations

import re

from crypto_assets.sources.pair_names import faithful, splits

# Every quote asset that Binance has ever listed pairs in.
_QUOTES = (
    *("AEUR", "ARS", "AUD", "BIDR", "BKRW", "BNB", "BRL", "BTC", "BUSD", "BVND", "COP", "CZK"),
    *("DAI", "DOGE", "DOT", "ETH", "EUR", "EURI", "FDUSD", "GBP", "GYEN", "IDRT", "JPY", "MXN"),
    *("NGN", "PAX", "PLN", "RON", "RUB", "SOL", "TRX", "TRY", "TUSD", "UAH", "USD", "USD1"),
    *("USDC", "USDP", "USDS", "USDT", "UST", "VAI", "XRP", "XUSD", "ZAR", "BFUSD", "RLUSD", "U"),
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


def symbols_of(market_type: str, name: str) -> tuple[str, ...]:
    """Return the unified symbols that Binance's own name can stand for; none for a name of another market type, or of no
    known quote asset.
    """
    pair, expiry = name, ""
    if market_type != "spot":
        if dated := _DATED.fullmatch(name):
            pair, expiry = dated[1], f"-{dated[2]}"
        else:
            pair = name.removesuffix(_PERPETUAL)
    found = splits(pair, ("USD",) if market_type == "inverse" else _QUOTES)
    texts = {
        "spot": [f"{base}/{quote}" for base, quote in found],
        "linear": [f"{base}/{quote}:{quote}{expiry}" for base, quote in found],
        "inverse": [f"{base}/{quote}:{base}{expiry}" for base, quote in found],
    }
    return faithful(market_type, name, texts.get(market_type, ()), lambda symbol: exchange_name(market_type, symbol))
