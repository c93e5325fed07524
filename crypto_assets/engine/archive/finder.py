"""Finds days in the archive for one run: their objects, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.config.collection import Collection
from crypto_assets.engine.archive.edges import Edges
from crypto_assets.engine.archive.holders import Files
from crypto_assets.engine.archive.lifetime import LIFE, Asks
from crypto_assets.engine.archive.locate import Located, locate
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.archive.user_files import UserFiles
from crypto_assets.engine.day_outcomes import Target, refused
from crypto_assets.engine.rest.symbol_life import Reported
from crypto_assets.errors import OF_THIS_PROCESS, CryptoAssetsError
from crypto_assets.ledger.instruments import instrument_versions
from crypto_assets.ledger.profiles import read_profiles
from crypto_assets.model import Outcome, Partition, Series, State, Track
from crypto_assets.rows.bar_calendar import anchor_of
from crypto_assets.transport.client import Client

if TYPE_CHECKING:
    from crypto_assets.engine.rest.feed import RestFeed
    from crypto_assets.ledger.partitions import Ledger


class Finder:
    """Reads listings, and asks the exchange if files are not enough; every method may be called from many threads."""

    def __init__(
        self, client: Client, collection: Collection, ledger: Ledger, feed: RestFeed, now: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._collection = collection
        self._ledger = ledger
        self._now = now
        self._anchors: dict[Track, date | None] = {}
        self._listed: dict[Track, datetime | None] = {}
        self.reported = Reported(feed)
        self.edges = Edges(self.beside, self.asks, now)

    def find(self, target: Target, days: Sequence[date], *, preferred_only: bool = False) -> Located:
        """Return the objects of some days of a target; if the listing cannot be read, each day has that as its outcome.

        `preferred_only` ignores the monthly files beside daily ones.
        """
        if not days:
            return Located([], [])
        if not sources.archives(target.series):
            return self._in_user_files(target, days)
        try:
            located = locate(
                ArchiveSite.of(self._client, self._collection, target.series),
                target.track,
                days,
                self._now(),
                self.asks(target.series, target.symbol),
                self.anchor(target.series, target.symbol),
                listed_at=lambda: self.listed_at(target.track),
                preferred_only=preferred_only,
            )
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            return Located([], [refused(target, day, error) for day in days])
        if preferred_only:
            return located
        files = [holder for holder in located.holders if isinstance(holder, Files)]
        alone, longer = (
            [day for holder in files if holder.is_of_a_day == of_day for day in holder.days] for of_day in (True, False)
        )
        self.edges.remember(target.series, target.symbol, alone, longer, located.absent)
        objects = [obj for holder in files for obj in holder.objects]
        self._ledger.record_objects(target.series.exchange, objects)
        return located

    def _in_user_files(self, target: Target, days: Sequence[date]) -> Located:
        """Return the days that a person's files have, of a series without an archive; its feed is asked for the others."""
        feed, root = sources.user_files(target.series), self._collection.urls(target.series.exchange).files
        if feed is None or root is None:
            return Located([], [not_asked_yet(target, day) for day in days])
        try:
            found = UserFiles(root, feed.folder).objects(sources.name_of(*target.track), days)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            return Located([], [refused(target, day, error) for day in days])
        self._ledger.record_objects(target.series.exchange, list(found.values()))
        return Located(
            [Files(feed, obj, (day,)) for day, obj in found.items()],
            [not_asked_yet(target, day) for day in days if day not in found],
        )

    def asks(self, series: Series, symbol: str) -> Asks | None:
        """Return the means to ask the exchange about a symbol, None if that is not allowed."""
        return self.reported if self.reported.serves(series, symbol) else None

    def beside(self, series: Series, symbol: str, day: date, toward: timedelta | None = None) -> Outcome | None:
        """Return the outcome of a day without a file; None for a day with one.

        Args:
            toward: the step (one day back or on) from a day with its own file to this day. A monthly file of this day then
                proves nothing: the symbol may have ended, or begun, in the middle of the month.
        """
        located = self.find(Target(series, symbol, (day,)), [day])
        if located.absent:
            return located.absent[0]
        (holder,) = located.holders
        if toward is None or not isinstance(holder, Files) or holder.is_of_a_day:
            return None
        preferred = self.find(Target(series, symbol, (day,)), [day], preferred_only=True)
        if preferred.holders:  # a file of its own that an earlier listing did not have
            return None
        alone = preferred.absent[0]
        if self.asks(series, symbol) is not None:
            return alone
        # Nobody can be asked. The day is outside the symbol's life if both the daily and the monthly files end here.
        ends_here = alone.evidence.get(LIFE) == "before" or (
            "last_listed" in alone.evidence and "listed_again" not in alone.evidence
        )
        period = holder.period
        return (
            self.beside(series, symbol, (period[0] if toward < timedelta(0) else period[1]) + toward)
            if ends_here
            else None
        )

    def outside(self, series: Series, symbol: str, days: Sequence[date]) -> dict[date, Outcome]:
        """Return the outcomes of days without their own file and without a row in the monthly file.

        Empty if the exchange cannot be asked: then nobody knows whether rows are missing from the file.
        """
        if not days or self.asks(series, symbol) is None:
            return {}
        located = self.find(Target(series, symbol, tuple(days)), days, preferred_only=True)
        return {outcome.partition.day: outcome for outcome in located.absent}

    def anchor(self, series: Series, symbol: str) -> date | None:
        """Return a day on which a stored three-day bar opens; None for other series, and if none is stored."""
        if series.timeframe != "3d":
            return None
        track = Track(series, symbol)
        if track not in self._anchors:
            with self._ledger.transaction() as connection:
                stored = read_profiles(connection, series, date.min, date.max, [symbol])
            self._anchors[track] = anchor_of(profile.day for profile in stored)
        return self._anchors[track]

    def listed_at(self, track: Track) -> datetime | None:
        """Return when a symbol was first listed, as the recorded instruments of its exchange say; None if they do not."""
        series, symbol = track
        if track not in self._listed:
            with self._ledger.transaction() as connection:
                known = instrument_versions(connection, series.exchange, series.market_type, symbol)
            said = (one.instrument.listed_at for one in known)
            self._listed[track] = min((instant for instant in said if instant is not None), default=None)
        return self._listed[track]


def not_asked_yet(target: Target, day: date) -> Outcome:
    """Return the outcome of a day of a series without an archive, before its feed is asked."""
    return Outcome(
        target.series, Partition(target.symbol, day), State.PENDING, f"{target.series.exchange} was not asked yet"
    )
