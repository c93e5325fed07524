"""Bybit: spot (`spot`), linear (`linear`: USDT and USDC, perpetual and dated) and inverse contracts (`inverse`).

Archive: trades only (`archive.py`, `rows.py`). REST: bars, funding, the newest trades, instruments (`rest.py`, `answers.py`,
`instruments.py`). Names of symbols: `symbols.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crypto_assets.model import Series
from crypto_assets.sources.bybit.archive import BybitFiles, feeds_of
from crypto_assets.sources.bybit.instruments import BybitInstruments
from crypto_assets.sources.bybit.rest import INTERVALS, BybitRest
from crypto_assets.sources.bybit.symbols import exchange_name, symbols_of
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.limits import Limit
from crypto_assets.sources.source_defaults import SourceDefaults

_MARKET_TYPES = ("spot", "linear", "inverse")
_NOT_IN_BARS = dict.fromkeys(
    ("trade_count", "taker_buy_volume", "taker_buy_quote_volume"),
    "Bybit's bars have prices, volume and turnover only",
)
_NOT_IN_SPOT = {
    "trade_id": "Bybit does not number trades: `id` in its files counts the rows of one file",
    "trade_uid": "the files have no text for a trade, REST alone has one",
    "quote_amount": "the files of spot have price and volume only",
}


class Bybit(SourceDefaults):
    """Spot, linear and inverse contracts; options are not read."""

    name = "bybit"
    archive_url = "https://public.bybit.com"
    listing_url = "https://s3.ap-southeast-1.amazonaws.com/public.bybit.com"
    rest_url = "https://api.bybit.com"
    # Includes S3's two names of one region (S3 user guide, "Request redirection").
    hosts = frozenset(
        {
            "public.bybit.com",
            "s3.ap-southeast-1.amazonaws.com",
            "s3-ap-southeast-1.amazonaws.com",
            "api.bybit.com",
        }
    )
    # REST: 600 requests in 5 seconds for an address (v5 "rate-limit"). The archive's host blocks an address for minutes from
    # about 40 requests a second on (devvir/tradebot); it may answer both files and indexes.
    limits: Mapping[str, Sequence[Limit]] = {
        "archive": (Limit(30, 1, "requests"),),
        "listing": (Limit(5, 1, "requests"),),
        "rest": (Limit(600, 5, "requests"),),
    }
    archive_bans = frozenset({403})
    # 10018 is the limit of an address, as 403 is: it ends ten minutes after the last request (v5 "rate-limit", "error").
    ban_words = ('"retCode":10018',)
    # Timeout of the server, its internal error or restart, and its protection from all requests together: "please retry"
    # (v5 "error"). ccxt takes each for a permanent error.
    passing_words = ('"retCode":10000', '"retCode":10016', '"retCode":10429', '"retCode":429')
    first_ban_s = 600.0

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        if market_type not in _MARKET_TYPES:
            return ()
        bars = (f"ohlcv_{timeframe}" for timeframe in INTERVALS)
        return (*bars, "trades", *(() if market_type == "spot" else ("funding_rates",)))

    def facts(self, series: Series) -> Facts:
        match series.table:
            case "ohlcv":
                return Facts(without=_NOT_IN_BARS)
            case "trades" if series.market_type == "spot":
                return Facts("none", without=_NOT_IN_SPOT)
            case "trades":
                return Facts(
                    "text", without={"trade_id": "Bybit does not number trades: trade_uid has its text for each"}
                )
        return Facts()

    def feeds(self, series: Series) -> tuple[BybitFiles | BybitRest, ...]:
        files = feeds_of(series) if series.table == "trades" else ()
        return (*files, BybitRest(series))

    def exchange_symbol(self, market_type: str, symbol: str) -> str:
        return exchange_name(market_type, symbol)

    def symbols(self, market_type: str, name: str) -> tuple[str, ...]:
        return symbols_of(market_type, name)

    def instruments(self, market_type: str) -> BybitInstruments | None:
        return BybitInstruments(market_type) if market_type in _MARKET_TYPES else None


SOURCE = Bybit()
