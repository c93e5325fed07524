"""Bybit's archive of trades: public.bybit.com.

Path:    trading/{symbol}/{symbol}{date}.csv.gz            linear and inverse, perpetual and dated, from 2019-10
         spot/{symbol}/{symbol}_{date}.csv.gz              spot, from 2022-11
         spot/{symbol}/{symbol}-{month}.csv.gz
Listing: S3 XML at https://s3.ap-southeast-1.amazonaws.com/public.bybit.com. The web host itself answers HTML indexes and
         ignores parameters; if `listing_url` names it, its indexes are read (`listings/html_index.py`).
Digest:  none is published. The ETag is the MD5 of the file, unless it was uploaded in parts: then it has a dash and proves
         nothing.
Known defects: eight files of 2022-12-12 are gzip files of nothing (44 bytes); `trading/DOTUSD/` holds a file of DOTUSDT;
files named `…_v2` of 2021-07-26; a folder of a renamed symbol, `DATAOLD01USDT`. Keys that are not named like their folder
are refused.
The hour of publication is documented nowhere: the next day, in what others saw.
Sources: the notes on Bybit of github.com/devvir/tradebot (measured in 2026), and downloaders that list the same paths.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from crypto_assets.model import Series
from crypto_assets.sources.bybit.rows import contract_trades, spot_trades
from crypto_assets.sources.bybit.symbols import exchange_name, symbols_of
from crypto_assets.sources.dated_files import DatedFiles
from crypto_assets.sources.feeds import Digest, Timing
from crypto_assets.sources.listings.html_index import S3OrHtmlIndex
from crypto_assets.sources.listings.s3 import S3Listing
from crypto_assets.sources.packing import GZIP, Text

if TYPE_CHECKING:
    import pyarrow as pa

    from crypto_assets.model import Instrument

_TIMINGS = {
    "daily": Timing(timedelta(hours=1), timedelta(hours=12), timedelta(days=3)),
    "monthly": Timing(timedelta(days=1), timedelta(days=7), timedelta(days=35)),
}
_LISTING = S3OrHtmlIndex(S3Listing(1))


def feeds_of(series: Series) -> tuple[BybitFiles, ...]:
    """Return the feeds of a series of trades; months exist on spot only."""
    daily = BybitFiles(series, "daily")
    return (daily, BybitFiles(series, "monthly")) if series.market_type == "spot" else (daily,)


class BybitFiles(DatedFiles):
    """The daily or the monthly files of the trades of one market type."""

    listing = _LISTING
    packing = GZIP

    @property
    def timing(self) -> Timing:
        return _TIMINGS[self.name]

    @property
    def universe(self) -> str:
        """The folder of all symbols; linear and inverse ones share it."""
        return "spot/" if self._spot else "trading/"

    def prefix(self, name: str) -> str:
        return f"{self.universe}{name}/"

    def key(self, name: str, stamp: str) -> str:
        return f"{self.prefix(name)}{name}{self._separator}{stamp}.csv.gz"

    def is_ours(self, name: str) -> bool:
        return bool(symbols_of(self.series.market_type, name))

    def digest(self, key: str) -> Digest:  # noqa: ARG002  it is the file's ETag
        return Digest("md5", None)

    def parse(self, symbol: str, key: str, text: Text, instrument: Instrument | None = None) -> pa.Table:  # noqa: ARG002  contracts of 1 USD
        """Return the trades of a text, in its order; see `ArchiveFeed.parse`."""
        if self._spot:
            return spot_trades(key, text)
        market_type = self.series.market_type
        return contract_trades(key, exchange_name(market_type, symbol), market_type == "inverse", text)

    @property
    def _spot(self) -> bool:
        return self.series.market_type == "spot"

    @property
    def _separator(self) -> str:
        if self._spot:
            return "_" if self.name == "daily" else "-"
        return ""
