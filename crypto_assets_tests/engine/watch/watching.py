"""An entry that is watched over a sandbox exchange, tick by tick, at any time that a test sets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import psycopg

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.watch.feed_snapshot import Watch
from crypto_assets.engine.watch.outbox import Request
from crypto_assets.engine.watch.tick import Tick, tick
from crypto_assets.ledger.catalog import Catalog
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

START, LAST = date(2024, 1, 5), date(2024, 3, 20)
BARS = "data/spot/daily/klines/{0}USDT/1d/{0}USDT-1d-{1}.zip"
COINS = ("BTC", "ETH")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class World:
    """One entry, its watch, and the time; `tick` does the sensor's work, with the cursor it would have."""

    def __init__(self, sandbox: SandboxServer, url: str, entries: Sequence[dict[str, object]]) -> None:
        self.sandbox, self.url = sandbox, url
        self.entries = list(entries)
        self.listing_url = sandbox.listing_url
        self.now = datetime(2024, 1, 9, 9, tzinfo=UTC)
        self.cursor: dict[str, list[str]] = {"delivered": []}
        self.catalog = Catalog(url)

    @property
    def collection(self) -> Collection:
        urls = {"archive_url": self.sandbox.archive_url, "listing_url": self.listing_url}
        return parse_collection({"exchanges": {"binance": urls}, "series": self.entries})

    def tick(self, after: timedelta = timedelta(), keep: bool = True, **options: float) -> Tick:
        """Look some time later; `keep` false: Dagster dies before it has the requests.

        Raises the error of the entry if nothing is requested.
        """
        self.now += after
        self.sandbox.app.state.source.now = self.now
        self.sandbox.forget_requests()
        collection = self.collection
        with Guard(self.url, collection, patience_s=0.0) as guard:
            found = tick(
                lambda: Client(guard, timeout_s=5, attempts=1),
                [Watch(collection, entry) for entry in collection.series],
                self.catalog,
                self.cursor["delivered"],
                self.now,
                **options,
            )
        if found.failed and not found.requests:
            raise next(iter(found.failed.values()))
        if keep and found.requests:
            self.cursor["delivered"] = [request.run_key for request in found.requests]
        return found

    def other(self) -> World:
        """Return another daemon of the same Dagster: its sensor has the same cursor."""
        other = World(self.sandbox, self.url, self.entries)
        other.now, other.cursor = self.now, self.cursor
        return other

    def asked(self) -> int:
        """Return the listing requests of the last tick."""
        return [path for _, path in self.sandbox.requests()].count("/listing")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, options="-c timezone=UTC") as connection:
            return connection.execute(query).fetchall()

    def override(self, coin: str, day: date, content: bytes | None) -> None:
        name = BARS.format(coin, day)
        if content is None:
            self.sandbox.app.state.overrides |= {name: None, name + ".CHECKSUM": None}
        else:
            self.sandbox.app.state.overrides[name] = content

    def store(self, coin: str, day: date) -> None:
        """Let the ledger have a day from the file that is published now."""
        info = self.sandbox.app.state.source.info(BARS.format(coin, day))
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO collection.partitions (exchange, market_type, symbol, dataset, day, state, source_key, "
                "source_etag, source_size_bytes, source_last_modified, source) "
                "VALUES ('binance', 'spot', %s, 'ohlcv_1d', %s, 'available', %s, %s, %s, %s, 'archive')",
                (f"{coin}/USDT", day, info.key, info.etag, info.size, info.last_modified),
            )

    def show(self, coin: str, day: date) -> None:
        for name in (BARS.format(coin, day), BARS.format(coin, day) + ".CHECKSUM"):
            self.sandbox.app.state.overrides.pop(name, None)


def said(requests: Sequence[Request]) -> list[tuple[str, str, str, int, str]]:
    """Return symbols, first and last day, priority and kind of each request."""
    return sorted(
        (
            " ".join(sorted(symbol.partition("/")[0] for _, symbol in request.tracks)),
            str(request.first_day),
            str(request.last_day),
            request.priority,
            " ".join(request.kinds),
        )
        for request in requests
    )
