"""Check that the configured lake is the ledger's lake, and find stored days whose files are missing in it."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from crypto_assets.errors import StoredDataError
from crypto_assets.ledger.not_loaded import days_not_loaded
from crypto_assets.model import STORED_FILE, Series, State, Track, TrackDay

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.config.collection import Collection
    from crypto_assets.storage.database import Database
    from crypto_assets.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class KnownLake:
    """The ledger's lake: the one that days were last collected into."""

    id: str
    url: str


def known_lake(connection: psycopg.Connection[Any]) -> KnownLake | None:
    """Return the ledger's lake; None if nothing has been collected yet."""
    row = connection.execute("SELECT id, url FROM collection.lakes ORDER BY last_used DESC LIMIT 1").fetchone()
    return KnownLake(*row) if row else None


def remember_lake(database: Database, lake: Lake) -> str:
    """Make a lake the ledger's lake, and return its id; a lake without an id gets one.

    Call this before writing to the lake, after `require_lake` has checked it, or when a person confirms the lake.
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
    """Check, before anything is written, that the lake known at a place is still the one found there.

    An unmounted disk leaves an empty folder in place of its lake, another disk leaves another lake: collecting into either
    would silently fill the wrong disk. A place unknown to the ledger is a newly configured lake, and may be empty; a folder
    that somebody removed is created again. If only `_lake.json` of a lake is lost or damaged, the lake is recognised by its
    files and gets its id back.

    Raises:
        StoredDataError: another lake or none is there. Nothing was written.
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
        else:  # another ledger's lake with the same files, or a damaged id
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
"""Stored files looked for in a lake without a readable id; finding one is enough."""


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class LostDays:
    """The stored days that differ from the ledger, of `stored` compared days, with reasons: by series, symbol, day.

    `files` are days whose file is missing in the lake, differs, or was found damaged by `validate`; `rows` are days whose
    rows are missing in Postgres. `other` is the ledger's lake, if it is not this one.
    """

    url: str = ""
    stored: int = 0
    files: Mapping[TrackDay, str] = field(default_factory=dict)
    rows: Mapping[TrackDay, str] = field(default_factory=dict)
    other: KnownLake | None = None

    @property
    def reasons(self) -> dict[TrackDay, str]:
        """The reason of each lost day."""
        return {**self.rows, **self.files}

    @property
    def notice(self) -> str:
        """One line about the lake if files are lost; empty otherwise."""
        return lake_notice(self.url, self.other, len(self.files), self.stored) if self.files else ""

    def as_values(self) -> dict[str, Sequence[object]]:
        """Return the values for a query that has `LOST`."""
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
"""The lost days in a query (`LostDays.as_values`): every count of stored days must count them as missing."""

LOST_STATE = State.MISSING.value
"""The state of a lost day, whatever its record says."""


def in_one_line(lost: int, stored: int) -> str:
    """Return one line: how many stored days are lost."""
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
    """Compare the ledger's stored files with the lake's listing: a file is lost if it is missing or has another size.

    One query, and one listing for each symbol; no file is opened. A file of the right size is lost too if `validate` found
    it damaged. A complete copy of a lake at another place is the same lake.

    Args:
        tracks: series and symbols; default: all.
        first, last: limit the days, both included.
        collection: if given, compare the warehouse too (`crypto_assets.ledger.not_loaded`).

    Raises:
        LakeUnavailable, ConfigError, OSError: the lake does not answer; nothing is known about its files.
    """
    wanted = None if tracks is None else set(tracks)
    with database.transaction() as connection:
        known = known_lake(connection)
        stored = [one for one in _stored(connection, first, last) if wanted is None or one[0] in wanted]
        rows = days_not_loaded(connection, collection, wanted, first, last) if collection else {}
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
    if reasons:  # a run may have published some of them during the listing: only a day lost twice is lost
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
"""Listings of a bucket at the same time; each waits for the network."""


def _stored(
    connection: psycopg.Connection[Any], first: date | None, last: date | None
) -> list[tuple[Track, dict[str, int]]]:
    """Return each symbol of each series with its stored days by the ledger, as ISO text, and their files' bytes."""
    # As text, because a driver creates date objects one by one: arrays of 200,000 took it two seconds.
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
    """Return the stored days whose file `validate` found damaged or deleted, not collected again since."""
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
            found[TrackDay(*track, day)] = f"its file was damaged or deleted when `validate` read it: {problem}"
    return found


def lake_notice(url: str, other: KnownLake | None, lost: int, stored: int) -> str:
    """Return one line about lost stored days; `other` is the ledger's lake, if it is another one."""
    found = f"{lost} of {stored} stored days {'is' if lost == 1 else 'are'} not in it"
    if other is None:
        return f"the lake {url}: {found} as the ledger says; `crypto-assets fill` downloads them again"
    if other.url == url:
        return (
            f"the lake {url} is not the ledger's lake (that one was here too, and was deleted): {found}; "
            "bring it back, or let `crypto-assets fill --new-lake` download them again"
        )
    return (
        f"the lake {url} is not the ledger's lake ({other.url}): {found}; "
        "set CRYPTO_ASSETS_LAKE_URL to the ledger's lake, or let `crypto-assets fill` download them again"
    )


def file_problem(url: str, found: int | None, expected: int | None) -> str:
    """Return what is wrong with a stored file, by its size; empty if nothing is. `found` is None for a missing file."""
    if found is None:
        return f"its file is missing in the lake {url}"
    if expected is not None and found != expected:
        return f"its file is damaged in the lake {url}: it has {found} bytes, the ledger says {expected}"
    return ""
