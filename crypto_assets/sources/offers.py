"""What can be collected, for people: each series with its feeds, since when files are there, and columns that are null."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Literal

from crypto_assets import sources
from crypto_assets.model import ALL_TYPES, Series
from crypto_assets.sources.published import why_unpublished

__all__ = ["FeedFacts", "Offer", "alike", "offers"]


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """One feed of a series. `since` is the first day of an archive whose listings do not show it; else None."""

    kind: Literal["archive", "your files", "asked"]
    name: str
    final: bool
    since: date | None = None

    def __str__(self) -> str:
        """Return `daily archive (final)`, `your files (final)`, `REST (provisional)`."""
        text = {"archive": f"{self.name} archive", "asked": self.name.upper()}.get(self.kind, self.kind)
        return f"{text} ({'final' if self.final else 'provisional'})"


@dataclass(frozen=True, slots=True)
class Offer:
    """One series; `feeds` in order of preference, `null_columns` with the reason of each."""

    series: Series
    feeds: tuple[FeedFacts, ...]
    null_columns: Mapping[str, str]

    @property
    def feeds_in_words(self) -> str:
        """`daily archive (final), REST (provisional)`."""
        return ", ".join(map(str, self.feeds))

    @property
    def since(self) -> str:
        """Where its history begins, in words."""
        first, *_, last = (self.feeds[0], *self.feeds)
        if first.kind == "archive":
            return str(first.since) if first.since else "the symbol's first file"
        return f"as far as {last.name.upper()} reaches"


def offers() -> Iterator[Offer]:
    """Yield everything that the sources publish, by source, market type and dataset."""
    for name in sources.names():
        for market_type in ALL_TYPES:
            for dataset in sources.get(name).dataset_names(market_type):
                series = Series.named(name, market_type, dataset)
                feeds = tuple(map(_facts, sources.get(name).feeds(series)))
                yield Offer(series, feeds, why_unpublished(series))


def alike(found: Iterable[Offer], beside: Callable[[Offer], object] = lambda _: None) -> Iterator[tuple[Offer, ...]]:
    """Yield consecutive series that differ in their timeframe alone, to be shown on one line.

    Args:
        beside: returns what they must have in common besides their feeds.
    """

    def shared(one: Offer) -> tuple[object, ...]:
        series = one.series
        return series.exchange, series.market_type, series.table, one.feeds_in_words, one.since, beside(one)

    for _, group in groupby(found, shared):
        yield tuple(group)


def _facts(feed: sources.ArchiveFeed | sources.QueryFeed) -> FeedFacts:
    if hasattr(feed, "walk"):
        return FeedFacts("asked", feed.name, feed.final)
    if hasattr(feed, "folder"):
        return FeedFacts("your files", feed.name, feed.final)
    return FeedFacts("archive", feed.name, feed.final, feed.since)
