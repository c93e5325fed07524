"""The ledger: every archive object that was seen, and the state of every partition. Schema `collection` in Postgres."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row

from crypto_assets.collection.database import Database
from crypto_assets.model import ArchiveObject, Outcome, State


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """One row of `collection.partitions`. `rows` to `path` are of the stored file, `source_*` of the object it came from.

    `attempt_error` says why the last attempt to collect the day again failed while the former version stays in force.
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
    size_bytes: int | None
    content_sha256: str | None
    path: str | None
    source: str | None
    source_key: str | None
    source_etag: str | None
    source_size_bytes: int | None
    source_sha256: str | None
    source_published_sha256: str | None
    source_last_modified: datetime | None
    failed_checks: Sequence[str]
    findings: Mapping[str, Any]
    attempt_error: str | None
    run_id: str | None
    collected_at: datetime | None
    updated_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))


@dataclass(frozen=True, slots=True)
class Summary:
    """Coverage of one symbol of a series: days by state, rows and bytes stored, check results, first and last day known."""

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    states: Mapping[str, int]
    rows: int
    size_bytes: int
    checks: int
    failed_checks: int
    first_day: date
    last_day: date


_STORED = (
    "rows",
    "size_bytes",
    "content_sha256",
    "path",
    "source",
    "source_key",
    "source_etag",
    "source_size_bytes",
    "source_sha256",
    "source_published_sha256",
    "source_last_modified",
    "findings",
    "failed_checks",
    "collected_at",
)

_PARTITION_TYPES = {
    "exchange": "text",
    "market_type": "text",
    "symbol": "text",
    "dataset": "text",
    "day": "date",
    "state": "text",
    "reason": "text",
    "evidence": "jsonb",
    "rows": "bigint",
    "size_bytes": "bigint",
    "content_sha256": "text",
    "path": "text",
    "source": "text",
    "source_key": "text",
    "source_etag": "text",
    "source_size_bytes": "bigint",
    "source_sha256": "text",
    "source_published_sha256": "text",
    "source_last_modified": "timestamptz",
    "findings": "jsonb",
}

# Where the table has a stored file and the new outcome has none, the stored version stays in force.
_KEEPS = "(p.path IS NOT NULL AND excluded.path IS NULL)"

# The exchange has a file that is not the stored one, and it could not be used.
_REFUSED = (
    f"({_KEEPS} AND (excluded.evidence ->> 'error' IN "
    "('ChecksumMismatch', 'MalformedFile', 'BadContainer', 'BadContent', 'InvalidRows')) IS TRUE)"
)

_RECORD_OUTCOMES = f"""
INSERT INTO collection.partitions AS p ({", ".join(_PARTITION_TYPES)}, failed_checks, run_id, collected_at)
SELECT {", ".join(f"o.{name}" for name in _PARTITION_TYPES)},
    ARRAY(SELECT f.key FROM jsonb_each(o.findings) f WHERE f.value->>'passed' = 'false' ORDER BY f.key),
    %(run_id)s,
    CASE WHEN o.path IS NOT NULL THEN clock_timestamp() END
FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in _PARTITION_TYPES.items())})
    AS o ({", ".join(_PARTITION_TYPES)})
ON CONFLICT (exchange, market_type, symbol, dataset, day) DO UPDATE SET
    state = CASE WHEN {_REFUSED} THEN 'corrected' WHEN {_KEEPS} THEN p.state ELSE excluded.state END,
    reason = CASE WHEN {_KEEPS} AND NOT {_REFUSED} THEN p.reason ELSE excluded.reason END,
    evidence = CASE WHEN {_KEEPS} AND NOT {_REFUSED} THEN p.evidence ELSE excluded.evidence END,
    {", ".join(f"{name} = CASE WHEN {_KEEPS} THEN p.{name} ELSE excluded.{name} END" for name in _STORED)},
    attempt_error = CASE WHEN {_KEEPS} THEN excluded.reason END,
    run_id = excluded.run_id,
    updated_at = clock_timestamp()
"""

_RECORD_OBJECTS = """
WITH seen AS (
    SELECT * FROM unnest(%(keys)s::text[], %(sizes)s::bigint[], %(etags)s::text[], %(modified)s::timestamptz[])
        AS o (key, size_bytes, etag, last_modified)
), former AS (
    SELECT a.key, a.size_bytes, a.etag, a.last_seen FROM collection.archive_objects a
    JOIN seen USING (key) WHERE a.exchange = %(exchange)s
), written AS (
    INSERT INTO collection.archive_objects AS a (exchange, key, size_bytes, etag, last_modified)
    SELECT %(exchange)s, key, seen.size_bytes, seen.etag, last_modified FROM seen LEFT JOIN former USING (key)
    WHERE former.key IS NULL OR (former.etag, former.size_bytes) <> (seen.etag, seen.size_bytes)
        OR former.last_seen < now() - interval '1 hour'
    ORDER BY key
    ON CONFLICT (exchange, key) DO UPDATE SET
        size_bytes = excluded.size_bytes, etag = excluded.etag, last_modified = excluded.last_modified, last_seen = now(),
        published_sha256 = CASE WHEN a.etag = excluded.etag THEN a.published_sha256 END,
        computed_sha256 = CASE WHEN a.etag = excluded.etag THEN a.computed_sha256 END
)
SELECT seen.key, former.key IS NULL FROM seen LEFT JOIN former USING (key)
WHERE former.key IS NULL OR (former.etag, former.size_bytes) <> (seen.etag, seen.size_bytes)
"""

_RECORD_CHECKSUMS = """
UPDATE collection.archive_objects a SET published_sha256 = c.published, computed_sha256 = c.computed
FROM unnest(%(keys)s::text[], %(published)s::text[], %(computed)s::text[]) AS c (key, published, computed)
WHERE a.exchange = %(exchange)s AND a.key = c.key
"""


class Ledger(Database):
    """Reads and writes the ledger; safe to use from many threads and processes."""

    def record_objects(self, exchange: str, objects: Sequence[ArchiveObject]) -> tuple[list[str], list[str]]:
        """Remember the objects of a listing; return the keys that are new and those that changed since last seen.

        Changed means another etag or size. Objects as before are written once an hour at most: `last_seen` is that exact.
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
        with self.transaction() as connection:
            rows = connection.execute(_RECORD_OBJECTS, values).fetchall()
        return [key for key, new in rows if new], [key for key, new in rows if not new]

    def record_outcomes(self, outcomes: Sequence[Outcome], run_id: str | None = None) -> None:
        """Remember what became of some partitions, in one transaction; the last outcome of a partition counts.

        An outcome without a stored file does not erase a version that is stored: the file and its findings stay, and the
        reason becomes the record's `attempt_error`. The state stays too (the host does not answer, the object is gone: what
        is stored is as good as before), unless the exchange has another version that was refused: that is `corrected`, which
        is not complete, so that the day is tried again and nobody takes the stored version for the newest.
        """
        # In the order of the key: two processes that record the same partitions wait for each other, not in a circle.
        outcomes = sorted({_key(outcome): outcome for outcome in outcomes}.values(), key=_key)
        if not outcomes:
            return
        columns: dict[str, list[Any]] = {name: [] for name in _PARTITION_TYPES}
        for outcome in outcomes:
            for name, value in _row(outcome).items():
                columns[name].append(value)
        downloaded = [o for o in outcomes if o.source and o.source.source == "archive" and not o.unchanged]
        with self.transaction() as connection:
            connection.execute(_RECORD_OUTCOMES, {**columns, "run_id": run_id})
            if downloaded:
                sources = [outcome.source for outcome in downloaded if outcome.source]
                connection.execute(
                    _RECORD_CHECKSUMS,
                    {
                        "exchange": downloaded[0].series.exchange,
                        "keys": [source.key for source in sources],
                        "published": [source.published_sha256 for source in sources],
                        "computed": [source.sha256 for source in sources],
                    },
                )

    def partitions(
        self,
        *,
        exchange: str | None = None,
        market_type: str | None = None,
        symbols: Sequence[str] | None = None,
        datasets: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        states: Sequence[State] | None = None,
    ) -> list[PartitionRecord]:
        """Return the partitions that match all of what is given, by series, symbol and day; both days are included."""
        conditions = {
            "exchange = %s": exchange,
            "market_type = %s": market_type,
            "symbol = ANY(%s)": list(symbols) if symbols is not None else None,
            "dataset = ANY(%s)": list(datasets) if datasets is not None else None,
            "day >= %s": first,
            "day <= %s": last,
            "state = ANY(%s)": [state.value for state in states] if states is not None else None,
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        names = ", ".join(PartitionRecord.__dataclass_fields__)
        query = (
            f"SELECT {names} FROM collection.partitions WHERE {' AND '.join(given) or 'true'} "
            "ORDER BY exchange, market_type, dataset, symbol, day"
        )
        with self.transaction() as connection, connection.cursor(row_factory=class_row(PartitionRecord)) as cursor:
            return cursor.execute(query, list(given.values())).fetchall()

    def summary(self) -> list[Summary]:
        """Return the coverage of every symbol of every series."""
        query = """
            SELECT exchange, market_type, symbol, dataset, jsonb_object_agg(state, days) AS states,
                sum(rows)::bigint AS rows, sum(size_bytes)::bigint AS size_bytes,
                sum(checks)::bigint AS checks, sum(failed)::bigint AS failed_checks,
                min(first_day) AS first_day, max(last_day) AS last_day
            FROM (
                SELECT exchange, market_type, symbol, dataset, state, count(*) AS days,
                    coalesce(sum(rows), 0) AS rows, coalesce(sum(size_bytes), 0) AS size_bytes,
                    sum((SELECT count(*) FROM jsonb_object_keys(findings))) AS checks,
                    sum(cardinality(failed_checks)) AS failed, min(day) AS first_day, max(day) AS last_day
                FROM collection.partitions GROUP BY 1, 2, 3, 4, 5
            ) by_state
            GROUP BY 1, 2, 3, 4 ORDER BY exchange, market_type, dataset, symbol
        """
        with self.transaction() as connection, connection.cursor(row_factory=class_row(Summary)) as cursor:
            return cursor.execute(query).fetchall()

    def count_since(self, instant: datetime) -> int:
        """Return how many partitions were recorded at or after an instant."""
        with self.transaction() as connection:
            row = connection.execute(
                "SELECT count(*) FROM collection.partitions WHERE updated_at >= %s", (instant,)
            ).fetchone()
        return int(row[0]) if row else 0


def _key(outcome: Outcome) -> tuple[str, str, str, str, date]:
    series, partition = outcome.series, outcome.partition
    return series.exchange, series.market_type, partition.symbol, series.dataset, partition.day


def _json(value: Mapping[str, Any]) -> str:
    """Return JSON as Postgres takes it: without NaN and infinities, and without the character 0."""
    try:
        text = json.dumps(value, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), default=str)
    return text.replace("\\u0000", "\\ufffd")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _row(outcome: Outcome) -> dict[str, Any]:
    stored, source = outcome.stored, outcome.source
    return {
        "exchange": outcome.series.exchange,
        "market_type": outcome.series.market_type,
        "symbol": outcome.partition.symbol,
        "dataset": outcome.series.dataset,
        "day": outcome.partition.day,
        "state": outcome.state.value,
        "reason": outcome.reason.replace("\0", "\ufffd"),
        "evidence": _json(outcome.evidence) if outcome.evidence else "{}",
        "rows": stored.rows if stored else None,
        "size_bytes": stored.size_bytes if stored else None,
        "content_sha256": stored.sha256 if stored else None,
        "path": stored.path if stored else None,
        "source": source.source if source else None,
        "source_key": source.key if source else None,
        "source_etag": source.etag if source else None,
        "source_size_bytes": source.size_bytes if source else None,
        "source_sha256": source.sha256 if source else None,
        "source_published_sha256": source.published_sha256 if source else None,
        "source_last_modified": source.last_modified if source else None,
        "findings": _json({name: {**f.evidence, "passed": bool(f.passed)} for name, f in outcome.findings.items()}),
    }
