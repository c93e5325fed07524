"""Binance's archive: the feeds of daily and of monthly files.

Path: data/{spot|futures/um|futures/cm}/{daily|monthly}/{klines|trades|aggTrades|fundingRate}/{symbol}/[{interval}/]
      {symbol}-{interval or dataset}-{date or month}.zip
Each zip holds one CSV and has a sibling .CHECKSUM (SHA-256). Daily files appear the next day, mostly before 12:00 UTC,
sometimes days later; monthly files from the first Monday of the next month on. 3d, 1w and 1mo bars and funding rates are
published monthly only. Source: github.com/binance/binance-public-data (README) and its issues #166, #181, #328, #414.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from crypto_assets.model import Series
from crypto_assets.sources.binance.rows import read_rows
from crypto_assets.sources.dated_files import DatedFiles
from crypto_assets.sources.feeds import Digest, Timing
from crypto_assets.sources.listings.s3 import S3Listing
from crypto_assets.sources.packing import CSV_IN_ZIP, Text

if TYPE_CHECKING:
    import pyarrow as pa

    from crypto_assets.model import Instrument

TREES = {"spot": "data/spot", "linear": "data/futures/um", "inverse": "data/futures/cm"}
_TAGS = {"trades": "trades", "agg_trades": "aggTrades", "funding_rates": "fundingRate"}
_MONTHLY_TIMEFRAMES = frozenset({"3d", "1w", "1mo"})

# A kline file of 2026-08-29 appeared at 08:41 the next day; spot 4–6 hours after midnight, most files before 12:00 (#181);
# monthly files on day 1–3, most until the middle of the month (#328).
_TIMINGS = {
    "daily": Timing(timedelta(hours=4), timedelta(hours=12), timedelta(days=3)),
    "monthly": Timing(timedelta(days=1), timedelta(days=15), timedelta(days=35)),
}

# The host also answers list-type=2; the exchange's own page uses version 1 (binance-public-data, web list script).
_LISTING = S3Listing(1)


def feeds_of(series: Series) -> tuple[BinanceFiles, ...]:
    """Return the feeds of a series. Daily before monthly: monthly klines are known to differ from daily ones and from the API
    (binance-public-data #475) and to miss days (#140, #253).
    """
    monthly = BinanceFiles(series, "monthly")
    only = series.table == "funding_rates" or series.timeframe in _MONTHLY_TIMEFRAMES
    return (monthly,) if only else (BinanceFiles(series, "daily"), monthly)


class BinanceFiles(DatedFiles):
    """The daily or the monthly files of one series."""

    listing = _LISTING
    packing = CSV_IN_ZIP

    @property
    def timing(self) -> Timing:
        return _TIMINGS[self.name]

    @cached_property
    def universe(self) -> str:
        kind = "klines" if self.series.table == "ohlcv" else _TAGS[self.series.table]
        return f"{TREES[self.series.market_type]}/{self.name}/{kind}/"

    def prefix(self, name: str) -> str:
        return f"{self.universe}{name}/" + (f"{self.series.timeframe}/" if self.series.timeframe else "")

    def key(self, name: str, stamp: str) -> str:
        return f"{self.prefix(name)}{name}-{self._tag}-{stamp}.zip"

    def digest(self, key: str) -> Digest:
        return Digest("sha256", f"{key}.CHECKSUM")

    def parse(self, symbol: str, key: str, text: Text, instrument: Instrument | None = None) -> pa.Table:  # noqa: ARG002  files of one symbol
        return read_rows(self.series, key, text, instrument)

    @property
    def _tag(self) -> str:
        return self.series.timeframe or _TAGS[self.series.table]
