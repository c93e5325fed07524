"""Check whether the ledger has records of an exchange, market type, symbol or dataset outside collection.yaml."""

from __future__ import annotations

from crypto_assets.storage.database import Database

NAMES = ("exchange", "market_type", "symbol", "dataset")


def has_records(database: Database, name: str, value: str) -> bool:
    """Return whether any partition has this value of one of `NAMES`."""
    if name not in NAMES:
        raise ValueError(f"expected one of {', '.join(NAMES)}, found {name!r}")
    with database.transaction() as connection:
        found = connection.execute(
            f"SELECT EXISTS (SELECT 1 FROM collection.partitions WHERE {name} = %s)", (value,)
        ).fetchone()
    return found == (True,)
