"""Count the longer bars that the 1m bars of a day in Postgres make: for code that counts a table and code that reads it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import psycopg

from crypto_assets.model import DAY, bar_length
from crypto_assets.rows.derive import Life, bars_due

_MINUTES = 1440


@dataclass(frozen=True, slots=True)
class BuiltDue:
    """The number of 1m bars a table has of a day, and how many bars of each wanted timeframe they make."""

    minutes: int
    built: Mapping[str, int]


def built_due(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    symbol: str,
    lives: Mapping[date, Life],
    wanted: Collection[str],
) -> dict[date, BuiltDue]:
    """Return the expected bars of some days, by the rule that builds the bars.

    Args:
        wanted: the timeframes to count, some of `crypto_assets.rows.timeframes.BUILT_FROM`.
        lives: for each day, the time in it when its symbol begins or ends (`crypto_assets.ledger.life_edges.cut_of`).
    """
    if not lives:
        return {}
    whole = {timeframe: DAY // bar_length(timeframe) for timeframe in wanted}
    mine = (exchange, market_type, symbol)
    bounds = (_instant(min(lives)), _instant(max(lives) + DAY))
    counts = connection.execute(
        """SELECT (open_time AT TIME ZONE 'UTC')::date, count(*),
            count(*) FILTER (WHERE date_trunc('minute', open_time) = open_time)
        FROM market.ohlcv WHERE (exchange, market_type, symbol, timeframe) = (%s, %s, %s, '1m')
            AND open_time >= %s AND open_time < %s GROUP BY 1""",
        (*mine, *bounds),
    ).fetchall()
    due = {
        day: BuiltDue(rows, whole)
        for day, rows, on_grid in counts
        if rows == on_grid == _MINUTES and lives.get(day) == (None, None)
    }
    others = {day: life for day, life in lives.items() if day not in due}
    if others:
        opens = _opens(connection, mine, list(others))
        for day, life in others.items():
            times = opens.get(day, np.empty(0, dtype=np.int64))
            due[day] = BuiltDue(len(times), bars_due(times, wanted, life))
    return due


def _opens(connection: psycopg.Connection[Any], mine: tuple[str, str, str], days: list[date]) -> dict[date, np.ndarray]:
    """Return the open times of the 1m bars of some days, in microseconds since 1970, ascending."""
    rows = connection.execute(
        """SELECT d.day, (extract(epoch FROM o.open_time) * 1000000)::bigint
        FROM unnest(%s::date[]) AS d (day) JOIN market.ohlcv o ON o.open_time >= d.day::timestamp AT TIME ZONE 'UTC'
            AND o.open_time < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
        WHERE (exchange, market_type, symbol, timeframe) = (%s, %s, %s, '1m')""",
        (days, *mine),
    ).fetchall()
    found: dict[date, list[int]] = {}
    for day, time_us in rows:
        found.setdefault(day, []).append(time_us)
    return {day: np.sort(np.array(times, dtype=np.int64)) for day, times in found.items()}


def _instant(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
