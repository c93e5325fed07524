"""Bybit's own names of symbols.

Spot:    BTC/USDT is `BTCUSDT`.
Linear:  BTC/USDT:USDT is `BTCUSDT`, BTC/USDC:USDC `BTCPERP`; dated ones BTC/USDT:USDT-250314 `BTCUSDT-14MAR25` and
         BTC/USDC:USDC-250314 `BTC-14MAR25`.
Inverse: BTC/USD:BTC is `BTCUSD`; dated BTC/USD:BTC-241227 `BTCUSDZ24`, by the month's letter (F = January … Z = December).
         The day is the month's last Friday: the name does not say it. Contracts are delivered at 08:00 UTC (deliveryTime).
Sources: the symbols of recorded answers of /v5/market/instruments-info and /v5/market/tickers; ccxt reads them the same way.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from crypto_assets.sources.pair_names import faithful, splits

# Quote assets of a recorded tickers answer (2026-02) and of older spot listings.
_SPOT_QUOTES = (
    *("USDT", "USDC", "USDE", "USD1", "RLUSD", "XUSD", "USDQ", "USDR", "USD", "DAI", "BTC", "ETH", "SOL"),
    *("MNT", "BIT", "EUR", "GBP", "BRL", "BRZ", "PLN", "TRY", "JPY", "ARS", "MXN", "AED", "IDR"),
)

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_LETTERS = "FGHJKMNQUVXZ"
_DATED = re.compile(r"([^-]+)-(\d{1,2})([A-Z]{3})(\d{2})", re.ASCII)
_QUARTERLY = re.compile(r"(.+USD)([FGHJKMNQUVXZ])(\d{2})", re.ASCII)

_RENAMED = re.compile(r"OLD\d{2}")
"""A folder of the archive whose symbol was renamed away: `DATAOLD01USDT`."""

_FRIDAY = 4


def exchange_name(market_type: str, symbol: str) -> str:
    """Return Bybit's own name of a unified symbol."""
    pair, _, settle = symbol.partition(":")
    settle, _, expiry = settle.partition("-")
    base, _, quote = pair.partition("/")
    if market_type == "spot":
        return base + quote
    if not expiry:
        return f"{base}PERP" if settle == "USDC" else base + quote
    day = _day(expiry)
    if day is None:  # such a contract does not exist; its name is nobody's
        return f"{base}{quote}-{expiry}"
    if market_type == "inverse":
        return f"{base}{quote}{_LETTERS[day.month - 1]}{day:%y}"
    return f"{base if quote == 'USDC' else base + quote}-{day.day}{_MONTHS[day.month - 1]}{day:%y}"


def symbols_of(market_type: str, name: str) -> tuple[str, ...]:
    """Return the unified symbols that Bybit's own name can stand for; none for a name of another market type, of no known
    quote asset, or of a symbol that was renamed away.
    """
    read = {"spot": _spot, "linear": _linear, "inverse": _inverse}.get(market_type)
    if read is None or _RENAMED.search(name):
        return ()
    return faithful(market_type, name, read(name), lambda symbol: exchange_name(market_type, symbol))


def _spot(name: str) -> list[str]:
    return [f"{base}/{quote}" for base, quote in splits(name, _SPOT_QUOTES)]


def _linear(name: str) -> list[str]:
    pair, expiry = name, ""
    if "-" in name:
        dated = _DATED.fullmatch(name)
        day = _from_parts(int(dated[4]), dated[3], int(dated[2])) if dated else None
        if dated is None or day is None:
            return []
        pair, expiry = dated[1], f"-{day:%y%m%d}"
        if not pair.endswith("USDT"):
            return [f"{pair}/USDC:USDC{expiry}"]
    elif name.endswith("PERP"):
        return [f"{name.removesuffix('PERP')}/USDC:USDC"]
    return [f"{base}/{quote}:{quote}{expiry}" for base, quote in splits(pair, ("USDT",))]


def _inverse(name: str) -> list[str]:
    pair, expiry = name, ""
    if quarterly := _QUARTERLY.fullmatch(name):
        pair = quarterly[1]
        expiry = f"-{_last_friday(2000 + int(quarterly[3]), _LETTERS.index(quarterly[2]) + 1):%y%m%d}"
    return [f"{base}/{quote}:{base}{expiry}" for base, quote in splits(pair, ("USD",))]


def _last_friday(year: int, month: int) -> date:
    last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - _FRIDAY) % 7)


def _from_parts(year: int, month: str, day: int) -> date | None:
    try:
        return date(2000 + year, _MONTHS.index(month) + 1, day)
    except ValueError:
        return None


def _day(expiry: str) -> date | None:
    try:
        return datetime.strptime(expiry, "%y%m%d").replace(tzinfo=UTC).date() if expiry else None
    except ValueError:  # 241399 is not a day
        return None
