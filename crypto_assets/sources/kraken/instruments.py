"""Kraken's pairs: one answer of AssetPairs has them all (docs.kraken.com, Get Tradable Asset Pairs). Delisted pairs are left
out of it, and no answer says since when a pair is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument
from crypto_assets.sources.feeds import Call
from crypto_assets.sources.instruments import read_each
from crypto_assets.sources.kraken.rows import result_of
from crypto_assets.sources.kraken.symbols import unified
from crypto_assets.sources.limits import Endpoint


class KrakenInstruments:
    """The pairs of the spot market."""

    ccxt_id = "kraken"
    key_advice = "Kraken's public endpoints need no key"

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        return {"public": rest_url}

    def call(self) -> Call:
        return Call("publicGetAssetPairs", {}, Endpoint("kraken", "public", "instruments"))

    def following(self, answer: Any) -> Call | None:  # noqa: ARG002  there is one page
        return None

    def read(self, answer: Any) -> list[Instrument]:
        """Return the pairs of currencies; tokenized shares, dark pools and staked coins (`ETH2.S`) are left out."""
        return self._each(answer)[0]

    def left_out(self, answer: Any) -> list[str]:
        return self._each(answer)[1]

    def _each(self, answer: Any) -> tuple[list[Instrument], list[str]]:
        pairs = list(result_of("AssetPairs", answer).values())
        return read_each(pairs, _instrument, lambda pair: pair.get("altname"))


def _instrument(pair: Any) -> Instrument | None:
    try:
        if pair["aclass_base"] != "currency" or "." in pair["altname"]:
            return None
        symbol = unified(*pair["wsname"].split("/"))
        base, _, quote = symbol.partition("/")
        return Instrument(
            exchange="kraken",
            market_type="spot",
            symbol=symbol,
            exchange_symbol=pair["altname"],
            base=base,
            quote=quote,
            tick_size=_tick_size(pair),
            lot_size=Decimal(1).scaleb(-int(pair["lot_decimals"])),
            status=str(pair.get("status", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation):
        raise BadContent(f"AssetPairs: expected a pair with its names and decimals, found {str(pair)[:200]}") from None


def _tick_size(pair: Mapping[str, Any]) -> Decimal:
    """Return the step of prices; answers before 2023 have decimals only."""
    return Decimal(str(pair["tick_size"])) if "tick_size" in pair else Decimal(1).scaleb(-int(pair["pair_decimals"]))
