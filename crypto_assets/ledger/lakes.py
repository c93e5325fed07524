"""Which lake the ledger speaks of, and whether the files that it says are stored are in the lake that is used now."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from crypto_assets.errors import StoredDataError
from crypto_assets.model import STORED_FILE, Series, State, Track, TrackDay

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.config.collection import Collection
    from crypto_assets.storage.database import Database
    from crypto_assets.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class KnownLake:
    """The lake that the ledger speaks of: the one that days were last collected into."""

    id: str
    url: str


def known_lake(connection: psycopg.Connection[Any]) -> KnownLake | None:
    """Return the lake that the ledger speaks of; None where nothing was collected yet."""
    row = connection.execute("SELECT id, url FROM collection.lakes ORDER BY last_used DESC LIMIT 1").fetchone()
    return KnownLake(*row) if row else None


def remember_lake(database: Database, lake: Lake) -> str:
    """Let the ledger speak of a lake from now on, and return its id; a lake without one gets one.

    Called by what is about to write to it, once `require_lake` has looked at it, and by who says that it is the right one.
    """
    identity = lake.make_identity()
    with database.transaction() as connection:
        connection.execute(
            """INSERT INTO collection.lakes (id, url) VALUES (%s, %s)
            ON CONFLICT (id) DO UPDATE SET url = excluded.url, last_used = clock_timestamp()""",
            (identity, lake.store.url),
        )
    return identity


def require_lake(database: Database, lake: Lake) -> None:
    """Look whether the lake that the ledger knows at a place is still the one that lies there; before anything is written.

    An unmounted disk leaves an empty folder at the place of its lake, another disk leaves another lake: to collect into
    either would fill the wrong disk without a word. A place that the ledger does not know is a lake that somebody has
    configured, and may be empty; a folder that somebody has removed is made again. A lake whose `_lake.json` alone is lost
    or damaged is known by its files, and gets its id back.

    Raises:
        StoredDataError: the lake is not there. Nothing was written.
    """
    with database.transaction() as connection:
        if connection.execute("SELECT to_regclass('collection.lakes')").fetchone() == (None,):
            return
        ids = [
            str(known)
            for (known,) in connection.execute(
                "SELECT id FROM collection.lakes WHERE url = %s ORDER BY last_used DESC", (lake.store.url,)
            ).fetchall()
        ]
        if not ids or (identity := lake.identity()) in ids or lake.was_removed:
            return
        stored = connection.execute("SELECT count(*) FROM collection.partitions WHERE path IS NOT NULL").fetchone()
        files = connection.execute(
            """SELECT path, content_sha256 FROM collection.partitions WHERE path IS NOT NULL
            ORDER BY random() LIMIT %s""",
            (_LOOKED_AT,),
        ).fetchall()
    if not files:
        return
    if any(_sha256(lake.readable(path)) == sha256 for path, sha256 in files):
        if identity is None:
            lake.restore_identity(ids[0])
        else:  # another ledger's lake with the same files, or a digit of its id was damaged
            remember_lake(database, lake)
        return
    found = "none is there now" if identity is None else f"the lake {identity[:8]}… is there now"
    raise StoredDataError(
        f"the lake {lake.url} is not where it was: expected the lake {ids[0][:8]}…, which has files of "
        f"{stored[0] if stored else 0:,} stored days, {found}. "
        "Is its disk mounted? Nothing was written. Bring it back; or, if it is lost or empty on purpose, let "
        "`crypto-assets fill --new-lake` collect the days again into what is there"
    )


_LOOKED_AT = 32
"""Stored files that are looked for in a lake that cannot say its id; one that is there is enough."""


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class LostDays:
    """The stored days that are not as the ledger says, out of `stored` that were compared, and why: by series, symbol, day.

    `files` are those whose file the lake does not have, or has otherwise, or that `validate` found damaged; `rows` those
    whose table in Postgres was emptied. `other` is the lake that the ledger speaks of, if it is not this one.
    """

    url: str = ""
    stored: int = 0
    files: Mapping[TrackDay, str] = field(default_factory=dict)
    rows: Mapping[TrackDay, str] = field(default_factory=dict)
    other: KnownLake | None = None

    @property
    def reasons(self) -> dict[TrackDay, str]:
        """Why each of them is lost."""
        return {**self.rows, **self.files}

    @property
    def notice(self) -> str:
        """One line about the lake where files are lost; empty where none is."""
        return lake_notice(self.url, self.other, len(self.files), self.stored) if self.files else ""

    def as_values(self) -> dict[str, Sequence[object]]:
        """Return the values of a query that has `LOST`."""
        places = list(self.reasons)
        return {
            "lost_exchange": [series.exchange for series, *_ in places],
            "lost_market_type": [series.market_type for series, *_ in places],
            "lost_symbol": [symbol for _, symbol, _ in places],
            "lost_dataset": [series.dataset for series, *_ in places],
            "lost_day": [day for *_, day in places],
            "lost_reason": list(self.reasons.values()),
            "lost_file": [place in self.files for place in places],
        }


NOTHING_LOST = LostDays()

LOST = """lost AS (
    SELECT * FROM unnest(%(lost_exchange)s::text[], %(lost_market_type)s::text[], %(lost_symbol)s::text[],
        %(lost_dataset)s::text[], %(lost_day)s::date[], %(lost_reason)s::text[], %(lost_file)s::boolean[])
        AS l (exchange, market_type, symbol, dataset, day, lost_reason, lost_file)
)"""
"""The lost days in a query (`LostDays.as_values`), so that whatever counts stored days counts these as missing."""

LOST_STATE = State.MISSING.value
"""The state of a lost day, whatever the ledger has."""


def in_one_line(lost: int, stored: int) -> str:
    """Return in words how many stored days are lost."""
    are = "is" if lost == 1 else "are"
    return (
        f"{lost:,} of {stored:,} stored days {are} lost and count{'s' if lost == 1 else ''} as missing; "
        "`crypto-assets gaps` says why, `crypto-assets fill` collects them again"
    )


def lost_days(
    database: Database,
    lake: Lake,
    tracks: Iterable[Track] | None = None,
    first: date | None = None,
    last: date | None = None,
    collection: Collection | None = None,
) -> LostDays:
    """Compare what the ledger says is stored with what the lake lists: a file is lost where it is missing or of another size.

    One query, one listing a symbol; no file is opened. A file of the right size is lost too where `validate` has read it and
    found it damaged. A lake that was copied whole to another place is the same lake.

    Args:
        tracks: these series and symbols; all by default.
        first, last: only days from and up to these.
        collection: says what is to be in the warehouse, which is compared then too: one query, one look at each table's size.

    Raises:
        LakeUnavailable, ConfigError, OSError: the lake does not answer; then nothing is known of its files.
    """
    wanted = None if tracks is None else set(tracks)
    with database.transaction() as connection:
        known = known_lake(connection)
        stored = [one for one in _stored(connection, first, last) if wanted is None or one[0] in wanted]
        rows = emptied_days(connection, collection, wanted, first, last) if collection else {}
        identity = lake.identity() if known else None
        if known and known.id == identity and known.url != lake.store.url:
            connection.execute("UPDATE collection.lakes SET url = %s WHERE id = %s", (lake.store.url, known.id))

    def compare(one: tuple[Track, dict[str, int]]) -> dict[TrackDay, str]:
        track, days = one
        sizes = lake.sizes(*track, min(days), max(days))
        return {
            TrackDay(*track, date.fromisoformat(day)): file_problem(lake.url, sizes.get(day), days[day])
            for day in sorted(day for day, size in days.items() if sizes.get(day) != size)
        }

    def compared(days: Iterable[tuple[Track, dict[str, int]]]) -> dict[TrackDay, str]:
        with ThreadPoolExecutor(_LISTINGS) as pool:
            parts = pool.map(compare, days) if lake.url.startswith("s3://") else map(compare, days)
            return {place: reason for part in parts for place, reason in part.items()}

    reasons = compared(stored)
    if reasons:  # a run may have published some of them while the lake was listed: only what is so twice is lost
        with database.transaction() as connection:
            again = _stored(connection, min(day for *_, day in reasons), max(day for *_, day in reasons))
        suspects = [
            (track, mine)
            for track, days in again
            if (
                mine := {
                    day: size for day, size in days.items() if TrackDay(*track, date.fromisoformat(day)) in reasons
                }
            )
        ]
        reasons = compared(suspects)
    with database.transaction() as connection:
        damaged = _found_damaged(connection, wanted, first, last)
    return LostDays(
        lake.url,
        sum(len(days) for _, days in stored),
        {**damaged, **reasons},
        rows,
        known if known and known.id != identity else None,
    )


_LISTINGS = 8
"""Listings of a bucket at once; each waits for the network."""


def _stored(
    connection: psycopg.Connection[Any], first: date | None, last: date | None
) -> list[tuple[Track, dict[str, int]]]:
    """Return each symbol of each series with the days that are stored by the ledger, as ISO text, and their files' bytes."""
    # Text, for a driver makes date objects one by one; arrays of 200,000 took it two seconds.
    rows = connection.execute(
        """SELECT exchange, market_type, dataset, symbol, string_agg(to_char(day, 'YYYY-MM-DD'), ' '),
            string_agg(size_bytes::text, ' ')
        FROM collection.partitions
        WHERE path IS NOT NULL AND day BETWEEN coalesce(%s, '-infinity'::date) AND coalesce(%s, 'infinity'::date)
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4""",
        (first, last),
    ).fetchall()
    return [
        (
            Track(Series.named(exchange, market, dataset), symbol),
            dict(zip(days.split(), map(int, sizes.split()), strict=True)),
        )
        for exchange, market, dataset, symbol, days, sizes in rows
    ]


def _found_damaged(
    connection: psycopg.Connection[Any], tracks: Container[Track] | None, first: date | None, last: date | None
) -> dict[TrackDay, str]:
    """Return the stored days whose file `validate` found damaged or gone, and that were not collected since."""
    rows = connection.execute(
        """SELECT exchange, market_type, dataset, symbol, day, findings -> %(name)s ->> 'problem'
        FROM collection.partitions
        WHERE path IS NOT NULL AND %(name)s = ANY(failed_checks)
            AND day BETWEEN coalesce(%(first)s, '-infinity'::date) AND coalesce(%(last)s, 'infinity'::date)""",
        {"name": STORED_FILE, "first": first, "last": last},
    ).fetchall()
    found: dict[TrackDay, str] = {}
    for exchange, market, dataset, symbol, day, problem in rows:
        track = Track(Series.named(exchange, market, dataset), symbol)
        if tracks is None or track in tracks:
            found[TrackDay(*track, day)] = f"its file was damaged or gone when `validate` read it: {problem}"
    return found


def emptied_days(
    connection: psycopg.Connection[Any],
    collection: Collection,
    tracks: Container[Track] | None,
    first: date | None,
    last: date | None,
) -> dict[TrackDay, str]:
    """Return the days whose rows a table of the warehouse had and has no more, for its leaf was emptied or dropped."""
    # PyArrow, which both need, costs 0.1 CPU seconds to import; who only counts days does without.
    from crypto_assets.rows.loads import warehouse_tables
    from crypto_assets.storage.warehouse import emptied_loads

    found: dict[TrackDay, str] = {}
    for leaf, table, series, symbol, days in emptied_loads(connection, first, last):
        entry = collection.entry_of(series, symbol) if tracks is None or Track(series, symbol) in tracks else None
        if entry is not None and table in warehouse_tables(series, entry.warehouse):
            found |= {
                TrackDay(series, symbol, day): f"its rows are gone from Postgres: market.{leaf} was emptied"
                for day in days
            }
    return found


def lake_notice(url: str, other: KnownLake | None, lost: int, stored: int) -> str:
    """Return one line about stored days that are lost; `other` is the lake that the ledger speaks of, if it is another."""
    found = f"{lost} of {stored} stored days {'is' if lost == 1 else 'are'} not in it"
    if other is None:
        return f"the lake {url}: {found} as the ledger says; `crypto-assets fill` downloads them again"
    if other.url == url:
        return (
            f"the lake {url} is not the one that the ledger speaks of (that was here too, and is gone): {found}; "
            "bring it back, or let `crypto-assets fill --new-lake` download them again"
        )
    return (
        f"the lake {url} is not the one that the ledger speaks of ({other.url}): {found}; "
        "set CRYPTO_ASSETS_LAKE_URL to that one, or let `crypto-assets fill` download them again"
    )


def file_problem(url: str, found: int | None, expected: int | None) -> str:
    """Return what is wrong with a stored file by its bytes; empty where nothing is. `found` is None for a missing file."""
    if found is None:
        return f"its file is missing in the lake {url}"
    if expected is not None and found != expected:
        return f"its file is damaged in the lake {url}: it has {found} bytes, the ledger says {expected}"
    return ""
