"""Acknowledged gaps: days that a person accepts as they are, with who, when and why.

An acknowledgement is for what was known of the day then. It ends automatically when the archive has another file, or when
the rows, the state or the cause change. `collection.acknowledgements_now` has the last one of each day, and why it is no
longer valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from crypto_assets.ledger.series_names import one_or_more
from crypto_assets.model import COMPLETE_STATES, Series, State, TrackDay
from crypto_assets.storage.database import Database


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The last acknowledgement of one symbol and day; `reason`, `by` and `at` are why, who and when.

    `state` and `cause` are the acknowledged ones. `withdrawn` says why it is no longer valid; None while it is valid.
    """

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    reason: str
    by: str
    at: datetime
    state: State
    cause: str | None = None
    withdrawn: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", State(self.state))

    @property
    def holds(self) -> bool:
        return self.withdrawn is None

    @property
    def track_day(self) -> TrackDay:
        return TrackDay(Series.named(self.exchange, self.market_type, self.dataset), self.symbol, self.day)

    def __str__(self) -> str:
        """Return one line: `acknowledged by ann on 2024-06-01: the exchange confirmed it`."""
        who = f"acknowledged by {self.by} on {self.at:%Y-%m-%d}"
        return f"{who}, withdrawn because {self.withdrawn}" if self.withdrawn else f"{who}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A day to acknowledge: its `cause`, and the archive objects that could change it.

    `keys` are the archive's names for the day's files; a new or changed object with one of these names ends it.
    """

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    cause: str
    keys: Sequence[str] = ()


NAMES = tuple(Acknowledgement.__dataclass_fields__)

_KEYS = ("exchange", "market_type", "symbol", "dataset", "day")

_ADD = """
INSERT INTO collection.acknowledgements (exchange, market_type, symbol, dataset, day, reason, by, cause, objects, state,
    state_reason, content_sha256, source_etag)
SELECT o.exchange, o.market_type, o.symbol, o.dataset, o.day, %(reason)s, %(by)s, o.cause,
    -- What was published under the names of the day when it was acknowledged; null: nothing. Names after the first
    -- published one were not looked for when the day was collected.
    coalesce((SELECT jsonb_object_agg(k.key, k.etag) FILTER (WHERE k.place <= coalesce(k.first, k.place)) FROM (
        SELECT n.key, n.place, a.etag, min(n.place) FILTER (WHERE a.etag IS NOT NULL) OVER () AS first
        FROM jsonb_array_elements_text(o.keys) WITH ORDINALITY AS n (key, place)
        LEFT JOIN collection.archive_objects a ON a.exchange = o.exchange AND a.key = n.key) k), '{}'),
    p.state, p.reason, p.content_sha256, p.source_etag
FROM unnest(%(exchange)s::text[], %(market_type)s::text[], %(symbol)s::text[], %(dataset)s::text[], %(day)s::date[],
    %(cause)s::text[], %(keys)s::jsonb[]) AS o (exchange, market_type, symbol, dataset, day, cause, keys)
JOIN collection.partitions p USING (exchange, market_type, symbol, dataset, day)
"""

_WITHDRAW = """
UPDATE collection.acknowledgements a SET withdrawn_at = clock_timestamp(), withdrawn_because = n.withdrawn
FROM collection.acknowledgements_now n
WHERE a.id = n.id AND n.withdrawn IS NOT NULL AND a.withdrawn_because IS NULL
"""


def read_acknowledgements(
    connection: psycopg.Connection[Any],
    *,
    exchange: str | Sequence[str] | None = None,
    market_type: str | Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    first: date | None = None,
    last: date | None = None,
    holding: bool = False,
) -> list[Acknowledgement]:
    """Return the last acknowledgement of every day that matches all given values, by series, symbol and day.

    Args:
        first, last: both included.
        holding: only valid ones; otherwise withdrawn ones too.
    """
    given: Mapping[str, Any] = {
        "exchange = ANY(%s)": one_or_more(exchange),
        "market_type = ANY(%s)": one_or_more(market_type),
        "symbol = ANY(%s)": one_or_more(symbols),
        "dataset = ANY(%s)": one_or_more(datasets),
        "day >= %s": first,
        "day <= %s": last,
    }
    conditions = {condition: value for condition, value in given.items() if value is not None}
    where = [*conditions, *(["withdrawn IS NULL"] if holding else [])]
    query = f"""SELECT {", ".join(NAMES)} FROM collection.acknowledgements_now WHERE {" AND ".join(where) or "true"}
        ORDER BY exchange, market_type, dataset, symbol, day"""
    with connection.cursor(row_factory=class_row(Acknowledgement)) as cursor:
        return cursor.execute(query, list(conditions.values())).fetchall()


def add_acknowledgements(
    connection: psycopg.Connection[Any], days: Sequence[Acknowledged], reason: str, by: str
) -> None:
    """Acknowledge some days as their records are now; replaces earlier acknowledgements of these days."""
    columns: dict[str, list[Any]] = {name: [getattr(one, name) for one in days] for name in (*_KEYS, "cause")}
    columns["keys"] = [Jsonb(list(one.keys)) for one in days]
    connection.execute(_ADD, {**columns, "reason": reason, "by": by})


def withdraw(connection: psycopg.Connection[Any], days: Sequence[Acknowledgement], because: str) -> None:
    """End some valid acknowledgements."""
    columns = [[getattr(one, name) for one in days] for name in _KEYS]
    connection.execute(
        f"""UPDATE collection.acknowledgements a SET withdrawn_at = clock_timestamp(), withdrawn_because = %s
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[]) AS o ({", ".join(_KEYS)})
        WHERE {" AND ".join(f"a.{name} = o.{name}" for name in _KEYS)} AND a.withdrawn_because IS NULL""",
        (because, *columns),
    )


def withdraw_outdated(connection: psycopg.Connection[Any]) -> int:
    """End the acknowledgements of days that have changed since; return how many."""
    return connection.execute(_WITHDRAW).rowcount


def accepted(database: Database, days: Iterable[tuple[Series, str, date, State]]) -> set[TrackDay]:
    """Return the days, among some days with their present states, that a person has accepted in this state; one query.

    A day in another state than the acknowledged one (its file is lost, or collecting it again failed) is not returned.
    """
    wanted = {
        TrackDay(series, symbol, day): state for series, symbol, day, state in days if state not in COMPLETE_STATES
    }
    if not wanted:
        return set()
    with database.transaction() as connection:
        held = read_acknowledgements(
            connection,
            symbols=sorted({symbol for _, symbol, _ in wanted}),
            first=min(day for *_, day in wanted),
            last=max(day for *_, day in wanted),
            holding=True,
        )
    return {one.track_day for one in held if wanted.get(one.track_day) is one.state}
