"""Kraken's pairs: one answer of AssetPairs has them all (docs.kraken.com, Get Tradable Asset Pairs). Delisted pairs are left
out of it, and no answer says since when a pair is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from crypto_assets.model import Instrument
from crypto_assets.sources.feeds import Call
from crypto_assets.sources.instruments import InstrumentList
from crypto_assets.sources.kraken.rows import result_of
from crypto_assets.sources.kraken.symbols import unified
from crypto_assets.sources.limits import Endpoint


class KrakenInstruments(InstrumentList):
    """The pairs of the spot market."""

    market_type = "spot"
    exchange = ccxt_id = "kraken"
    key_advice = "Kraken's public endpoints need no key"
    what = "AssetPairs"
    name_field = "altname"
    expected = "a pair with its names and decimals"

    def call(self) -> Call:
        return Call("publicGetAssetPairs", {}, Endpoint("kraken", "public", "instruments"))

    def rows(self, answer: Any) -> list[Any]:
        return list(result_of("AssetPairs", answer).values())

    def instrument(self, row: Mapping[str, Any]) -> Instrument | None:
        """Return a pair of currencies; None for tokenized shares, dark pools and staked coins (`ETH2.S`)."""
        if row["aclass_base"] != "currency" or "." in row["altname"]:
            return None
        symbol = unified(*row["wsname"].split("/"))
        base, _, quote = symbol.partition("/")
        return Instrument(
            exchange="kraken",
            market_type="spot",
            symbol=symbol,
            exchange_symbol=row["altname"],
            base=base,
            quote=quote,
            tick_size=_tick_size(row),
            lot_size=Decimal(1).scaleb(-int(row["lot_decimals"])),
            status=str(row.get("status", "")),
        )


def _tick_size(pair: Mapping[str, Any]) -> Decimal:
    """Return the step of prices; answers before 2023 have decimals only."""
    return Decimal(str(pair["tick_size"])) if "tick_size" in pair else Decimal(1).scaleb(-int(pair["pair_decimals"]))
