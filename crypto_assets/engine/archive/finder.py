"""Finding days in the archive for one run: their objects, and what explains that they have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.config.collection import Collection
from crypto_assets.engine.archive.edges import Edges
from crypto_assets.engine.archive.lifetime import LIFE, Asks
from crypto_assets.engine.archive.locate import Located, locate
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.day_outcomes import Target, refused
from crypto_assets.engine.rest.symbol_life import Reported
from crypto_assets.errors import OF_THIS_PROCESS, CryptoAssetsError
from crypto_assets.ledger.profiles import read_profiles
from crypto_assets.model import ArchiveObject, Outcome, Series, Track
from crypto_assets.rows.bar_calendar import anchor_of
from crypto_assets.sources import Exchange
from crypto_assets.transport.client import Client

if TYPE_CHECKING:
    from crypto_assets.engine.rest.feed import RestFeed
    from crypto_assets.ledger.partitions import Ledger


class Finder:
    """Asks listings, and the exchange where files are not enough; every method may be called from many threads."""

    def __init__(
        self, client: Client, collection: Collection, ledger: Ledger, feed: RestFeed, now: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._collection = collection
        self._ledger = ledger
        self._now = now
        self._anchors: dict[Track, date | None] = {}
        self.reported = Reported(feed)
        self.edges = Edges(self.beside, self.asks, now)

    def find(self, target: Target, days: Sequence[date], *, preferred_only: bool = False) -> Located:
        """Return where some days of a target are; where the listing cannot be read, every day says so.

        `preferred_only` looks as if there were no files of months beside those of days.
        """
        if not days:
            return Located([], [])
        exchange = sources.get(target.series.exchange)
        try:
            located = locate(
                ArchiveSite.of(self._client, self._collection, exchange),
                target.track,
                days,
                self._now(),
                self.asks(target.series, target.symbol),
                self.anchor(target.series, target.symbol),
                preferred_only=preferred_only,
            )
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            return Located([], [refused(target, day, error) for day in days])
        if preferred_only:
            return located
        alone, longer = (
            [day for obj, held in located.holders if _is_of_a_day(exchange, obj) == of_day for day in held]
            for of_day in (True, False)
        )
        self.edges.remember(target.series, target.symbol, alone, longer, located.absent)
        self._ledger.record_objects(exchange.name, [obj for obj, _ in located.holders])
        return located

    def asks(self, series: Series, symbol: str) -> Asks | None:
        """Return what asks the exchange about a symbol, where that may be asked."""
        return self.reported if self.reported.serves(series, symbol) else None

    def beside(self, series: Series, symbol: str, day: date, toward: timedelta | None = None) -> Outcome | None:
        """Return what is known of a day without a file; None for a day that has one.

        Args:
            toward: from a day with a file of its own to this one, a day on or back. A file of a month that covers this one
                says nothing of it then: a symbol may have ended, or begun, in the middle of the month.
        """
        located = self.find(Target(series, symbol, (day,)), [day])
        if located.absent:
            return located.absent[0]
        ((obj, _),) = located.holders
        exchange = sources.get(series.exchange)
        if toward is None or _is_of_a_day(exchange, obj):
            return None
        preferred = self.find(Target(series, symbol, (day,)), [day], preferred_only=True)
        if preferred.holders:  # a file of its own that the listing did not have yet
            return None
        alone = preferred.absent[0]
        if self.asks(series, symbol) is not None:
            return alone
        # Nobody can be asked: it is outside where the files of days end here, and those of months with this one.
        ends_here = alone.evidence.get(LIFE) == "before" or (
            "last_listed" in alone.evidence and "listed_again" not in alone.evidence
        )
        period = exchange.period(obj.key)
        return (
            self.beside(series, symbol, (period[0] if toward < timedelta(0) else period[1]) + toward)
            if ends_here
            else None
        )

    def outside(self, series: Series, symbol: str, days: Sequence[date]) -> dict[date, Outcome]:
        """Return what is known of days without files of their own, of which a file of a month has no row.

        Empty where the exchange cannot be asked: nobody knows then whether rows are missing from the file.
        """
        if not days or self.asks(series, symbol) is None:
            return {}
        located = self.find(Target(series, symbol, tuple(days)), days, preferred_only=True)
        return {outcome.partition.day: outcome for outcome in located.absent}

    def anchor(self, series: Series, symbol: str) -> date | None:
        """Return a day on which a stored bar of three days opens; None for other series, and where none is stored."""
        if series.timeframe != "3d":
            return None
        track = Track(series, symbol)
        if track not in self._anchors:
            with self._ledger.transaction() as connection:
                stored = read_profiles(connection, series, date.min, date.max, [symbol])
            self._anchors[track] = anchor_of(profile.day for profile in stored)
        return self._anchors[track]


def _is_of_a_day(exchange: Exchange, obj: ArchiveObject) -> bool:
    first, last = exchange.period(obj.key)
    return first == last
