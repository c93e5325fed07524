"""Judge refused files again, with the present code, without downloading them.

A file goes the usual way: parse, validate, lake, warehouse and ledger; `crypto_assets.defs.recovery` reports it to Dagster.
First it must still be what the exchange publishes: the bytes are those that were refused, the exchange has listed no other
version since, and the published checksum matches (requested again unless it matched before). A day stored from another file
meanwhile stays. A day that needs several files is left to `fill`: one file has only some of its rows. A file that is refused
again stays in quarantine/; no option bypasses that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.engine.archive.download import Published, published_digest
from crypto_assets.engine.archive.files import is_of
from crypto_assets.engine.archive.read_files import days_of
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.day_outcomes import Day, Target, quarantine
from crypto_assets.engine.instruments import InstrumentsOfDays, converted, needs_instrument, no_instrument
from crypto_assets.engine.publication.storer import Storer
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.errors import (
    OF_THIS_PROCESS,
    CryptoAssetsError,
    InvalidRows,
    MalformedFile,
    StoredDataError,
    TransientError,
)
from crypto_assets.ledger.objects import etag_of
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import Outcome, Partition, Series, SourceFile, State
from crypto_assets.quality.after_run import close_run
from crypto_assets.quality.quarantine.refused_files import RefusedFile, drop
from crypto_assets.rows.arrange import Arranged
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from crypto_assets.ledger.partitions import PartitionRecord


@dataclass(slots=True)
class Restored:
    """The result for a refused file: the days stored from it now, and the reasons for the others.

    `stored` has the state of each stored day and a note; `refused` has the reason for each other day, or under None one
    reason for all. If nothing is refused, the file has left quarantine/.
    """

    file: RefusedFile
    stored: dict[date, tuple[State, str]] = field(default_factory=dict)
    refused: dict[date | None, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.refused


class _RefusedAgainError(Exception):
    """Ends the storing of a day before any of it is published or recorded."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@contextmanager
def restorer(collection: Collection, stores: Stores) -> Iterator[Restorer]:
    """Yield a Restorer for a lake; its requests go through limits and breakers like all others.

    At the end, what depends on the restored days is updated, as at the end of a run.
    """
    with (
        DaemonPool(2, "restore") as writers,
        Guard(stores.ledger.url, collection, egress=settings().egress, patience_s=30.0) as guard,
        Client(guard, 2, timeout_s=15.0, attempts=3) as client,
    ):
        restoring = Restorer(collection, stores, client, writers)
        yield restoring
        close_run(collection, stores.lake, stores.ledger, restoring.stored)


class Restorer:
    """Judges files one after the other, without disturbing other processes that publish meanwhile.

    `stored` are the days that are stored from them now.
    """

    def __init__(self, collection: Collection, stores: Stores, client: Client, writers: Executor) -> None:
        self._collection = collection
        self._lake = stores.lake
        self._ledger = stores.ledger
        self._client = client
        self.stored: list[Target] = []
        self._storer = Storer(writers, collection, stores, RunContext(), lambda *_: None, _refuse_or_no_data)

    def restore(self, file: RefusedFile) -> Restored:
        """Judge one file again and publish its good days.

        Raises:
            PostgresUnavailable, OSError: the database or the lake fails.
        """
        result = Restored(file)
        try:
            content = self._lake.store.get(file.path)
        except StoredDataError as error:  # a link, a pipe, a folder
            result.refused[None] = str(error)
            return result
        if why := _unusable(file, content):
            result.refused[None] = why
            return result
        assert file.series is not None  # noqa: S101  `_unusable` has asked; tells the type checker
        assert content is not None  # noqa: S101  as above
        target = self._target(file, file.series)
        records = self._records(target)
        result.refused |= _held_by_several(file, file.series, records)
        target = replace(target, days=tuple(day for day in target.days if day not in result.refused))
        if not target.days:
            return result
        try:
            source, was_asked = self._source(file.series, file, content)
            parts = self._parse(target, source, content)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            result.refused[None] = str(error)
            return result
        for day, (source, part) in parts.items():
            record = records.get(day)
            if record is not None and record.path is not None and record.source_sha256 == source.sha256:
                result.stored[day] = (record.state, "was stored from this file already")
            elif why := _stored_from_another(record, file, was_asked=was_asked):
                result.refused[day] = why
            else:
                partition = Partition(target.symbol, day)
                self._store(result, Day(target, partition, part.rows, source, (content,), arrangement=part.arrangement))
        if result.stored:
            self.stored.append(replace(target, days=tuple(sorted(result.stored))))
        if result.complete:
            drop(self._lake, file)
        return result

    def _target(self, file: RefusedFile, series: Series) -> Target:
        tables = self._collection.tables_of(series, file.symbol)
        return Target(series, file.symbol, tuple(sorted(file.days)), tables)

    def _records(self, target: Target) -> Mapping[date, PartitionRecord]:
        found = self._ledger.partitions(
            exchange=target.series.exchange,
            market_type=target.series.market_type,
            symbols=[target.symbol],
            datasets=[target.series.dataset],
            first=target.days[0],
            last=target.days[-1],
        )
        return {record.day: record for record in found}

    def _source(self, series: Series, file: RefusedFile, content: bytes) -> tuple[SourceFile, bool]:
        """Return the source of the bytes, and whether the exchange has just confirmed that it publishes them.

        Raises:
            CryptoAssetsError: it does not publish them, or cannot be asked now.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        listed = self._listed(series.exchange, file.key)
        published, digest = file.published_digest or None, sources.feed_of(series, file.key).digest(file.key)
        was_asked = digest is not None and (file.error == "ChecksumMismatch" or not _is_published(published, content))
        if was_asked and digest is not None:
            site, place = ArchiveSite.of(self._client, self._collection, series), digest.key or file.key
            try:
                etag = "" if digest.key else site.archive.head(f"{site.files_url}/{file.key}").headers.get("etag", "")
                found = published_digest(site, digest, etag.removeprefix("W/").strip('"'))
            except TransientError as error:
                raise CryptoAssetsError(f"{place} is needed, and cannot be downloaded now: {error}") from error
            published = str(found) if found else None
            if found is None or not found.is_of(content):
                raise CryptoAssetsError(
                    f"{file.key}: published {digest.algorithm} {found.hex if found else 'unreadable'}, these bytes have "
                    f"{hashlib.new(digest.algorithm, content, usedforsecurity=False).hexdigest()}; "
                    "`crypto-assets fill` downloads what is published now"
                )
        elif file.etag and listed and listed != file.etag:
            raise CryptoAssetsError(
                f"{file.key}: the exchange has published another version since (etag {listed}, this file has {file.etag}); "
                "`crypto-assets fill` collects that one"
            )
        etag = file.etag or listed
        return SourceFile(file.key, len(content), etag, sha256, published, file.last_modified), was_asked

    def _listed(self, exchange: str, key: str) -> str:
        """Return the etag of an object in the last listing; empty if it was never listed."""
        with self._ledger.transaction() as connection:
            return etag_of(connection, exchange, key)

    def _parse(self, target: Target, source: SourceFile, content: bytes) -> dict[date, tuple[SourceFile, Arranged]]:
        """Return the rows of each day, and their source; unreadable bytes are refused again, with the present error.

        Amounts in contracts are converted by the size that the contract had at the end of each day.
        """
        span = sources.span_of(target.series, source.key)
        found: dict[date, tuple[SourceFile, Arranged]] = {}
        try:
            instruments = InstrumentsOfDays(self._collection, self._ledger)
            for instrument, days in instruments.by_size(target.track, target.days):
                if instrument is None and needs_instrument(target.series):
                    raise no_instrument(target.track)
                pieces = sources.pieces(*target.track, source.key, content, instrument)
                parts, _ = days_of(target.series, pieces, source.key, (span.first_day, span.last_day), days)
                mine = converted(source, instrument)
                found |= {day: (mine, part) for day, part in zip(days, parts, strict=True)}
        except (MalformedFile, InvalidRows) as error:
            quarantine(self._lake, source.key, content, error, target, target.days, source)
            raise
        return found

    def _store(self, result: Restored, day: Day) -> None:
        try:
            [outcome] = self._storer.store([day])
        except _RefusedAgainError as again:
            result.refused[day.partition.day] = again.outcome.reason
        else:
            result.stored[day.partition.day] = (outcome.state, outcome.reason)


def _refuse_or_no_data(target: Target, outcome: Outcome) -> Day:
    """Replace the fallback source: there is none, and the ledger keeps its record of a refused day."""
    if outcome.state is State.NO_DATA:
        return Day(target, outcome.partition, outcome=outcome)
    raise _RefusedAgainError(outcome)


def _is_published(published: str | None, content: bytes) -> bool:
    """Return whether some bytes have the digest that was published when they were refused."""
    algorithm, _, found = (published or "").partition(":")
    return bool(found) and Published(algorithm, found).is_of(content)


def _unusable(file: RefusedFile, content: bytes | None) -> str:
    """Return why a file cannot be judged at all; empty if it can."""
    if content is None:
        return "its bytes are missing; `crypto-assets quarantine drop` removes the reason too"
    if file.source == "rest":
        return "rows from REST are requested again, not restored: `crypto-assets fill`"
    if file.series is None or not file.days:
        return (
            f"the series and days of {file.key} are unknown; add its symbol to collection.yaml, "
            "or let `crypto-assets fill` download it again"
        )
    if file.series.exchange not in sources.names():
        return f"exchange {file.series.exchange}: expected one of {', '.join(sources.names())}"
    exchange = sources.get(file.series.exchange)
    if file.series.dataset not in (known := exchange.dataset_names(file.series.market_type)):
        return f"dataset {file.series.dataset}: expected one of {', '.join(known)}"
    name = sources.name_of(file.series, file.symbol)
    try:
        feed, span = sources.feed_of(file.series, file.key), sources.span_of(file.series, file.key)
    except ValueError as error:
        return f"{file.key}: expected the key of a data file ({error})"
    if not is_of(feed, name, file.key, span):
        expected = feed.keys(name, span.first_day)[0]
        return f"{file.key}: expected a file like {expected}, where {file.series} {file.symbol} is published"
    first, last = span.first_day, span.last_day
    if not (first <= min(file.days) and max(file.days) <= last):
        return f"{file.key}: expected days from {first} to {last}, found {min(file.days)} to {max(file.days)} in its reason"
    found = hashlib.sha256(content).hexdigest()
    if file.sha256 not in ("", found) or not file.path.endswith(found[:12]):
        return (
            f"expected the bytes that were refused (sha256 {file.sha256 or file.path[-12:] + '…'}), found others ({found}); "
            "a file in quarantine/ must not be edited: drop it and let `crypto-assets fill` download it again"
        )
    return ""


def _held_by_several(
    file: RefusedFile, series: Series, records: Mapping[date, PartitionRecord]
) -> dict[date | None, str]:
    """Return why this file alone cannot give some of its days, by day: they need other files as well."""
    feed, name = sources.feed_of(series, file.key), sources.name_of(series, file.symbol)
    found: dict[date | None, str] = {}
    for day in file.days:
        keys = feed.keys(name, day)
        if len(keys) > 1:
            found[day] = _stored_from_another(records.get(day), file, was_asked=False) or (
                f"needs {len(keys)} files together ({', '.join(keys)}), and this is one of them; "
                "`crypto-assets fill` downloads and checks them together"
            )
    return found


def _stored_from_another(record: PartitionRecord | None, file: RefusedFile, *, was_asked: bool) -> str:
    """Return why the stored version of a day stays; empty if there is none, or if this file has priority.

    The archive has priority over REST, and the exchange's present version of a file over an earlier one.
    """
    if record is None or record.path is None or record.source != "archive" or record.state is State.CORRECTED:
        return ""
    if was_asked and record.source_key == file.key:
        return ""
    return (
        f"is {record.state.value} from {record.source_key} (sha256 {(record.source_sha256 or '')[:12]}…); "
        "this file is not needed: `crypto-assets quarantine drop`"
    )
