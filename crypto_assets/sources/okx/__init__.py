"""OKX: spot (`spot`), perpetual and dated contracts margined in USDT or USDC (`linear`) and in the base (`inverse`).

Archive: https://static.okx.com, found by the index at https://www.okx.com: `archive.py`, `rows.py`
REST:    https://www.okx.com/api/v5: `rest.py`, `instruments.py`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crypto_assets.model import Series
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.limits import Limit
from crypto_assets.sources.okx.archive import OkxFiles
from crypto_assets.sources.okx.instruments import OkxInstruments
from crypto_assets.sources.okx.rest import BARS, OkxRest
from crypto_assets.sources.okx.symbols import exchange_name, unified
from crypto_assets.sources.source_defaults import SourceDefaults

_ARCHIVED_BARS = "1m"

_NOT_IN_BARS = dict.fromkeys(
    ("trade_count", "taker_buy_volume", "taker_buy_quote_volume"), "OKX's bars have prices and volumes only"
)
_NOT_IN_TRADES = {"quote_amount": "OKX's trades have price and size only"}


class Okx(SourceDefaults):
    """Spot, linear and inverse contracts. Options and index prices are left out."""

    name = "okx"
    archive_url = "https://static.okx.com"
    listing_url = "https://www.okx.com"
    rest_url = "https://www.okx.com"
    hosts = frozenset({"static.okx.com", "www.okx.com"})
    # By endpoint and address (OKX's documentation). The archive answered 100 a second, and 200 a second with a long 403.
    limits: Mapping[str, Sequence[Limit]] = {
        "archive": (Limit(50, 1, "requests"),),
        "listing": (Limit(5, 2, "requests"),),
        "candles": (Limit(20, 2, "requests"),),
        "trades": (Limit(10, 2, "requests"),),
        "funding": (Limit(10, 2, "requests"),),
        "public": (Limit(10, 2, "requests"),),
    }
    # A missing file is 404; after 200 requests a second it answered 403 for a long time.
    archive_bans = frozenset({403})
    banned_together = frozenset({"listing", "candles", "trades", "funding", "public"})

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        bars = tuple(f"ohlcv_{timeframe}" for timeframe in BARS)
        if market_type == "spot":
            return (*bars, "trades")
        return (*bars, "trades", "funding_rates") if market_type in ("linear", "inverse") else ()

    def facts(self, series: Series) -> Facts:
        """Return what no file of the series tells.

        Numbers of trades are taken as contiguous: 69 of 69 recorded trades are, and 14 of 14 of a file. If that were wrong,
        days would be called partial with the numbers named, which a person can look up; with `holes` lost trades would go
        unnoticed. Minutes without a trade are taken as published for the same reason.
        """
        match series.table:
            case "ohlcv":
                return Facts(exponents=True, without=_NOT_IN_BARS)
            case "funding_rates":
                return Facts(exponents=True)
        # An inverse contract is worth an amount in quote, so that its size in contracts is one.
        without = {} if series.market_type == "inverse" else _NOT_IN_TRADES
        return Facts(amounts="base" if series.market_type == "spot" else "contracts", exponents=True, without=without)

    def feeds(self, series: Series) -> tuple[OkxFiles | OkxRest, ...]:
        if series.table == "ohlcv" and series.timeframe != _ARCHIVED_BARS:
            return (OkxRest(series, final=True),)
        return OkxFiles(series), OkxRest(series, final=False)

    def exchange_symbol(self, market_type: str, symbol: str) -> str:  # noqa: ARG002  the symbol says it
        return exchange_name(symbol)

    def symbols(self, market_type: str, name: str) -> tuple[str, ...]:
        found = unified(market_type, name)
        return () if found is None else (found,)

    def instruments(self, market_type: str) -> OkxInstruments | None:
        return OkxInstruments(market_type) if market_type in ("spot", "linear", "inverse") else None


SOURCE = Okx()
