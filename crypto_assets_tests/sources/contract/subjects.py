"""What the contract is about: each feed of each dataset that a source offers, as the sources themselves say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, TypeVar, cast

import pytest

from crypto_assets import sources
from crypto_assets.model import DAY, MARKET_TYPES, TIMEFRAME_LENGTHS, Series, Track
from crypto_assets.sources import ArchiveFeed, Facts, QueryFeed
from crypto_assets.sources.listings.folder import Folder

SYMBOLS = {"spot": "BTC/USDT", "linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}
"""A symbol that trades every minute."""

SPARSE = {"spot": "ETH/USDT", "linear": "ETH/USDT:USDT", "inverse": "ETH/USD:ETH"}
"""A symbol with some trades a day; its files are those of another symbol."""

OF_WORLD = {
    **{symbol: f"{base}USDT" for base in ("BTC", "ETH") for symbol in (f"{base}/USDT", f"{base}/USDT:USDT")},
    **{f"{base}/USD:{base}": f"{base}USD_PERP" for base in ("BTC", "ETH")},
}
"""The sandbox's own names."""

MOST_ROWS_A_DAY = 1_440


@dataclass(frozen=True)
class Subject:
    """One feed of one series of one source."""

    series: Series
    feed_name: str

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.series.market_type]

    @property
    def track(self) -> Track:
        return Track(self.series, self.symbol)

    @property
    def name(self) -> str:
        """The exchange's own name of the symbol."""
        return sources.name_of(*self.track)

    @property
    def facts(self) -> Facts:
        return sources.facts(self.series)

    @property
    def feed(self) -> ArchiveFeed | QueryFeed:
        feeds = sources.get(self.series.exchange).feeds(self.series)
        return next(one for one in feeds if one.name == self.feed_name)

    @property
    def is_archive(self) -> bool:
        return hasattr(self.feed, "covers")

    @property
    def archive(self) -> ArchiveFeed:
        """The feed, if it has files; the test is skipped if it has not."""
        if not self.is_archive:
            skip("rows are asked for: there are no files")
        if isinstance(getattr(self.feed, "folder", None), Folder):
            skip("a person downloads these files: no host publishes them")
        feed = cast(ArchiveFeed, self.feed)
        if self._rows_a_day > MOST_ROWS_A_DAY and not self._is_of_days:
            self.skip_if_heavy()
        return feed

    @property
    def light(self) -> ArchiveFeed:
        """The feed, if its files are not too large to be written again and again."""
        feed = self.archive
        self.skip_if_heavy()
        return feed

    def skip_if_heavy(self) -> None:
        if self._rows_a_day > MOST_ROWS_A_DAY:
            skip(f"{self._rows_a_day} rows a day: tried with the longer bars of the same feed")

    @property
    def _rows_a_day(self) -> int:
        length = TIMEFRAME_LENGTHS.get(self.series.timeframe or "", DAY)
        return max(1, DAY // length)

    @property
    def _is_of_days(self) -> bool:
        feed = cast(ArchiveFeed, self.feed)
        return feed.covers(feed.keys(self.name, date(2024, 2, 7))[0]).is_of_a_day

    @property
    def query(self) -> QueryFeed:
        """The feed, if it answers; the test is skipped if it does not."""
        if self.is_archive:
            skip("files: nothing is asked for")
        found = sources.query(self.series)
        assert found is not None
        return found

    @property
    def preferred(self) -> ArchiveFeed:
        """The feed, if it has the files that the engine takes first."""
        feed = self.archive
        if sources.archives(self.series)[0].name != feed.name:
            skip("the engine takes these files only where the preferred ones are missing")
        return feed

    def __str__(self) -> str:
        return f"{self.series} {self.feed_name}".replace(" ", "-")


@cache
def subjects() -> tuple[Subject, ...]:
    """Return everything that the sources offer."""
    return tuple(
        Subject(series, feed.name)
        for name in sources.names()
        for market_type in MARKET_TYPES
        for dataset in sources.get(name).dataset_names(market_type)
        for series in (Series.named(name, market_type, dataset),)
        for feed in sources.get(name).feeds(series)
    )


def markets() -> Sequence[tuple[str, str]]:
    """Return the sources, each with its market types."""
    return sorted({(one.series.exchange, one.series.market_type) for one in subjects()})


def skip(reason: str) -> None:
    """Skip a property that cannot apply to a feed: the words stand in the table."""
    pytest.skip(reason)


Test = TypeVar("Test", bound=Callable[..., Any])


def holds(name: str) -> Callable[[Test], Test]:
    """Say which property a test is about, and try it on every subject."""

    def mark(test: Test) -> Test:
        test.property = name  # type: ignore[attr-defined]
        return cast(Test, pytest.mark.parametrize("subject", subjects(), ids=str)(test))

    return mark
