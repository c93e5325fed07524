"""Days without data, and edges of lives, that stored rows of another dataset of the same symbol contradict.

That nothing is due of a day is inferred from one dataset: its files end, its first row comes late, its ids run on. Another
dataset that has rows of the day, or of days on both sides of it, says otherwise; then rows are missing. Bars up to a day and
trades are such witnesses. A calendar on which no bar opens is never contradicted; an outage, or the name of a contract, only
by trading on that very day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.collection.archive.edges import LISTED_FROM, LISTED_UNTIL
from crypto_assets.collection.archive.lifetime import LIFE
from crypto_assets.model import DAY, TIMEFRAMES, Outcome, Partition, Series, State
from crypto_assets.quality.minutes import MINUTE, StoredDay, every, mask, resolution, start_of, whole_bars
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES

CONTRADICTED_BY = "contradicted_by"
"""In the evidence of a missing day: the dataset whose rows show that it is no day without data."""

_WITNESSES = [name for name in ("trades", "agg_trades", *(f"ohlcv_{t}" for t in TIMEFRAMES)) if resolution(name)]

Edges = tuple[str, date, str, list[str]]
"""Of a stored day: symbol, day, sha256 of its file, and which of LISTED_FROM and LISTED_UNTIL do not hold."""

HAS_AN_EDGE = f"evidence ?| ARRAY['{LISTED_FROM}', '{LISTED_UNTIL}']"
"""In SQL, as the index `partitions_edges` has it."""

_LONGEST = timedelta(days=31)

_SPANS = """
SELECT s.symbol, d.dataset, first.day, last.day
FROM unnest(%(symbols)s::text[]) AS s (symbol) CROSS JOIN unnest(%(witnesses)s::text[]) AS d (dataset)
CROSS JOIN LATERAL (SELECT f.day FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
        AND f.silent IS DISTINCT FROM %(all)s ORDER BY f.day LIMIT 1) first
CROSS JOIN LATERAL (SELECT f.day FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
        AND f.silent IS DISTINCT FROM %(all)s ORDER BY f.day DESC LIMIT 1) last
"""

_WITHOUT_DATA = f"""
WITH spans (symbol, dataset, first, last) AS MATERIALIZED ({_SPANS})
SELECT p.dataset, p.symbol, p.day, p.reason, p.evidence FROM collection.partitions p
WHERE (p.exchange, p.market_type) = (%(exchange)s, %(market_type)s) AND p.symbol = ANY(%(symbols)s)
    AND p.state = 'no_data' AND p.path IS NULL AND NOT p.evidence ? 'opens' AND EXISTS (SELECT FROM spans b
        WHERE b.symbol = p.symbol AND b.dataset <> p.dataset AND p.day > b.first - 31
            AND (p.day <= b.last OR b.last > left(coalesce(p.evidence ->> 'edge', p.evidence ->> 'last_listed'), 10)::date))
ORDER BY p.dataset, p.symbol, p.day
"""


@dataclass(frozen=True, slots=True)
class _Witness:
    dataset: str
    day: date


def contradicted(connection: psycopg.Connection[Any], series: Series, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return what those of some days without data are that another dataset contradicts: `missing`, with the reason."""
    asked = [one for one in outcomes if one.state is State.NO_DATA and "opens" not in one.evidence]
    if not asked:
        return []
    spans = _spans(connection, series, {one.partition.symbol for one in asked})
    near = [one for one in asked if _may_be(series, one, spans.get(one.partition.symbol, {}))]
    if not near:
        return []
    days = {one.partition.day + n * DAY for one in near for n in range(_length(series, one.partition.day).days)}
    stored = _stored(connection, series, {one.partition.symbol for one in near}, days)
    empty = _empty(connection, series, near)
    found = []
    for one in near:
        symbol, day = one.partition.symbol, one.partition.day
        in_bar = [day + n * DAY for n in range(_length(series, day).days)]
        beside = [row for each in in_bar for row in stored.get((symbol, each), ())]
        witness = _on_the_day(series, one, beside) or _beyond_the_edge(one, spans[symbol], empty)
        if witness is not None:
            found.append(_missing(one, witness))
    return found


def reopen(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbols: Iterable[str]
) -> list[Outcome]:
    """Return the days without data of some symbols that are contradicted by now, in every dataset, as `contradicted` does."""
    parameters = _parameters(exchange, market_type, sorted(set(symbols)))
    by_series: dict[Series, list[Outcome]] = defaultdict(list)
    for dataset, symbol, day, reason, evidence in connection.execute(_WITHOUT_DATA, parameters).fetchall():
        series = Series.named(exchange, market_type, dataset)
        by_series[series].append(Outcome(series, Partition(symbol, day), State.NO_DATA, reason, evidence))
    return [one for series, outcomes in by_series.items() for one in contradicted(connection, series, outcomes)]


def contradicted_edges(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbols: Iterable[str]
) -> dict[Series, list[Edges]]:
    """Return the stored days of some symbols outside whose edges another dataset traded, by series.

    Funding rates have no such edges: between a listing and the first event, and after the last one, there is trading.
    """
    rows = connection.execute(
        f"""SELECT dataset, symbol, day, content_sha256, evidence FROM collection.partitions
        WHERE (exchange, market_type) = (%s, %s) AND symbol = ANY(%s) AND path IS NOT NULL AND {HAS_AN_EDGE}
        ORDER BY dataset, symbol, day""",
        (exchange, market_type, sorted(set(symbols))),
    ).fetchall()
    by_series: dict[Series, list[Any]] = defaultdict(list)
    for dataset, *of_day in rows:
        by_series[Series.named(exchange, market_type, dataset)].append(of_day)
    found: dict[Series, list[Edges]] = {}
    for series, days in by_series.items():
        if series.table == "funding_rates" or series.timeframe in LONG_TIMEFRAMES:
            continue
        stored = _stored(connection, series, {day[0] for day in days}, {day[1] for day in days})
        for symbol, day, sha256, evidence in days:
            wrong = [
                name
                for name in (LISTED_FROM, LISTED_UNTIL)
                if name in evidence
                and evidence[name].get("source") != "name"
                and any(_trades_outside(row, name, evidence[name]["time"]) for row in stored.get((symbol, day), ()))
            ]
            if wrong:
                found.setdefault(series, []).append((symbol, day, sha256, wrong))
    return found


# ---- the rule --------------------------------------------------------------------------------------------------------


def _may_be(series: Series, outcome: Outcome, spans: Mapping[str, tuple[date, date]]) -> bool:
    end = outcome.partition.day + _length(series, outcome.partition.day)
    return any(first < end and min(outcome.partition.day, _last_day(outcome)) <= last for first, last in spans.values())


def _on_the_day(series: Series, outcome: Outcome, rows: Sequence[StoredDay]) -> _Witness | None:
    if series.table == "funding_rates":  # none is due on a day that has hours of trading only
        return None
    bars_are_due = (
        series.table == "ohlcv" and "outage" not in outcome.evidence and outcome.evidence.get("source") != "name"
    )
    for row in rows:
        if row.traded or (bars_are_due and row.is_bars):
            return _Witness(row.dataset, row.day)
    return None


def _beyond_the_edge(
    outcome: Outcome, spans: Mapping[str, tuple[date, date]], empty: set[tuple[str, str, date]]
) -> _Witness | None:
    """Return a dataset with rows beyond the end of a life that a day was put down to; one without data of the day is none."""
    evidence, day = outcome.evidence, outcome.partition.day
    life = evidence.get(LIFE)
    if life not in ("before", "after") or evidence.get("source") == "name":
        return None
    for dataset, (first, last) in spans.items():
        beyond = first < day and (life == "before" or last > _last_day(outcome))
        if beyond and (dataset, outcome.partition.symbol, day) not in empty:
            return _Witness(dataset, first if life == "before" else last)
    return None


def _last_day(outcome: Outcome) -> date:
    """Return the last day with rows that a day after the life of a symbol was inferred from."""
    said = outcome.evidence.get("edge") or outcome.evidence.get("last_listed")
    return date.fromisoformat(str(said)[:10]) if said else outcome.partition.day


def _trades_outside(row: StoredDay, edge: str, time: str) -> bool:
    """Return whether a witness traded in a bar that lies wholly outside an edge of its day."""
    step = resolution(row.dataset) or 1
    since = datetime.fromisoformat(time) - start_of(row.day)
    bars = whole_bars(row.traded, step)
    if edge == LISTED_FROM:
        outside = mask(0, since // MINUTE // step * step)
    else:
        outside = mask(min(MINUTES, -(-since // (MINUTE * step)) * step), MINUTES)
    return bool(bars & outside & every(step))


def _missing(outcome: Outcome, witness: _Witness) -> Outcome:
    when = "of this day" if witness.day == outcome.partition.day else f"of {witness.day}"
    evidence: dict[str, Any] = {
        CONTRADICTED_BY: witness.dataset,
        "contradicted_on": str(witness.day),
        "was": outcome.reason,
    }
    if "object" in outcome.evidence:
        evidence["object"] = outcome.evidence["object"]
    reason = f"no rows, and {witness.dataset} has rows {when}; without these: {outcome.reason}"
    return replace(outcome, state=State.MISSING, reason=reason, evidence=evidence)


def _length(series: Series, day: date) -> timedelta:
    """Return how many days a bar that opens on a day covers, at most; other rows cover one."""
    match series.timeframe:
        case "3d":
            return 3 * DAY
        case "1w":
            return 7 * DAY
        case "1mo":
            return (day.replace(day=1) + _LONGEST).replace(day=1) - day.replace(day=1)
    return DAY


# ---- what is stored --------------------------------------------------------------------------------------------------


def _parameters(exchange: str, market_type: str, symbols: Sequence[str], besides: str = "") -> dict[str, Any]:
    return {
        "exchange": exchange,
        "market_type": market_type,
        "symbols": list(symbols),
        "witnesses": [name for name in _WITNESSES if name != besides],
        "all": b"\xff" * (MINUTES // 8),
    }


def _spans(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str]
) -> dict[str, dict[str, tuple[date, date]]]:
    """Return the first and the last day of other datasets on which anything traded, by symbol and dataset."""
    parameters = _parameters(series.exchange, series.market_type, sorted(symbols), series.dataset)
    found: dict[str, dict[str, tuple[date, date]]] = defaultdict(dict)
    for symbol, dataset, first, last in connection.execute(_SPANS, parameters).fetchall():
        found[symbol][dataset] = first, last
    return found


def _stored(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str], days: Iterable[date]
) -> dict[tuple[str, date], list[StoredDay]]:
    """Return what other datasets have stored of some days."""
    names = ", ".join(StoredDay.__dataclass_fields__)
    parameters = _parameters(series.exchange, series.market_type, sorted(symbols), series.dataset)
    rows = connection.execute(
        f"""SELECT {names} FROM collection.profiles
        WHERE (exchange, market_type) = (%(exchange)s, %(market_type)s) AND symbol = ANY(%(symbols)s)
            AND dataset = ANY(%(witnesses)s) AND day = ANY(%(days)s) ORDER BY symbol, dataset, day""",
        {**parameters, "days": sorted(set(days))},
        binary=True,
    )
    found: dict[tuple[str, date], list[StoredDay]] = defaultdict(list)
    for row in rows:
        one = StoredDay(*row)
        found[one.symbol, one.day].append(one)
    return found


def _empty(
    connection: psycopg.Connection[Any], series: Series, outcomes: Sequence[Outcome]
) -> set[tuple[str, str, date]]:
    """Return the days of other datasets that are without data too: dataset, symbol, day."""
    parameters = _parameters(series.exchange, series.market_type, sorted({one.partition.symbol for one in outcomes}))
    rows = connection.execute(
        """SELECT dataset, symbol, day FROM collection.partitions
        WHERE (exchange, market_type) = (%(exchange)s, %(market_type)s) AND symbol = ANY(%(symbols)s)
            AND dataset = ANY(%(witnesses)s) AND day = ANY(%(days)s) AND state = 'no_data'""",
        {**parameters, "days": sorted({one.partition.day for one in outcomes})},
    )
    return {(dataset, symbol, day) for dataset, symbol, day in rows}
