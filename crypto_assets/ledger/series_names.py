"""The names of a series and symbol as filters: their values in SQL, and whether the ledger has records of a value."""

from __future__ import annotations

from collections.abc import Sequence

from crypto_assets.storage.database import Database

NAMES = ("exchange", "market_type", "symbol", "dataset")


def one_or_more(wanted: str | Sequence[str] | None) -> list[str] | None:
    """Return the value of the condition `name = ANY(%s)`; None stays None: no condition."""
    return [wanted] if isinstance(wanted, str) else None if wanted is None else list(wanted)


def has_records(database: Database, name: str, value: str) -> bool:
    """Return whether any partition has this value of one of `NAMES`."""
    if name not in NAMES:
        raise ValueError(f"expected one of {', '.join(NAMES)}, found {name!r}")
    with database.transaction() as connection:
        found = connection.execute(
            f"SELECT EXISTS (SELECT 1 FROM collection.partitions WHERE {name} = %s)", (value,)
        ).fetchone()
    return found == (True,)
