"""Making a lock: what the ledger says is stored of what is asked, now or as it was known at some instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from crypto_assets.engine.problems import Problem, lines
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.ledger.corrections import STATE
from crypto_assets.ledger.gaps import NOT_COLLECTED
from crypto_assets.ledger.lakes import file_problem, lost_days
from crypto_assets.model import Partition, Series, State, days_between
from crypto_assets.quality.lock.content import AbsentDays, Lock, LockedFile
from crypto_assets.quality.query import Pair, Query

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.config.collection import Collection
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

ABSENT = "not collected yet"
"""The state of a day that the ledger does not know, or did not know at `as_of`."""

DAYS_NAMED = 20
"""Lines about lost files in an error."""


def make_lock(
    ledger: Ledger,
    query: Query,
    *,
    as_of: datetime | None = None,
    collection: Collection | None = None,
    lake: Lake | None = None,
) -> Lock:
    """Return the lock of what is stored, by the ledger; the files themselves are not read.

    Without a first day the days begin with the first that is known, or with the entry of the collection; without a last one
    they end with the last that is known.

    Args:
        as_of: the versions that were known at this instant.
        collection: its symbols are asked about too, so that what was never collected is named.
        lake: is to have every file that is locked; without one the ledger is believed.

    Raises:
        ConfigError: a word of the query chooses nothing, nothing is stored, or `as_of` is not over.
        StoredDataError: the lake does not have a file of the lock, or has it damaged; names the days.
    """
    with ledger.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        [(now,)] = connection.execute("SELECT now()").fetchall()
        if as_of is not None and as_of > now:
            raise ConfigError(
                f"as_of {as_of:%Y-%m-%d %H:%M:%S} UTC: expected an instant that is over, for more may be known by then; "
                "leave it out to lock what is stored now"
            )
        starts = _starts(collection)
        spans = _spans(connection)
        pairs = query.choose([*spans, *starts])
        latest = max((spans[pair][1] for pair in pairs if pair in spans), default=None)
        files: list[LockedFile] = []
        absent: list[AbsentDays] = []
        for pair in pairs:
            known = [*spans.get(pair, ()), *([starts[pair]] if pair in starts else [])]
            first = query.first or min(known)
            last = query.last or (spans[pair][1] if pair in spans else latest or first)
            mine = _files(connection, pair, first, last, as_of)
            files += (file for file in mine if file.path)
            absent += _absent(connection, pair, first, last, mine, as_of)
    if not files:
        raise ConfigError("nothing is stored of what is asked, so there is nothing to lock; see `crypto-assets status`")
    if lake is not None:
        _require_files(ledger, lake, files)
    return Lock(query, as_of, tuple(files), tuple(absent), now.astimezone(UTC))


def _require_files(ledger: Ledger, lake: Lake, files: Sequence[LockedFile]) -> None:
    """Raise StoredDataError where a file is missing or damaged: nobody could ever verify or read its lock."""
    days = [file.day for file in files]
    lost = lost_days(ledger, lake, {file.pair for file in files}, min(days), max(days))
    broken = {}
    for file in files:
        series, symbol = file.pair
        if file.path == lake.path(series, Partition(symbol, file.day)):
            reason = lost.files.get((series, symbol, file.day), "")
        else:  # a former version, which no listing of days shows
            reason = "" if lake.readable(file.path) is not None else file_problem(lake.url, None, None)
        if reason:
            broken[series, symbol, file.day] = reason
    if broken:
        found = [Problem(*place, State.MISSING, reason) for place, reason in broken.items()]
        named = lines(found, DAYS_NAMED, "`crypto-assets gaps`")
        head = (
            f"expected the files of {len(files):,} stored days, found {len(broken):,} of them missing or damaged, so nothing "
            "is locked; `crypto-assets fill` collects them again"
        )
        notice = [lost.notice] if lost.other else []
        raise StoredDataError([head, *notice, *(f"  {line}" for line in named)])


def _starts(collection: Collection | None) -> dict[Pair, date]:
    if collection is None:
        return {}
    return {
        (series, symbol): entry.start
        for entry in collection.series
        for series in entry.series
        for symbol in entry.symbols
    }


def _spans(connection: psycopg.Connection[Any]) -> dict[Pair, tuple[date, date]]:
    """Return the first and last day that the ledger knows of each symbol of each series."""
    rows = connection.execute(
        "SELECT exchange, market_type, dataset, symbol, min(day), max(day) FROM collection.partitions GROUP BY 1, 2, 3, 4"
    ).fetchall()
    return {
        (Series.named(exchange, market, dataset), symbol): (a, b) for exchange, market, dataset, symbol, a, b in rows
    }


_KEYS = "exchange, market_type, symbol, dataset"
_OF_PAIR = (
    f"({_KEYS}) = (%(exchange)s, %(market_type)s, %(symbol)s, %(dataset)s) AND day BETWEEN %(first)s AND %(last)s"
)

_FILES = f"""
WITH files AS (
    SELECT {_KEYS}, day, path, rows, content_sha256 AS sha256, corrections + 1 AS version, known_from,
        CASE WHEN %(at)s::timestamptz IS NULL THEN state ELSE {STATE} END AS state, 'infinity'::timestamptz AS known_to,
        source, source_key, source_sha256
    FROM collection.partitions WHERE {_OF_PAIR} AND path IS NOT NULL
    UNION ALL
    SELECT {_KEYS}, day, coalesce(path, ''), rows, content_sha256, number, known_from,
        coalesce(state, 'corrected'), known_to, source, source_key, source_sha256
    FROM collection.versions WHERE {_OF_PAIR} AND %(at)s::timestamptz IS NOT NULL
)
SELECT {_KEYS}, day, path, coalesce(grown.rows, f.rows) AS rows, sha256, version,
    CASE WHEN grown.rows IS NULL THEN state ELSE 'provisional' END AS state, known_from, source, source_key, source_sha256
FROM files f LEFT JOIN LATERAL (
    SELECT g.rows FROM collection.growth g
    WHERE (g.exchange, g.market_type, g.symbol, g.dataset, g.day) = (f.exchange, f.market_type, f.symbol, f.dataset, f.day)
        AND g.known_to > %(at)s AND g.known_to < f.known_to ORDER BY g.known_to LIMIT 1
) grown ON true
WHERE %(at)s::timestamptz IS NULL OR (known_from <= %(at)s AND known_to > %(at)s) ORDER BY day
"""


def _files(
    connection: psycopg.Connection[Any], pair: Pair, first: date, last: date, at: datetime | None
) -> list[LockedFile]:
    """Return the files in force; one that is lost has no path."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_FILES, {**of_pair(pair, first, last), "at": at}).fetchall()
    return [LockedFile(**{**row, "known_from": _utc(row["known_from"])}) for row in rows]


def _absent(
    connection: psycopg.Connection[Any],
    pair: Pair,
    first: date,
    last: date,
    files: Sequence[LockedFile],
    at: datetime | None,
) -> Iterator[AbsentDays]:
    """Yield the days without a file; those that follow each other for one reason together."""
    records = connection.execute(
        f"SELECT day, state, reason, path FROM collection.partitions WHERE {_OF_PAIR}", of_pair(pair, first, last)
    ).fetchall()
    why = {
        day: (ABSENT, f"not known at {at:%Y-%m-%d %H:%M:%S} UTC, collected later") if path and at else (state, reason)
        for day, state, reason, path in records
    }
    lost = (State.MISSING.value, "the version in force then was damaged or gone before it was replaced")
    why |= {file.day: lost for file in files if not file.path}
    there = {file.day for file in files if file.path}
    begin = first
    days = days_between(first, last)
    for day in days:
        if day in there:
            begin = day + timedelta(days=1)
            continue
        mine = why.get(day, (ABSENT, NOT_COLLECTED))
        following = day + timedelta(days=1)
        if following > last or following in there or why.get(following, (ABSENT, NOT_COLLECTED)) != mine:
            series, symbol = pair
            yield AbsentDays(
                exchange=series.exchange,
                market_type=series.market_type,
                symbol=symbol,
                dataset=series.dataset,
                first=begin,
                last=day,
                state=mine[0],
                reason=mine[1],
            )
            begin = following


def of_pair(pair: Pair, first: date, last: date) -> dict[str, Any]:
    """Return the values of a query about some days of a symbol."""
    series, symbol = pair
    return {
        "exchange": series.exchange,
        "market_type": series.market_type,
        "symbol": symbol,
        "dataset": series.dataset,
        "first": first,
        "last": last,
    }


def _utc(instant: datetime | None) -> datetime | None:
    return instant.astimezone(UTC) if instant else None
