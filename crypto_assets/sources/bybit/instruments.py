"""Bybit's instruments: /v5/market/instruments-info, 1,000 a page by cursor; spot has one page.

Contracts that trade come first, then those that have ended (`status=Closed`); ended pairs of spot are in the archive's
listing alone.
Amounts: base; inverse contracts are 1 USD each.
Life:    `launchTime` and `deliveryTime` in milliseconds, 0 for none; spot says neither. `deliveryTime` is also when a
         perpetual contract was delisted: `contractType` says whether the symbol has a date.
Source: bybit-exchange.github.io/docs/v5/market/instrument, and the API explorer for the values of `status`; a recorded spot
answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crypto_assets.model import Instrument
from crypto_assets.sources.bybit.answers import list_of, result_of
from crypto_assets.sources.bybit.symbols import exchange_name
from crypto_assets.sources.feeds import Call
from crypto_assets.sources.instruments import InstrumentList, above_zero, instant_of
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.pair_names import faithful

_PAGE = 1000
_WHAT = "instruments-info"
_ENDED = "Closed"


@dataclass(frozen=True, slots=True)
class BybitInstruments(InstrumentList):
    """The instruments of one market type."""

    market_type: str

    exchange = ccxt_id = "bybit"
    key_advice = "Bybit's market endpoints need no key"
    what = _WHAT
    name_field = "symbol"
    expected = "a symbol with its assets, steps and dates"

    def call(self) -> Call:
        return self._call({})

    def following(self, call: Call, answer: Any) -> Call | None:
        """Return the request for the page after an answer, or for the ended contracts; None if it was the last.

        What was asked for decides, not the rows: a host that ignores `status` answers with those that trade once more.
        """
        status: dict[str, str | int] = {"status": _ENDED} if call.params.get("status") == _ENDED else {}
        if cursor := result_of(_WHAT, answer).get("nextPageCursor"):
            return self._call({**status, "cursor": str(cursor)})
        return None if status or self.market_type == "spot" else self._call({"status": _ENDED})

    def has_ended(self, one: Instrument) -> bool:
        return one.status == _ENDED

    def rows(self, answer: Any) -> list[Any]:
        return list_of(_WHAT, answer)[::-1]

    def instrument(self, row: Mapping[str, Any]) -> Instrument | None:
        """Return an instrument; None for a name that is not that of its assets and dates: another symbol has that name."""
        name, base, settle = str(row["symbol"]), str(row["baseCoin"]), self._settle(row)
        quote = settle if self.market_type == "linear" and settle else str(row["quoteCoin"])
        ends = None if self.market_type == "spot" else instant_of(row["deliveryTime"])
        expiry = f"-{ends:%y%m%d}" if ends and not str(row.get("contractType")).endswith("Perpetual") else ""
        text = f"{base}/{quote}" + (f":{settle}" if settle else "") + expiry
        found = faithful(self.market_type, name, [text], lambda symbol: exchange_name(self.market_type, symbol))
        sizes, tick_size = row["lotSizeFilter"], above_zero(row["priceFilter"]["tickSize"])
        if not found:
            return None
        return Instrument(
            exchange="bybit",
            market_type=self.market_type,
            symbol=found[0],
            exchange_symbol=name,
            base=base,
            quote=quote,
            settle=settle,
            inverse=self.market_type == "inverse",
            tick_size=tick_size,
            lot_size=above_zero(sizes["basePrecision" if self.market_type == "spot" else "qtyStep"]),
            listed_at=None if self.market_type == "spot" else instant_of(row["launchTime"]),
            delisted_at=ends,
            status=str(row["status"]),
        )

    def _settle(self, one: Mapping[str, Any]) -> str | None:
        return None if self.market_type == "spot" else str(one["settleCoin"])

    def _call(self, more: Mapping[str, str | int]) -> Call:
        page: dict[str, str | int] = {} if self.market_type == "spot" else {"limit": _PAGE}
        params = {"category": self.market_type, **page, **more}
        return Call("publicGetV5MarketInstrumentsInfo", params, Endpoint("bybit", "rest", "instruments"))
