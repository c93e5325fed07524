"""Finding days in the archive for one run: their objects, and what explains that they have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from crypto_assets import exchanges
from crypto_assets.collection.archive.edges import Edges
from crypto_assets.collection.archive.lifetime import Asks
from crypto_assets.collection.archive.locate import Located, locate
from crypto_assets.collection.days import Target, refused
from crypto_assets.collection.records.profiles import read_profiles
from crypto_assets.collection.rest.told import Told
from crypto_assets.collection.transport.http import Client
from crypto_assets.config import Collection
from crypto_assets.errors import CryptoAssetsError, Stopped
from crypto_assets.model import Outcome, Series
from crypto_assets.rows.bar_calendar import anchor_of

if TYPE_CHECKING:
    from crypto_assets.collection.records.ledger import Ledger
    from crypto_assets.collection.rest.feed import RestFeed


class Finder:
    """Asks listings, and the exchange where files are not enough; every method may be called from many threads."""

    def __init__(
        self, client: Client, collection: Collection, ledger: Ledger, feed: RestFeed, now: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._collection = collection
        self._ledger = ledger
        self._now = now
        self._anchors: dict[tuple[Series, str], date | None] = {}
        self.told = Told(feed)
        self.edges = Edges(self.beside, self.asks, now)

    def find(self, target: Target, days: Sequence[date]) -> Located:
        """Return where some days of a target are; where the listing cannot be read, every day says so."""
        if not days:
            return Located([], [])
        exchange = exchanges.get(target.series.exchange)
        urls = self._collection.urls(exchange.name)
        try:
            located = locate(
                self._client,
                exchange,
                urls.listing_url or exchange.listing_url,
                target.series,
                target.symbol,
                days,
                self._now(),
                urls.archive_url or exchange.archive_url,
                self.asks(target.series, target.symbol),
                self.anchor(target.series, target.symbol),
            )
        except Stopped:
            raise
        except CryptoAssetsError as error:
            return Located([], [refused(target, day, error) for day in days])
        held = [day for _, of_object in located.holders for day in of_object]
        self.edges.remember(target.series, target.symbol, held, located.absent)
        self._ledger.record_objects(exchange.name, [obj for obj, _ in located.holders])
        return located

    def asks(self, series: Series, symbol: str) -> Asks | None:
        """Return what asks the exchange about a symbol, where that may be asked."""
        return self.told if self.told.serves(series, symbol) else None

    def beside(self, series: Series, symbol: str, day: date) -> Outcome | None:
        """Return what is known of a day without a file; None for a day that has one."""
        absent = self.find(Target(series, symbol, (day,)), [day]).absent
        return absent[0] if absent else None

    def anchor(self, series: Series, symbol: str) -> date | None:
        """Return a day on which a stored bar of three days opens; None for other series, and where none is stored."""
        if series.timeframe != "3d":
            return None
        if (series, symbol) not in self._anchors:
            with self._ledger.transaction() as connection:
                stored = read_profiles(connection, series, date.min, date.max, [symbol])
            self._anchors[series, symbol] = anchor_of(profile.day for profile in stored)
        return self._anchors[series, symbol]
