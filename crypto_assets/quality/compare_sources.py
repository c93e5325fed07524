"""Compare stored days with other sources that need requests: the archive's monthly file, and REST.

A monthly file is downloaded once for all of its days. A comparison that cannot be made, or would cost far more than
collecting the day, is not judged; the finding gives the reason.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.checks import of_kind
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.engine.archive.download import download
from crypto_assets.engine.archive.files import objects_of
from crypto_assets.engine.archive.read_files import days_of
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.instruments import InstrumentsOfDays
from crypto_assets.engine.publication.cross_series import WITH, WITH_SHA256, RowsOfDay
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.errors import OF_THIS_PROCESS, CryptoAssetsError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Comparison, Finding, Partition, Series, SourceFile, Track, not_judged
from crypto_assets.rows.on_disk import whole
from crypto_assets.sources import ArchiveFeed
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import PartitionRecord

SOURCES = ("monthly", "rest")

MONTHLY_BYTES = 256 << 20
"""Largest monthly file downloaded for a comparison: parsing a larger one takes minutes, and some 10 GB on disk."""

REST_ROWS = 50_000
"""Most rows compared over REST: at 1,000 a request, more would use up the limits of other work."""


class SourceComparer:
    """Compares days with one or both of `SOURCES`; create it with `source_comparer`."""

    def __init__(self, collection: Collection, client: Client, ledger: Ledger, sources: Sequence[str]) -> None:
        self._collection = collection
        self._client = client
        self._sources = sources
        self._instruments = InstrumentsOfDays(collection, ledger)
        self._feed = RestFeed(client, collection, self._instruments.of)
        self._month: tuple[str, Mapping[date, pa.Table] | str, SourceFile | None] = ("", "", None)

    def findings(self, series: Series, record: PartitionRecord, pieces: RowsOfDay) -> dict[str, Finding]:
        """Return the findings of the selected sources on one stored day."""
        partition = Partition(record.symbol, record.day)
        return {
            check.name: self._one(check, series, partition, record, pieces)
            for check in of_kind(series, Comparison)
            if check.source in self._sources
        }

    def _one(
        self, check: Comparison, series: Series, partition: Partition, record: PartitionRecord, pieces: RowsOfDay
    ) -> Finding:
        if record.source != "archive":
            return not_judged("the day is from REST; it is compared with the archive's file when that appears")
        try:
            if check.source == "monthly":
                theirs, told = self._of_month(series, partition, record)
            else:
                theirs, told = self._of_rest(series, partition, record)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            return not_judged(" ".join(str(error).split()))
        if theirs is None:
            return not_judged(told)
        gathered = [check.gather(series, rows) for rows in (pieces(), [theirs])]
        found = check.run(gathered[0], gathered[1], partition, series)
        return Finding(found.passed, {WITH: told, **found.evidence})

    # ---- the monthly file ------------------------------------------------------------------------------------------

    def _of_month(self, series: Series, partition: Partition, record: PartitionRecord) -> tuple[pa.Table | None, str]:
        longer = next((feed for feed in sources.archives(series)[1:] if feed.name == "monthly"), None)
        if longer is None:
            return None, "the archive has no monthly files beside its daily ones"
        (key,) = longer.keys(sources.name_of(series, partition.symbol), partition.day)
        if record.source_key == key:
            return None, "the day came from the monthly file"
        if self._month[0] != key:
            self._month = (key, *self._read_month(Track(series, partition.symbol), longer, key, partition.day))
        days, source = self._month[1], self._month[2]
        if isinstance(days, str) or source is None:
            return None, str(days)
        return days[partition.day], f"{key} ({WITH_SHA256} {source.sha256[:16]}…)"

    def _read_month(
        self, track: Track, feed: ArchiveFeed, key: str, day: date
    ) -> tuple[Mapping[date, pa.Table] | str, SourceFile | None]:
        """Return the rows of each day of a monthly file, or the reason why it cannot be used."""
        site = ArchiveSite.of(self._client, self._collection, track.series)
        found = objects_of(site, feed, sources.name_of(*track), [day]).get(key)
        if found is None:
            return f"the archive has no {key} yet", None
        if found.size_bytes > MONTHLY_BYTES:
            return (
                f"{key} has {found.size_bytes >> 20} MB, more than the limit of {MONTHLY_BYTES >> 20} MB for a comparison",
                None,
            )
        content, source = download(site, feed, found)
        first = day.replace(day=1)
        days = [first.replace(day=n + 1) for n in range(calendar.monthrange(first.year, first.month)[1])]
        rows: dict[date, pa.Table] = {}
        for instrument, of_size in self._instruments.by_size(track, days):
            pieces = sources.pieces(*track, key, content, instrument)
            parts, _ = days_of(track.series, pieces, key, (days[0], days[-1]), of_size)
            rows |= {one: whole(part.rows) for one, part in zip(of_size, parts, strict=True)}
        return rows, source

    # ---- REST ------------------------------------------------------------------------------------------------------

    def _of_rest(self, series: Series, partition: Partition, record: PartitionRecord) -> tuple[pa.Table | None, str]:
        if not self._feed.serves(series, partition.symbol):
            return None, "this entry of collection.yaml does not use REST"
        if (record.rows or 0) > REST_ROWS:
            return None, f"{record.rows} rows are more than the limit of {REST_ROWS} for a comparison with REST"
        answer = self._feed.day(series, partition, datasets.get(series.table).schema.empty_table(), None)
        if not answer.ended or answer.missing:
            return None, f"REST did not return the whole day: {answer.missing or 'it has not ended there'}"
        return answer.rows, "REST"


@contextmanager
def source_comparer(collection: Collection, url: str, sources: Sequence[str]) -> Iterator[SourceComparer | None]:
    """Yield the comparer, within all limits; None if no source is selected."""
    if not sources:
        yield None
        return
    with (
        Guard(url, collection, egress=settings().egress) as guard,
        Client(guard, 4) as client,
        Ledger(url) as ledger,
    ):
        yield SourceComparer(collection, client, ledger, sources)
