"""Getting the days of a target: where they are, and their rows, from the archive or from the lake. Runs in threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets, exchanges
from crypto_assets.collection.days import Day, Target, quarantine, refused
from crypto_assets.collection.download import download
from crypto_assets.collection.http import Client
from crypto_assets.collection.locate import Located, locate
from crypto_assets.config import Collection
from crypto_assets.errors import ChecksumMismatch, CryptoAssetsError, InvalidRows, MalformedFile, StoredDataError
from crypto_assets.model import ArchiveObject, Outcome, Partition, Series, State

if TYPE_CHECKING:
    from crypto_assets.collection.ledger import Ledger, PartitionRecord
    from crypto_assets.storage.lake import Lake

Known = dict[date, "PartitionRecord"]
"""What the ledger knows of the days of one target."""


class Fetcher:
    """Locates and fetches for one run; every method may be called from many threads."""

    def __init__(
        self, client: Client, collection: Collection, lake: Lake, ledger: Ledger, now: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._collection = collection
        self._lake = lake
        self._ledger = ledger
        self._now = now

    def locate(self, target: Target) -> tuple[Located, Known]:
        """Return the objects that hold the days of a target, and what the ledger knows of these days."""
        known = {
            record.day: record
            for record in self._ledger.partitions(
                exchange=target.series.exchange,
                market_type=target.series.market_type,
                symbols=[target.symbol],
                datasets=[target.series.dataset],
                first=target.days[0],
                last=target.days[-1],
            )
        }
        if not target.collect:
            return Located([(ArchiveObject(str(day), 0, ""), (day,)) for day in target.days], []), known
        exchange = exchanges.get(target.series.exchange)
        listing_url = self._collection.urls(exchange.name).listing_url or exchange.listing_url
        try:
            located = locate(
                self._client, exchange, listing_url, target.series, target.symbol, target.days, self._now()
            )
        except CryptoAssetsError as error:
            return Located([], [refused(target, day, error) for day in target.days]), known
        self._ledger.record_objects(exchange.name, [obj for obj, _ in located.holders])
        return located, known

    def fetch(self, target: Target, obj: ArchiveObject, days: Sequence[date], known: Known) -> list[Day]:
        """Return the days that one object gives: from the lake where it has them from this very object, else downloaded."""
        started = time.perf_counter()
        if not target.collect:
            return [self._from_lake(target, day, known.get(day), None) for day in days]
        current = [self._from_lake(target, day, known.get(day), obj) for day in days]
        if all(day.outcome is None or day.outcome.state is State.NO_DATA for day in current):
            return current
        exchange = exchanges.get(target.series.exchange)
        archive_url = self._collection.urls(exchange.name).archive_url or exchange.archive_url
        content = b""
        try:
            content, source = download(self._client, archive_url, exchange, obj)
            rows = exchange.parse(target.series, obj.key, content)
            parts = _split(target.series, rows, obj.key, exchange.period(obj.key), days)
        except (ChecksumMismatch, MalformedFile, InvalidRows) as error:
            path = quarantine(self._lake, obj.key, content or getattr(error, "content", b""), error)
            return [Day(target, Partition(target.symbol, d), outcome=refused(target, d, error, path)) for d in days]
        except CryptoAssetsError as error:
            return [Day(target, Partition(target.symbol, d), outcome=refused(target, d, error)) for d in days]
        took = (time.perf_counter() - started) / len(days)
        return [
            Day(target, Partition(target.symbol, d), part, source, content, fetch_s=took)
            for d, part in zip(days, parts, strict=True)
        ]

    def _from_lake(self, target: Target, day: date, record: PartitionRecord | None, obj: ArchiveObject | None) -> Day:
        """Return the day as the lake has it, if that is the day of `obj` (None: any); else one with an outcome.

        The file's bytes are compared with the ledger, so a file that was damaged on disk is collected again.
        """
        partition = Partition(target.symbol, day)
        missing = Day(
            target,
            partition,
            outcome=Outcome(
                target.series,
                partition,
                State.MISSING,
                "not in the lake; materialise its lake asset first",
            ),
        )
        if record is None or (obj and (record.source_key, record.source_etag) != (obj.key, obj.etag)):
            return missing
        if record.state is State.NO_DATA:
            known = Outcome(target.series, partition, State.NO_DATA, record.reason, unchanged=True)
            return Day(target, partition, outcome=known)
        if record.content_sha256 is None:
            return missing
        try:
            rows, stored, source = self._lake.open(target.series, partition)
        except StoredDataError:
            return missing
        if stored.sha256 != record.content_sha256:
            return missing
        return Day(target, partition, rows, source, known=stored)


def _split(series: Series, rows: pa.Table, key: str, period: tuple[date, date], days: Sequence[date]) -> list[pa.Table]:
    """Return the rows of each wanted day of an object; one of a single day is returned whole, for its checks to judge.

    Raises:
        InvalidRows: an object of many days whose rows are out of order or outside its period.
    """
    if period[0] == period[1]:
        return [rows]
    times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
    first, last = (Partition("", period[0]).start, Partition("", period[1]).end)
    if len(times) and (times[0] < _us(first) or times[-1] >= _us(last) or (np.diff(times) < 0).any()):
        span = pc.min_max(rows.column(datasets.get(series.table).time_column)).as_py()
        raise InvalidRows(
            f"{key}: expected ascending times inside {period[0]} … {period[1]}, found {span['min']} … {span['max']}"
        )
    parts = []
    for day in days:
        partition = Partition("", day)
        begin, end = np.searchsorted(times, [_us(partition.start), _us(partition.end)])
        parts.append(rows.slice(begin, end - begin))
    return parts


def _us(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000
