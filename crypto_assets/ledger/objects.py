"""Read archive objects and when each was first seen. `partitions.py` records listings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.ledger.series_names import one_or_more
from crypto_assets.model import Series
from crypto_assets.model.described import means

_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class SeenObject:
    """An archive object, its modification time when it was first seen (`first_modified`), and that instant."""

    exchange: str
    key: str
    first_modified: datetime
    first_seen: datetime


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A row of `collection.archive_objects`: a file seen in a listing."""

    exchange: str
    key: str
    size_bytes: int
    etag: str
    last_modified: datetime | None
    first_modified: datetime | None = field(metadata=means("`last_modified` when the object was first seen."))
    published_digest: str | None
    computed_sha256: str | None
    first_seen: datetime
    last_seen: datetime


def object_records(
    connection: psycopg.Connection[Any],
    *,
    exchanges: Sequence[str] | None = None,
    prefix: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[ObjectRecord]:
    """Return the objects of some exchanges whose keys begin with a prefix, by exchange and key."""
    conditions = {"exchange = ANY(%s)": one_or_more(exchanges), "starts_with(key, %s)": prefix}
    given = {condition: value for condition, value in conditions.items() if value is not None}
    query = f"""SELECT {", ".join(ObjectRecord.__dataclass_fields__)} FROM collection.archive_objects
        WHERE {" AND ".join(given) or "true"} ORDER BY exchange, key LIMIT %s OFFSET %s"""
    with connection.cursor(row_factory=class_row(ObjectRecord)) as cursor:
        return cursor.execute(query, [*given.values(), limit, offset]).fetchall()


def latest_keys(connection: psycopg.Connection[Any], series: Series, most: int) -> list[str]:
    """Return the keys of the objects behind the newest stored days of a series, the newest first."""
    rows = connection.execute(
        """SELECT coalesce(source_files -> -1 ->> 'key', source_key) FROM collection.partitions
        WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND source = 'archive'
        GROUP BY 1 ORDER BY max(day) DESC LIMIT %s""",
        (series.exchange, series.market_type, series.dataset, most),
    ).fetchall()
    return [key for (key,) in rows]


def seen_objects(connection: psycopg.Connection[Any], exchange: str, keys: Iterable[str]) -> list[SeenObject]:
    """Return the objects, among some, with a known first sighting."""
    rows = connection.execute(
        """SELECT exchange, key, first_modified, first_seen FROM collection.archive_objects
        WHERE exchange = %s AND key = ANY(%s) AND first_modified IS NOT NULL""",
        (exchange, list(set(keys))),
    ).fetchall()
    return [SeenObject(*row) for row in rows]


def every_seen_object(connection: psycopg.Connection[Any], exchanges: Iterable[str]) -> Iterator[SeenObject]:
    """Yield every object of some exchanges with a known first sighting; in constant memory."""
    with connection.cursor("archive_objects") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(
            """SELECT exchange, key, first_modified, first_seen FROM collection.archive_objects
            WHERE exchange = ANY(%s) AND first_modified IS NOT NULL""",
            (sorted(set(exchanges)),),
        )
        for row in cursor:
            yield SeenObject(*row)


def known_keys(connection: psycopg.Connection[Any], wanted: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the objects, among some (exchange, key), that were ever seen."""
    pairs = list(wanted)
    rows = connection.execute(
        """SELECT exchange, key FROM collection.archive_objects
        JOIN unnest(%s::text[], %s::text[]) AS w (exchange, key) USING (exchange, key)""",
        ([exchange for exchange, _ in pairs], [key for _, key in pairs]),
    ).fetchall()
    return set(rows)


def etag_of(connection: psycopg.Connection[Any], exchange: str, key: str) -> str:
    """Return the etag of an object in the last listing; empty if it was never listed."""
    row = connection.execute(
        "SELECT etag FROM collection.archive_objects WHERE exchange = %s AND key = %s", (exchange, key)
    ).fetchone()
    return str(row[0]) if row else ""
