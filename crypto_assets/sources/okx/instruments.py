"""OKX's instruments: `GET /api/v5/public/instruments`, one answer for each kind (SPOT, SWAP, FUTURES).

Amounts: spot in base. Contracts in units of `ctVal` times `ctMult` of `ctValCcy`: the base where `ctType` is linear, the
         quote (USD) where it is inverse. A contract of another unit is left out: its amounts could not be told.
Life:    `listTime` and, for what ends, `expTime`, milliseconds. What has ended is not in the answer.
Source: OKX's API documentation (Get instruments), recorded answers of 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument
from crypto_assets.sources.feeds import Call
from crypto_assets.sources.instruments import InstrumentList, above_zero, instant_of
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.okx.symbols import unified

PATH = "/api/v5/public/instruments"


def instruments_call(kind: str) -> Call:
    """Return the call for the instruments of one kind."""
    return Call("publicGetPublicInstruments", {"instType": kind}, Endpoint("okx", "public", "instruments"))


@dataclass(frozen=True, slots=True)
class OkxInstruments(InstrumentList):
    """The instruments of one market type: one page for each kind."""

    market_type: str

    exchange = ccxt_id = "okx"
    key_advice = "OKX's public endpoints need no key"
    what = "instruments"
    name_field = "instId"
    expected = "instId, tickSz, lotSz and times"

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        return {"rest": rest_url}

    def call(self) -> Call:
        return instruments_call("SPOT" if self.market_type == "spot" else "SWAP")

    def following(self, call: Call, answer: Any) -> Call | None:  # noqa: ARG002  each kind has one answer
        return instruments_call("FUTURES") if call.params["instType"] == "SWAP" else None

    def rows(self, answer: Any) -> list[Any]:
        return data_of("instruments", answer)

    def instrument(self, row: Mapping[str, Any]) -> Instrument | None:
        name = str(row["instId"])
        symbol = unified(self.market_type, name)
        if symbol is None:
            return None
        base, quote = name.split("-")[:2]
        contracts = self.market_type != "spot"
        unit = base if self.market_type == "linear" else quote
        if contracts and (row["ctType"] != self.market_type or row["ctValCcy"] != unit):
            return None
        return Instrument(
            exchange="okx",
            market_type=self.market_type,
            symbol=symbol,
            exchange_symbol=name,
            base=base,
            quote=quote,
            settle=str(row["settleCcy"]) if contracts else None,
            contract_size=above_zero(row["ctVal"]) * above_zero(row["ctMult"] or 1) if contracts else Decimal(1),
            inverse=self.market_type == "inverse",
            tick_size=_step(row["tickSz"]),
            lot_size=_step(row["lotSz"]),
            listed_at=instant_of(row["listTime"]),
            delisted_at=instant_of(row["expTime"]),
            status=str(row["state"]),
        )


def data_of(what: str, answer: Any) -> list[Any]:
    """Return the data in OKX's envelope; raises BadContent for another one, or one with an error."""
    if not isinstance(answer, dict) or answer.get("code") != "0" or not isinstance(answer.get("data"), list):
        raise BadContent(f"okx {what}: expected code 0 with data, found {str(answer)[:200]}")
    found: list[Any] = answer["data"]
    return found


def _step(text: str) -> Decimal | None:
    return Decimal(text).normalize() + 0 if text else None
