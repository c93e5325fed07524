"""The world that all exchanges of a sandbox share: one market, its symbols and their days, and the time.

A symbol has one name here: BTCUSDT on `spot` and `linear`, BTCUSD_PERP on `inverse`. A dialect writes it as its exchange
does. The same (market, symbol) has the same trades on every exchange, so that values can be compared across exchanges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from crypto_assets.sandbox.instruments import Instrument, instrument
from crypto_assets.sandbox.market import Market, instant
from crypto_assets.sandbox.outage import Quiet, SilentMarket

NEVER = datetime(2100, 1, 1, tzinfo=UTC)
"""The end of a symbol that is still traded."""

QUOTES = ("USDT", "USDC", "USD", "BTC", "ETH", "EUR")


class World:
    """A synthetic market, and what is listed in it.

    Args:
        symbols: by market (`spot`, `linear`, `inverse`) the symbols; or a mapping of symbol to first and last listed day.
        first_day, last_day: for symbols without their own days; both included.
        trades_per_day: of every symbol; from 1,440 on every minute has a trade.
        now: objects published later do not exist yet; None: the real time. May be changed later: time passes.
        delisted: symbols without their own days end with `last_day`. Otherwise the exchanges still list them, as on
            that day, and serve no later rows: instruments and contract sizes of a past period stay known.

    A dated future such as BTCUSDT_240628 ends at 08:00 of the day in its name.
    """

    synthetic = True

    def __init__(
        self,
        symbols: Mapping[str, Sequence[str] | Mapping[str, tuple[date, date]]],
        first_day: date = date(2024, 1, 1),
        last_day: date = date(2024, 1, 10),
        seed: int = 0,
        trades_per_day: int = 6_000,
        now: datetime | None = None,
        *,
        delisted: bool = True,
    ) -> None:
        self.now = now
        self._going_on: set[tuple[str, str]] = set()
        self.listed: dict[tuple[str, str], tuple[Instrument, date, date]] = {}
        # REST serves no older trades by id, by market and symbol (binance-public-data #376).
        self.oldest_ids: dict[tuple[str, str], int] = {}
        for market, listed in symbols.items():
            spans = listed if isinstance(listed, Mapping) else dict.fromkeys(listed, (first_day, last_day))
            if not isinstance(listed, Mapping) and not delisted:
                self._going_on |= {(market, symbol) for symbol in listed}
            for symbol, (first, last) in spans.items():
                self.listed[market, symbol] = instrument(market, symbol, trades_per_day), first, last
        self._seed = seed
        self._expired = [Quiet(end, None, symbol, listed=False) for _, symbol in self.listed if (end := expiry(symbol))]
        self.stand_still([])

    @property
    def market(self) -> Market:
        """The market; a change (a fault of the market) makes a new one, and all published data follow from it."""
        return self._market

    @property
    def time(self) -> datetime:
        """The time of all exchanges."""
        return self.now or datetime.now(UTC)

    def stand_still(self, quiet: Sequence[Quiet]) -> None:
        """Stop all trading in exactly these spans, in all published data. Contracts still expire."""
        quiet = [*self._expired, *quiet]
        self._market = SilentMarket(self._seed, quiet) if quiet else Market(self._seed)

    def listed_until(self, market: str, symbol: str) -> datetime:
        """Return when a symbol ends: by a fault or its name, else with its last day; `NEVER` if it goes on."""
        item, _, last_day = self.listed[market, symbol]
        end = NEVER if (market, symbol) in self._going_on else instant(last_day + timedelta(days=1), 0)
        return min(self._market.listed_until(item) or end, end)


def named_for(market: str, symbols: Sequence[str]) -> list[str]:
    """Return the symbols of a market among names that a person writes for all markets.

    BTCUSDT is a pair of `spot`, the perpetual of `linear`, and stands for BTCUSD_PERP on `inverse`. A dated contract belongs
    to the market of its quote asset, BTCUSDT_240628 to `linear`, BTCUSD_240628 and BTCUSD_PERP to `inverse`.

    Raises:
        ValueError: none of the symbols is of this market.
    """
    found: dict[str, None] = {}
    for symbol in symbols:
        try:
            base, quote = assets(symbol)
        except ValueError:
            base, quote = symbol, ""  # a made-up name: a pair
        contract, dollars = "_" in symbol, quote in ("USDT", "USDC")
        if market == "inverse":
            if quote == "USD" and contract:
                found[symbol] = None
            elif not contract and (dollars or quote == "USD"):
                found[f"{base}USD_PERP"] = None
        elif (market == "spot" and not contract) or (market != "spot" and (dollars or not quote)):
            found[symbol] = None
    if not found:
        raise ValueError(f"market type {market}: expected a symbol of it, such as BTCUSDT, found {', '.join(symbols)}")
    return list(found)


def assets(symbol: str) -> tuple[str, str]:
    """Return base and quote asset of a symbol: BTC and USDT of BTCUSDT and BTCUSDT_240628, BTC and USD of BTCUSD_PERP.

    Raises:
        ValueError: it ends with none of `QUOTES`.
    """
    name = symbol.partition("_")[0]
    for quote in QUOTES:
        if name.endswith(quote) and name != quote:
            return name.removesuffix(quote), quote
    raise ValueError(f"symbol {symbol!r}: expected a quote asset of {', '.join(QUOTES)} at its end")


def expiry(symbol: str) -> datetime | None:
    """Return when a dated future expires: at 08:00 UTC of the day in its name, such as BTCUSDT_240628; else None."""
    base, _, digits = symbol.partition("_")
    if not base or len(digits) != 6 or not digits.isascii() or not digits.isdigit():
        return None
    try:
        return instant(datetime.strptime(digits, "%y%m%d").date(), 8)  # noqa: DTZ007 - a day
    except ValueError:
        return None
