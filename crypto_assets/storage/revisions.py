"""The schema version of a database, and whether this program version knows it.

`collection.migrations` has one row with the revision (Alembic's); `collection.migrated` has the program version that brought
the database there. An older version refuses the database of a newer one before any read or write: it could misread the
tables, and the only way back is a backup.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from crypto_assets.errors import OtherVersion
from crypto_assets.text.urls import postgres_place
from crypto_assets.version import __version__

KNOWN = frozenset(
    path.name[:4] for path in (Path(__file__).parent / "migrations" / "versions").iterdir() if path.name[0].isdigit()
)
"""The revisions in migrations/versions/."""

HEAD = max(KNOWN)
"""The newest one."""

LOCK = 7_214_301_958_011
"""The advisory lock for creating tables; any number works if it is the same in every process."""

MISFITS = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.DatatypeMismatch,
)
"""Postgres errors of statements that do not fit its tables."""

NO_WAY_BACK = "the only way back is an earlier backup. Nothing was changed"

_BROKEN = "restore it from a backup, or name another database in CRYPTO_ASSETS_POSTGRES_URL and collect again"


def revision(connection: psycopg.Connection[Any], url: str) -> str | None:
    """Return the revision of a database, if this version knows it; None if it has no tables of ours.

    Raises:
        OtherVersion: the revision is of a newer version, or unknown.
    """
    found = connection.execute(
        "SELECT to_regclass('collection.migrations') IS NOT NULL, to_regclass('collection.partitions') IS NOT NULL"
    ).fetchone()
    has_revision, has_tables = found or (False, False)
    rows = connection.execute("SELECT version_num FROM collection.migrations").fetchall() if has_revision else []
    if not rows and not has_tables:
        return None
    if len(rows) == 1 and rows[0][0] in KNOWN:
        return str(rows[0][0])
    raise _other(connection, url, [str(row[0]) for row in rows], has_revision=has_revision)


def require_head(connection: psycopg.Connection[Any], url: str) -> None:
    """Refuse to write if another version migrated the database after this process began.

    Nobody can migrate until the transaction ends: migration waits for this lock. Call it first in a transaction.

    Raises:
        OtherVersion: the tables are no longer those of this version.
    """
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK,))
    # A separate statement: its snapshot must be taken after the lock.
    row = connection.execute("SELECT version_num FROM collection.migrations").fetchone()
    if row != (HEAD,):
        revision(connection, url)
        raise differs(url, "they were changed while this process ran")


def differs(url: str, found: str) -> OtherVersion:
    """Return the error for a missing table or column; if another version made the tables, it names that version."""
    with suppress(psycopg.Error), psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
        try:
            at = revision(connection, url)
        except OtherVersion as error:
            return error
        if at not in (None, HEAD):
            return OtherVersion(
                f"Postgres at {postgres_place(url)}: its tables are of revision {at}, crypto_assets {__version__} needs "
                f"{HEAD}; run this again, which brings them there"
            )
    # The revision is ours: either somebody changed the tables, or the statement is wrong.
    problem = OtherVersion(
        f"Postgres at {postgres_place(url)}: expected the tables of crypto_assets {__version__} (revision {HEAD}), found: "
        f"{found.strip().partition(chr(10))[0][:300]}; if they were made before the first release, or somebody has changed "
        f"them, or restored a part: {_BROKEN}; if not, it is a mistake of crypto_assets: please report it"
    )
    problem.explained = False
    return problem


def _other(connection: psycopg.Connection[Any], url: str, rows: list[str], *, has_revision: bool) -> OtherVersion:
    at = f"Postgres at {postgres_place(url)}"
    if not has_revision:
        return OtherVersion(
            f"{at}: has tables of crypto_assets, but the table with their version, collection.migrations, is missing: "
            f"{_BROKEN}"
        )
    if len(rows) != 1:
        named = f"found {len(rows)} ({', '.join(row[:40] for row in rows[:3])})" if rows else "found none"
        return OtherVersion(
            f"{at}: expected one revision in collection.migrations, {named}; crypto_assets {__version__} knows {HEAD}: "
            f"{_BROKEN}"
        )
    row, program = rows[0][:40], _program(connection)
    by = f", made by crypto_assets {program}" if program else ""
    # Ours are numbers of four digits that grow.
    if row.isdecimal() and len(row) == len(HEAD) and row > HEAD:
        return OtherVersion(
            f"{at}: its tables are of a newer version: revision {row}{by}; this is crypto_assets {__version__}, which knows "
            f"revisions up to {HEAD}. Update this installation; {NO_WAY_BACK}",
            revision=row,
            program=program,
        )
    return OtherVersion(
        f"{at}: its tables are of revision {row!r}{by}, which crypto_assets {__version__} does not know (its newest is "
        f"{HEAD}). Update this installation if another one made them, else {_BROKEN}",
        revision=row,
        program=program,
    )


def _program(connection: psycopg.Connection[Any]) -> str | None:
    """Return the version of the program that last migrated a database, if recorded."""
    try:
        with connection.transaction():
            row = connection.execute(
                "SELECT program FROM collection.migrated ORDER BY migrated_at DESC, revision DESC LIMIT 1"
            ).fetchone()
    except psycopg.Error:
        return None
    return str(row[0])[:40] if row else None
