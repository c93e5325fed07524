"""Read the newest stored day of symbols."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.model import Series


def newest_days(
    connection: psycopg.Connection[Any], series: Series, symbols: Sequence[str] | None = None
) -> dict[str, date]:
    """Return the newest day with stored rows of each symbol of a series, by symbol; symbols without rows are left out.

    Args:
        symbols: default: all in the ledger.
    """
    rows = connection.execute(
        """SELECT symbol, max(day) FROM collection.partitions
        WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND path IS NOT NULL AND rows > 0
            AND (%s::text[] IS NULL OR symbol = ANY(%s)) GROUP BY symbol ORDER BY symbol""",
        (series.exchange, series.market_type, series.dataset, *[None if symbols is None else list(symbols)] * 2),
    ).fetchall()
    return dict(rows)
