"""When the pictures of an exchange are drawn again: each drawing lists the lake, which costs money on S3."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crypto_assets.config.environment import settings
from crypto_assets.ledger.progress import ended_runs

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.ledger.partitions import Ledger


def look_again(ledger: Ledger, changes: Callable[[psycopg.Connection[Any]], Iterable[object]]) -> list[str]:
    """Return a stamp that changes when a picture may change, and every hour: a deleted file changes no table.

    A lake in a folder is listed whenever a day was stored. In a bucket, whose owner pays for each listing, runs that have
    ended count in place of their days: a history of hours is listed once an hour, and once more at its end.

    Args:
        changes: returns the latest change of each table that is drawn.
    """
    with ledger.transaction() as connection:
        found = ended_runs(connection) if settings().lake.startswith("s3://") else changes(connection)
    return [f"{datetime.now(UTC):%Y-%m-%d %H}", *map(str, found)]
