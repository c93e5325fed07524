"""OKX's own names of symbols: BTC/USDT is `BTC-USDT`, BTC/USDT:USDT `BTC-USDT-SWAP`, BTC/USD:BTC-240628 `BTC-USD-240628`.

The market type of a contract follows from its quote: USD is `inverse` (margined in the base), USDT and USDC are `linear`.
"""

from __future__ import annotations

from crypto_assets.sources.pair_names import faithful

_SWAP = "SWAP"
_QUOTES = {"USDT": "linear", "USDC": "linear", "USD": "inverse"}
_DATE_LETTERS = 6


def exchange_name(symbol: str) -> str:
    """Return OKX's own name of a unified symbol."""
    pair, colon, settle = symbol.partition(":")
    name = pair.replace("/", "-")
    return f"{name}-{settle.partition('-')[2] or _SWAP}" if colon else name


def unified(market_type: str, name: str) -> str | None:
    """Return the unified symbol of OKX's own name; None for an option, an index, or a name of another market type."""
    base, dash, rest = name.partition("-")
    quote, dated, ending = rest.partition("-")
    if not base or not dash or not quote:
        return None
    if market_type == "spot":
        text = "" if dated else f"{base}/{quote}"
    else:
        is_date = len(ending) == _DATE_LETTERS and ending.isascii() and ending.isdigit()
        fits = _QUOTES.get(quote) == market_type and (ending == _SWAP or is_date)
        settle = quote if market_type == "linear" else base
        text = f"{base}/{quote}:{settle}" + (f"-{ending}" if is_date else "") if fits else ""
    return next(iter(faithful(market_type, name, [text], exchange_name)), None)


def kind_of(name: str) -> str:
    """Return OKX's word for the kind of an instrument: SPOT, SWAP or FUTURES."""
    parts = name.split("-")
    return "SPOT" if len(parts) == 2 else _SWAP if parts[-1] == _SWAP else "FUTURES"


def family_of(name: str) -> str:
    """Return the family of a contract: `BTC-USDT` for `BTC-USDT-SWAP`."""
    return "-".join(name.split("-")[:2])
