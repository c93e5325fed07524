"""Find out why a run stored nothing, from the records of its days."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from crypto_assets.errors import CHECK_NETWORK

if TYPE_CHECKING:
    import psycopg

_IN_TROUBLE = """
WITH mine AS (
    SELECT attempt_error, coalesce(attempt_error, reason) AS problem,
        evidence->>'failure' AS failure, evidence->>'host' AS host,
        evidence->>'error' IN ('HostUnreachable', 'CircuitOpen') OR attempt_error LIKE %(unreachable)s AS unreachable,
        coalesce(attempt_error, reason) LIKE 'not tried:%%' AS given_up
    FROM collection.partitions
    WHERE run_id = %(run)s AND exchange = %(exchange)s AND market_type = %(market_type)s AND symbol = ANY(%(symbols)s)
)
SELECT failure, problem, (
    SELECT jsonb_object_agg(host, coalesce(failure, problem)) FROM mine
    WHERE unreachable AND host IS NOT NULL AND attempt_error IS NULL) FROM mine
WHERE (SELECT bool_or(given_up) OR bool_and(unreachable) FROM mine) AND (given_up OR unreachable)
ORDER BY failure NULLS LAST, given_up LIMIT 1
"""


def host_down(
    connection: psycopg.Connection[Any], run_id: str, exchange: str, market_type: str, symbols: Iterable[str]
) -> tuple[str, dict[str, str]]:
    """Return the failure that kept a run from its days, and the failure of each host that the records name.

    The record of a stored day that could not be renewed names no host.

    The failure is "" if there was none, or if some days were collected. A long run records the days that it gave up as not
    tried; a short one has no collected day at all.
    """
    values = {
        "run": run_id,
        "exchange": exchange,
        "market_type": market_type,
        "symbols": sorted(symbols),
        "unreachable": f"%{CHECK_NETWORK}%",
    }
    found = connection.execute(_IN_TROUBLE, values).fetchone()
    return (str(found[0] or found[1]), dict(found[2] or {})) if found else ("", {})
