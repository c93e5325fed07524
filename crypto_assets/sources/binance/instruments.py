"""Binance's instruments: `exchangeInfo` of spot, USD-M and COIN-M futures.

Sources: rest-api.md ("Exchange information") of github.com/binance/binance-spot-api-docs for spot; for futures the pages
"Exchange Information" of developers.binance.com/docs/derivatives (usds-margined-futures and coin-margined-futures).

One answer has every symbol. Spot keeps symbols in it for a time after they ended (status BREAK); futures drop delisted and
delivered contracts, so a contract that is missing in a later answer has ended, or is hidden for a while.

Amounts: spot and USD-M in base. COIN-M in contracts of `contractSize` USD (100 for BTCUSD, 10 for the others).
Life:    `onboardDate` and `deliveryDate` of futures, milliseconds; a perpetual without an end has 4133404800000 (2100-12-25).
         Spot says neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument, unified_symbol
from crypto_assets.sources.feeds import Call
from crypto_assets.sources.instruments import InstrumentList, above_zero, instant_of
from crypto_assets.sources.limits import Endpoint

_PATHS = {"spot": "/api/v3/exchangeInfo", "linear": "/fapi/v1/exchangeInfo", "inverse": "/dapi/v1/exchangeInfo"}
_HOSTS = {
    "spot": "https://api.binance.com",
    "linear": "https://fapi.binance.com",
    "inverse": "https://dapi.binance.com",
}
_WEIGHTS = {"spot": 20, "linear": 1, "inverse": 1}
_NO_END_MS = 4133404800000


@dataclass(frozen=True, slots=True)
class BinanceInstruments(InstrumentList):
    """The instruments of one market type, in one answer. Its call has a path of its own: ccxt is not needed."""

    market_type: str

    exchange = "binance"
    ccxt_id = ""
    key_advice = ""
    what = "exchangeInfo"
    name_field = "symbol"
    expected = "symbols with their assets, filters and dates"

    @property
    def url(self) -> str:
        """The host that the path of the call is below."""
        return _HOSTS[self.market_type]

    def call(self) -> Call:
        # Without permission sets, which are not used here, the answer of spot is a third as long.
        params: dict[str, str | int] = {"showPermissionSets": "false"} if self.market_type == "spot" else {}
        endpoint = Endpoint("binance", self.market_type, "instruments", _WEIGHTS[self.market_type])
        return Call("", params, endpoint, path=_PATHS[self.market_type])

    def rows(self, answer: Any) -> list[Any]:
        """Return the symbols of an answer."""
        found = answer.get("symbols") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise BadContent(
                f"binance {self.market_type} exchangeInfo: expected {self.expected}, found {str(answer)[:200]}"
            )
        return found

    def instrument(self, row: Mapping[str, Any]) -> Instrument | None:
        """Return an instrument; None for a name that is not that of its assets (`ICPUSDT_SETTLED`): another contract has
        that symbol.
        """
        base, quote, name = str(row["baseAsset"]), str(row["quoteAsset"]), str(row["symbol"])
        settle = None if self.market_type == "spot" else str(row["marginAsset"])
        symbol = self._symbol(name, base, quote, settle)
        if symbol is None:
            return None
        filters = {each["filterType"]: each for each in row["filters"]}
        return Instrument(
            exchange="binance",
            market_type=self.market_type,
            symbol=symbol,
            exchange_symbol=name,
            base=base,
            quote=quote,
            settle=settle,
            contract_size=above_zero(str(row["contractSize"])) if self.market_type == "inverse" else Decimal(1),
            inverse=self.market_type == "inverse",
            tick_size=_step(filters, "PRICE_FILTER", "tickSize"),
            lot_size=_step(filters, "LOT_SIZE", "stepSize"),
            listed_at=_instant(row.get("onboardDate")),
            delisted_at=_instant(row.get("deliveryDate")),
            status=str(row["contractStatus"] if self.market_type == "inverse" else row["status"]),
        )

    def _symbol(self, name: str, base: str, quote: str, settle: str | None) -> str | None:
        """Return the unified symbol; None if the name is not that of the assets, or no symbol at all."""
        ending = name.removeprefix(base + quote)
        if not name.startswith(base + quote) or (ending and (self.market_type == "spot" or not ending.startswith("_"))):
            return None
        expiry = ending.removeprefix("_")
        if expiry == "PERP" and self.market_type == "inverse":
            expiry = ""
        elif expiry and not (expiry.isascii() and expiry.isdigit() and len(expiry) == 6):
            return None
        text = f"{base}/{quote}" + (f":{settle}" if settle else "") + (f"-{expiry}" if expiry else "")
        try:
            return unified_symbol(text, self.market_type)
        except ValueError:  # BTC/USDT that settles in a third asset
            return None


def _step(filters: Mapping[str, Mapping[str, Any]], name: str, field: str) -> Decimal | None:
    """Return the step of a filter; None if there is no filter, or 0: any value is allowed (rest-api, "Filters")."""
    step = Decimal(str(filters[name][field])) if name in filters else Decimal(0)
    return step.normalize() + 0 if step else None


def _instant(milliseconds: Any) -> datetime | None:
    return None if milliseconds is None or int(milliseconds) == _NO_END_MS else instant_of(milliseconds)
