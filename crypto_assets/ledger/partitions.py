"""Read and write archive objects and the state of every partition. Schema `collection` in Postgres."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.ledger.corrections import (
    CorrectionRecord,
    KnownFile,
    find_corrections,
    known_files,
    known_since,
)
from crypto_assets.ledger.outcome_rows import COLUMNS, RECORD_OUTCOMES, key_of, row_of
from crypto_assets.ledger.series_names import one_or_more
from crypto_assets.model import ArchiveObject, Outcome, Partition, Series, SourceFile, State, Track, TrackDay, parts_of
from crypto_assets.model.described import means
from crypto_assets.storage.database import Database
from crypto_assets.storage.patience import repeatable


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """The record of a symbol and day: a row of `collection.partitions`, as the API shows it.

    `rows` to `path` are of the stored file, `source_*` of the object it came from. `attempt_error` is the failure of the last
    attempt to collect the day again; the earlier version stays in force.
    """

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    state: State
    reason: str
    evidence: Mapping[str, Any]
    rows: int | None
    size_bytes: int | None = field(metadata=means("Of the Parquet file."))
    content_sha256: str | None = field(metadata=means("Of the Parquet file."))
    path: str | None
    source: str | None
    source_key: str | None
    source_etag: str | None
    source_size_bytes: int | None
    source_sha256: str | None = field(metadata=means("Of the downloaded bytes."))
    source_published_digest: str | None
    source_last_modified: datetime | None
    source_files: Sequence[Mapping[str, Any]] = field(
        metadata=means(
            "The files of a day that came from several, in order of time; empty: the one file of source_key."
        )
    )
    source_contract_size: str | None = field(
        metadata=means("By which amounts in contracts were converted; null: none.")
    )
    failed_checks: Sequence[str]
    findings: Mapping[str, Any]
    attempt_error: str | None
    run_id: str | None
    collected_at: datetime | None
    updated_at: datetime
    known_from: datetime | None = field(metadata=means("Since when the stored rows are known."))
    corrections: int = field(metadata=means("How often stored rows were replaced by others."))
    reported_at: datetime | None = field(metadata=means("When this outcome was reported to Dagster; null: not yet."))

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))

    @property
    def source_file(self) -> SourceFile | None:
        """The source of the day's rows, None if there is none."""
        if self.source_key is None or self.source is None:
            return None
        return SourceFile(
            self.source_key,
            self.source_size_bytes or 0,
            self.source_etag or "",
            self.source_sha256 or "",
            self.source_published_digest,
            self.source_last_modified,
            self.source,
            parts_of(self.source_files, self.source),
            self.source_contract_size,
        )

    @property
    def track(self) -> Track:
        return Track(Series.named(self.exchange, self.market_type, self.dataset), self.symbol)

    @property
    def track_day(self) -> TrackDay:
        return TrackDay(*self.track, self.day)


@dataclass(frozen=True, slots=True)
class PartitionRecord(PartitionRow):
    """A whole row of `collection.partitions`.

    `judged_by` names what the findings depend on besides the rows; it is empty where the day is checked each time.
    """

    judged_by: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Coverage of one symbol of a series: days by state, rows and bytes stored, first and last day with a record.

    `checks` counts results of checks that could judge. `corrections` counts how often rows of a stored day were replaced.
    """

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    states: Mapping[str, int]
    rows: int
    size_bytes: int
    checks: int
    failed_checks: int
    corrections: int
    first_day: date
    last_day: date


_RECORD_OBJECTS = """
WITH seen AS (
    SELECT * FROM unnest(%(keys)s::text[], %(sizes)s::bigint[], %(etags)s::text[], %(modified)s::timestamptz[])
        AS o (key, size_bytes, etag, last_modified)
), former AS (
    SELECT a.key, a.size_bytes, a.etag, a.last_seen, a.last_modified FROM collection.archive_objects a
    JOIN seen USING (key) WHERE a.exchange = %(exchange)s
), written AS (
    INSERT INTO collection.archive_objects AS a (exchange, key, size_bytes, etag, last_modified, first_modified)
    SELECT %(exchange)s, key, seen.size_bytes, seen.etag, seen.last_modified, seen.last_modified
    FROM seen LEFT JOIN former USING (key)
    WHERE former.key IS NULL OR (former.etag, former.size_bytes, former.last_modified)
        <> (seen.etag, seen.size_bytes, seen.last_modified)
        OR former.last_seen < now() - interval '1 hour'
    ORDER BY key
    ON CONFLICT (exchange, key) DO UPDATE SET
        size_bytes = excluded.size_bytes, etag = excluded.etag, last_modified = excluded.last_modified, last_seen = now(),
        published_digest = CASE WHEN a.etag = excluded.etag THEN a.published_digest END,
        computed_sha256 = CASE WHEN a.etag = excluded.etag THEN a.computed_sha256 END
)
SELECT seen.key, former.key IS NULL FROM seen LEFT JOIN former USING (key)
WHERE former.key IS NULL OR (former.etag, former.size_bytes, former.last_modified)
    <> (seen.etag, seen.size_bytes, seen.last_modified)
"""

_RECORD_CHECKSUMS = """
UPDATE collection.archive_objects a SET published_digest = c.published, computed_sha256 = c.computed
FROM unnest(%(keys)s::text[], %(published)s::text[], %(computed)s::text[]) AS c (key, published, computed)
WHERE a.exchange = %(exchange)s AND a.key = c.key
"""


class Ledger(Database):
    """Reads and writes the ledger; safe to use from many threads and processes."""

    def record_objects(self, exchange: str, objects: Sequence[ArchiveObject]) -> tuple[list[str], list[str]]:
        """Record the objects of a listing; return the keys that are new and the keys that changed since last seen.

        Changed means another etag, size or time. Unchanged objects are written at most once an hour, which is the
        precision of `last_seen`.
        """
        if not objects:
            return [], []
        objects = list({obj.key: obj for obj in objects}.values())
        values = {
            "exchange": exchange,
            "keys": [obj.key for obj in objects],
            "sizes": [obj.size_bytes for obj in objects],
            "etags": [obj.etag for obj in objects],
            "modified": [obj.last_modified for obj in objects],
        }
        rows = self.change(lambda connection: connection.execute(_RECORD_OBJECTS, values).fetchall())
        return [key for key, new in rows if new], [key for key, new in rows if not new]

    def record_outcomes(
        self,
        outcomes: Sequence[Outcome],
        run_id: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
        at: datetime | None = None,
        same_rows: Container[Partition] = (),
    ) -> None:
        """Record the outcomes of some partitions, in one transaction; the last outcome of a partition counts.

        An outcome without a stored file does not erase a stored version: the file and its findings stay, and the reason
        becomes the record's `attempt_error`. The state stays too (the host does not answer, or the object was deleted: the
        stored file is as good as before), unless the exchange has another version that was refused. Then it is `corrected`,
        which is not complete: the day is tried again and the stored version is not mistaken for the newest.

        Args:
            connection: joins its transaction; default: a new one.
            at: the instant since which stored rows are known; default: now.
            same_rows: partitions whose new file has all the rows known before, and possibly more.
        """
        # In key order: two processes that record the same partitions then cannot deadlock.
        outcomes = sorted({key_of(outcome): outcome for outcome in outcomes}.values(), key=key_of)
        if not outcomes:
            return
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for outcome in outcomes:
            for name, value in row_of(outcome).items():
                columns[name].append(value)
        downloaded = [o for o in outcomes if o.source and o.source.source == "archive" and not o.unchanged]
        known = [outcome.partition in same_rows for outcome in outcomes]
        with nullcontext(connection) if connection else self.transaction() as connection:
            connection.execute(RECORD_OUTCOMES, {**columns, "run_id": run_id, "at": at, "same_rows": known})
            if downloaded:
                sources = [file for outcome in downloaded if outcome.source for file in outcome.source.files]
                connection.execute(
                    _RECORD_CHECKSUMS,
                    {
                        "exchange": downloaded[0].series.exchange,
                        "keys": [source.key for source in sources],
                        "published": [source.published_digest for source in sources],
                        "computed": [source.sha256 for source in sources],
                    },
                )

    @repeatable
    def mark_reported(self, outcomes: Sequence[Outcome], run_id: str | None) -> None:
        """Record that some outcomes of a run were reported to Dagster, except those that another run recorded again since.

        Without a run, outcomes are matched by their stored file: days stored in another file since stay unreported.
        """
        keys = sorted(map(key_of, outcomes))
        names = ("exchange", "market_type", "symbol", "dataset", "day")
        if not keys:
            return
        same = "p.run_id = o.mark" if run_id else "p.content_sha256 = o.mark"
        marks = {key_of(o): run_id or (o.stored.sha256 if o.stored else "") for o in outcomes}
        with self.transaction() as connection:
            connection.execute(
                f"""UPDATE collection.partitions p SET reported_at = clock_timestamp()
                FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::text[])
                    AS o ({", ".join(names)}, mark)
                WHERE {" AND ".join(f"p.{name} = o.{name}" for name in names)} AND {same}""",
                (*map(list, zip(*keys, strict=True)), [marks[key] for key in keys]),
            )

    @repeatable
    def corrections(
        self,
        *,
        exchange: str | Sequence[str] | None = None,
        market_type: str | Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        datasets: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        equal_rows: bool = True,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[CorrectionRecord]:
        """Return the replacements of stored days that match all given values, the latest first.

        Args:
            equal_rows: include replacements that changed no row: the day was published again, in another file.
            limit, offset: largest number to return, and how many to leave out before.
        """
        conditions = _conditions(
            exchange=exchange, market_type=market_type, symbols=symbols, datasets=datasets, first=first, last=last
        )
        if not equal_rows:
            conditions["(version IS NOT NULL) = %s"] = True
        with self.transaction() as connection:
            return find_corrections(connection, conditions, limit, offset)

    @repeatable
    def known_files(self, series: Series, symbol: str, first: date, last: date, at: datetime) -> list[KnownFile]:
        """Return the files of the days from first to last, both included, at an instant; sorted by day."""
        with self.transaction() as connection:
            return known_files(connection, series, symbol, first, last, at)

    @repeatable
    def known_since(self, series: Series, symbol: str, first: date, last: date) -> dict[date, datetime]:
        """Return, for each stored day from first to last, both included, the instant since which it is known."""
        with self.transaction() as connection:
            return known_since(connection, series, symbol, first, last)

    @repeatable
    def partitions(
        self,
        *,
        exchange: str | Sequence[str] | None = None,
        market_type: str | Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        datasets: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        states: Sequence[State] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[PartitionRecord]:
        """Return the partitions that match all given values, by series, symbol and day; both days are included.

        Args:
            limit, offset: largest number to return, and how many to leave out before.
        """
        given = _conditions(
            exchange=exchange,
            market_type=market_type,
            symbols=symbols,
            datasets=datasets,
            first=first,
            last=last,
            states=states and [state.value for state in states],
        )
        names = ", ".join(PartitionRecord.__dataclass_fields__)
        query = (
            f"SELECT {names} FROM collection.partitions WHERE {' AND '.join(given) or 'true'} "
            "ORDER BY exchange, market_type, dataset, symbol, day LIMIT %s OFFSET %s"
        )
        with self.transaction() as connection, connection.cursor(row_factory=class_row(PartitionRecord)) as cursor:
            return cursor.execute(query, [*given.values(), limit, offset]).fetchall()

    @repeatable
    def records_of(self, days: Mapping[Track, Iterable[date]]) -> dict[TrackDay, PartitionRecord]:
        """Return the existing records of some days of many series and symbols; one query."""
        places = [
            (series.exchange, series.market_type, series.dataset, symbol, day)
            for (series, symbol), mine in days.items()
            for day in mine
        ]
        if not places:
            return {}
        names = ", ".join(f"p.{name}" for name in PartitionRecord.__dataclass_fields__)
        query = f"""
            SELECT {names} FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[])
                AS w (exchange, market_type, dataset, symbol, day)
            JOIN collection.partitions p USING (exchange, market_type, dataset, symbol, day)
        """
        with self.transaction() as connection, connection.cursor(row_factory=class_row(PartitionRecord)) as cursor:
            records = cursor.execute(query, [list(column) for column in zip(*places, strict=True)]).fetchall()
        return {record.track_day: record for record in records}

    @repeatable
    def summary(self) -> list[Summary]:
        """Return the coverage of every symbol of every series."""
        query = """
            SELECT exchange, market_type, symbol, dataset, jsonb_object_agg(state, days) AS states,
                sum(rows)::bigint AS rows, sum(size_bytes)::bigint AS size_bytes,
                sum(checks)::bigint AS checks, sum(failed)::bigint AS failed_checks,
                sum(corrections)::bigint AS corrections,
                min(first_day) AS first_day, max(last_day) AS last_day
            FROM (
                SELECT exchange, market_type, symbol, dataset, state, count(*) AS days,
                    coalesce(sum(rows), 0) AS rows, coalesce(sum(size_bytes), 0) AS size_bytes,
                    sum((SELECT count(*) FROM jsonb_each(findings) f WHERE NOT f.value ? 'not_judged')) AS checks,
                    sum(cardinality(failed_checks)) AS failed, sum(corrections) AS corrections,
                    min(day) AS first_day, max(day) AS last_day
                FROM collection.partitions GROUP BY 1, 2, 3, 4, 5
            ) by_state
            GROUP BY 1, 2, 3, 4 ORDER BY exchange, market_type, dataset, symbol
        """
        with self.transaction() as connection, connection.cursor(row_factory=class_row(Summary)) as cursor:
            return cursor.execute(query).fetchall()


_CONDITIONS = {
    "exchange": "exchange = ANY(%s)",
    "market_type": "market_type = ANY(%s)",
    "symbols": "symbol = ANY(%s)",
    "datasets": "dataset = ANY(%s)",
    "first": "day >= %s",
    "last": "day <= %s",
    "states": "state = ANY(%s)",
}


def _conditions(**wanted: Any) -> dict[str, Any]:
    """Return the given conditions as SQL with their values."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return {
        _CONDITIONS[name]: value if isinstance(value, date) else one_or_more(value) for name, value in given.items()
    }
