"""Read the first and last known day of each symbol, and the days in a state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

import psycopg

from crypto_assets.model import Series, State, Track, TrackDay


def known_spans(connection: psycopg.Connection[Any]) -> dict[Track, tuple[date, date]]:
    """Return the first and the last known day of each symbol of each series."""
    rows = connection.execute(
        "SELECT exchange, market_type, dataset, symbol, min(day), max(day) FROM collection.partitions GROUP BY 1, 2, 3, 4"
    ).fetchall()
    return {Track(Series.named(*names), symbol): (first, last) for *names, symbol, first, last in rows}


def days_in_states(
    connection: psycopg.Connection[Any],
    tracks: Sequence[Track],
    first: date,
    last: date | None,
    states: Iterable[State],
) -> dict[Track, list[date]]:
    """Return the days of many series and symbols that are in one of some states, sorted; one query.

    Args:
        first, last: limit the days, both included; without `last` up to the newest.
    """
    rows = connection.execute(
        """SELECT w.place, array_agg(p.day ORDER BY p.day)
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY
            AS w (exchange, market_type, dataset, symbol, place)
        JOIN collection.partitions p USING (exchange, market_type, dataset, symbol)
        WHERE p.day BETWEEN %s AND coalesce(%s::date, 'infinity') AND p.state = ANY(%s)
        GROUP BY w.place""",
        (
            *Track.columns(tracks),
            *(first, last, [state.value for state in states]),
        ),
    ).fetchall()
    found = {tracks[place - 1]: days for place, days in rows}
    return {track: found.get(track, []) for track in tracks}


def count_stored(
    connection: psycopg.Connection[Any], track: Track, days: Iterable[date], states: Iterable[State]
) -> int:
    """Return how many of some days have a file and are in one of some states."""
    row = connection.execute(
        """SELECT count(*) FROM collection.partitions
        WHERE (exchange, market_type, dataset, symbol) = (%s, %s, %s, %s) AND day = ANY(%s) AND path IS NOT NULL
            AND state = ANY(%s)""",
        (
            *(track.series.exchange, track.series.market_type, track.series.dataset, track.symbol),
            *(list(days), [state.value for state in states]),
        ),
    ).fetchone()
    return int(row[0]) if row else 0


def days_in_state(connection: psycopg.Connection[Any], state: State) -> list[TrackDay]:
    """Return series, symbol and day of every partition in a state."""
    rows = connection.execute(
        "SELECT exchange, market_type, dataset, symbol, day FROM collection.partitions WHERE state = %s", (state.value,)
    ).fetchall()
    return [TrackDay(Series.named(*names), symbol, day) for *names, symbol, day in rows]


def symbol_days_without_data(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, days: Iterable[date]
) -> frozenset[tuple[str, str, date]]:
    """Return symbol, dataset and day of the `no_data` partitions on some days of a market."""
    rows = connection.execute(
        """SELECT symbol, dataset, day FROM collection.partitions
        WHERE exchange = %s AND market_type = %s AND state = 'no_data' AND day = ANY(%s)""",
        (exchange, market_type, sorted(days)),
    ).fetchall()
    return frozenset(rows)


def latest_changes(
    connection: psycopg.Connection[Any],
) -> tuple[datetime | None, datetime | None, datetime | None, int]:
    """Return the last change of a partition, of a score and of an incident, and the number of incidents."""
    [row] = connection.execute(
        """SELECT (SELECT max(updated_at) FROM collection.partitions), (SELECT max(scored_at) FROM collection.quality),
            (SELECT max(updated_at) FROM collection.incidents), (SELECT count(*) FROM collection.incidents)"""
    ).fetchall()
    return row[0], row[1], row[2], row[3]
