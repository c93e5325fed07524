"""Read present scores and their history, for days, symbols, series and exchanges (`collection.quality`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row

from crypto_assets.ledger.lakes import LOST, LOST_STATE, NOTHING_LOST, LostDays
from crypto_assets.ledger.scores import KEYS, SCORES
from crypto_assets.storage.database import Database

LEVELS: Mapping[str, tuple[str, ...]] = {
    "partition": KEYS,
    "symbol": KEYS[:4],
    "series": ("exchange", "market_type", "dataset"),
    "exchange": ("exchange",),
}
"""The levels that scores can be averaged over, with their columns."""

_OF_LOST = """coalesce(%(weight_t)s::float8 * timeliness, 0)
    / nullif(%(weight_c)s::float8 + CASE WHEN timeliness IS NULL THEN 0 ELSE %(weight_t)s::float8 END, 0)"""

SCORES_NOW = f"""
SELECT {", ".join(KEYS)}, timeliness, scored_at, l.day IS NOT NULL AS lost, lost_reason,
    CASE WHEN l.day IS NULL THEN accuracy END AS accuracy,
    CASE WHEN l.day IS NULL THEN completeness ELSE 0 END AS completeness,
    CASE WHEN l.day IS NULL THEN agreement END AS agreement, CASE WHEN l.day IS NULL THEN total ELSE {_OF_LOST} END AS total
FROM collection.quality_now LEFT JOIN lost l USING ({", ".join(KEYS)})
"""
"""Present scores, in a query that has `LOST`: a lost day counts as missing while it is lost. The stored scores stay: they are
of the rows, and the lake may be another one for a moment only. Takes the values of `weights_of_lost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The scores to read; None selects all. Days are those of the data, both included."""

    exchange: Sequence[str] | None = None
    market_type: Sequence[str] | None = None
    symbol: Sequence[str] | None = None
    dataset: Sequence[str] | None = None
    first: date | None = None
    last: date | None = None

    def where(self) -> tuple[str, dict[str, Any]]:
        """Return an SQL condition and its values."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        days = {"first": "day >= %(first)s", "last": "day <= %(last)s"}
        parts = [days.get(name, f"{name} = ANY(%({name})s)") for name in given]
        return " AND ".join(parts) or "true", {n: v if isinstance(v, date) else list(v) for n, v in given.items()}


@dataclass(frozen=True, slots=True)
class Quality:
    """The mean present scores of some days: each day of a symbol counts once, a day that was not judged does not count.

    A name is None if the level covers all its values. `lost` counts the days whose stored file (or table) is missing or
    damaged: their completeness is 0. `judged` counts the days with a total, `below` the judged days below the threshold.
    `worst` names the day with the lowest total (`market_type`, `symbol`, `dataset`, `day`, `total`). State and reason are
    those of a single day, which has no worst one.
    """

    exchange: str
    market_type: str | None
    symbol: str | None
    dataset: str | None
    day: date | None
    days: int
    lost: int
    judged: int
    below: int
    accuracy: float | None
    completeness: float | None
    timeliness: float | None
    agreement: float | None
    total: float | None
    worst: Mapping[str, Any] | None
    state: str | None
    reason: str | None
    scored_at: datetime


@dataclass(frozen=True, slots=True)
class Point:
    """The mean scores of a level at the end of a UTC day (`on`) on which they changed."""

    exchange: str
    market_type: str | None
    symbol: str | None
    dataset: str | None
    day: date | None
    on: date
    judged: int
    accuracy: float | None
    completeness: float | None
    timeliness: float | None
    agreement: float | None
    total: float | None


def read_scores(
    database: Database,
    by: str = "symbol",
    chosen: Chosen | None = None,
    *,
    threshold: float = 0.999,
    below: float | None = None,
    limit: int | None = None,
    offset: int = 0,
    lost: LostDays = NOTHING_LOST,
    weights: Mapping[str, float] | None = None,
) -> list[Quality]:
    """Return the present scores of a level (`LEVELS`), by name and day.

    Args:
        threshold: a day with a lower total counts as `below`.
        below: only results with a total below this.
        lost: stored days that are missing now, whatever their scores were.
        weights: weights of the scores (`quality.weights`), for the totals of lost days.

    Raises:
        KeyError: an unknown level.
    """
    level = LEVELS[by]
    where, values = (chosen or Chosen()).where()
    names = ", ".join(level)
    query = f"WITH {LOST} " + (_OF_DAYS.format(where=where) if by == "partition" else _means(level, where))
    if below is not None:
        query = f"SELECT * FROM ({query}) AS every WHERE total < %(below)s"
    query += f" ORDER BY {names} LIMIT %(limit)s OFFSET %(offset)s"
    values |= {"threshold": threshold, "below": below, "limit": limit, "offset": offset}
    values |= {**lost.as_values(), **weights_of_lost(weights or {})}
    with database.transaction() as connection, connection.cursor(row_factory=class_row(Quality)) as cursor:
        return cursor.execute(query, values).fetchall()


def weights_of_lost(weights: Mapping[str, float]) -> dict[str, float]:
    """Return the values for a query with `SCORES_NOW`: for a lost day only completeness and timeliness are judged."""
    return {"weight_c": weights.get("completeness", 1.0), "weight_t": weights.get("timeliness", 0.0)}


_OF_DAYS = f"""
SELECT {", ".join(KEYS)}, 1 AS days, lost::int AS lost, (total IS NOT NULL)::int AS judged,
    coalesce(total < %(threshold)s, false)::int AS below, {", ".join(SCORES)}, total, NULL AS worst,
    CASE WHEN lost THEN '{LOST_STATE}' ELSE p.state END AS state, coalesce(lost_reason, p.reason) AS reason, scored_at
FROM (SELECT * FROM ({SCORES_NOW}) AS every WHERE {{where}}) AS q
LEFT JOIN collection.partitions p USING ({", ".join(KEYS)})
"""


def _means(level: Sequence[str], where: str) -> str:
    """Return the query for the means of a level, each with its worst day."""
    names = ", ".join(level)
    means = ", ".join(f"avg({name}) AS {name}" for name in (*SCORES, "total"))
    return f""", scored AS MATERIALIZED (SELECT * FROM ({SCORES_NOW}) AS every WHERE {where}),
        means AS (
            SELECT {names}, count(*) AS days, count(*) FILTER (WHERE lost) AS lost,
                count(total) AS judged, {means}, max(scored_at) AS scored_at,
                count(*) FILTER (WHERE total < %(threshold)s) AS below
            FROM scored GROUP BY {names}
        ), worst AS (
            SELECT DISTINCT ON ({names}) {names}, jsonb_build_object('market_type', market_type, 'symbol', symbol,
                'dataset', dataset, 'day', day, 'total', total) AS worst
            FROM scored WHERE total IS NOT NULL
            ORDER BY {names}, total, {", ".join(key for key in KEYS if key not in level)}
        )
        SELECT {_names(level)}, days, lost, judged, below, {", ".join(SCORES)}, total, worst,
            NULL AS state, NULL AS reason, scored_at
        FROM means LEFT JOIN worst USING ({names})"""


def trend(
    database: Database,
    by: str = "symbol",
    chosen: Chosen | None = None,
    *,
    limit: int | None = None,
    offset: int = 0,
) -> list[Point]:
    """Return the history of the scores of a level, by name and then by time.

    Raises:
        KeyError: an unknown level.
    """
    level = LEVELS[by]
    where, values = (chosen or Chosen()).where()
    names = ", ".join(level)
    scores = (*SCORES, "total")
    # Each row changes the sum and the count of its level by the difference to the row before of the same day. Numeric,
    # because float sums would drift.
    steps = ", ".join(
        f"coalesce({n}::numeric, 0) - coalesce((lag({n}) OVER w)::numeric, 0) AS {n}, "
        f"({n} IS NOT NULL)::int - ((lag({n}) OVER w) IS NOT NULL)::int AS n_{n}"
        for n in scores
    )
    sums = ", ".join(f"sum({n}) AS {n}, sum(n_{n}) AS n_{n}" for n in scores)
    means = ", ".join(f"(sum({n}) OVER t / nullif(sum(n_{n}) OVER t, 0))::float8 AS {n}" for n in scores)
    query = f"""
        WITH steps AS (
            SELECT {names}, (scored_at AT TIME ZONE 'UTC')::date AS on_day, {steps} FROM collection.quality WHERE {where}
            WINDOW w AS (PARTITION BY {", ".join(KEYS)} ORDER BY scored_at)
        ), sums AS (SELECT {names}, on_day, {sums} FROM steps GROUP BY {names}, on_day)
        SELECT {_names(level)}, on_day AS "on", (sum(n_total) OVER t)::bigint AS judged, {means}
        FROM sums WINDOW t AS (PARTITION BY {names} ORDER BY on_day)
        ORDER BY {names}, on_day LIMIT %(limit)s OFFSET %(offset)s"""
    values |= {"limit": limit, "offset": offset}
    with database.transaction() as connection, connection.cursor(row_factory=class_row(Point)) as cursor:
        return cursor.execute(query, values).fetchall()


def _names(level: Sequence[str]) -> str:
    return ", ".join(key if key in level else f"NULL AS {key}" for key in KEYS)
