"""Days without data, and edges of lives, that stored rows of another dataset of the same symbol contradict.

That nothing is due of a day is inferred from one dataset: its files end, its first row comes late, its ids run on. Another
dataset that has rows of the day, or beyond the end of the life that it was put down to, says otherwise; then rows are
missing. Trades are such witnesses, and bars in which something traded. A calendar on which no bar opens is never
contradicted; an outage, or the name of a contract, only by trading on that very day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.collection.archive.edges import LISTED_FROM, LISTED_UNTIL
from crypto_assets.collection.archive.lifetime import FEW_TRADES, LIFE, NUMBERED
from crypto_assets.collection.records.ledger import PartitionRecord
from crypto_assets.model import DAY, TIMEFRAMES, Outcome, Partition, Series, State
from crypto_assets.quality.minutes import MINUTE, StoredDay, mask, resolution, runs, start_of, whole_bars
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES

CONTRADICTED_BY = "contradicted_by"
"""In the evidence of a missing day: the dataset whose rows show that it is no day without data."""

_WITNESSES = ["trades", "agg_trades", *(f"ohlcv_{timeframe}" for timeframe in TIMEFRAMES)]
"""Funding is none: events were published after settlements (binance-public-data #201, #500)."""

_OF_MINUTES = [name for name in _WITNESSES if resolution(name)]
"""Those that tell the minutes of a day apart."""

HAS_AN_EDGE = f"evidence ?| ARRAY['{LISTED_FROM}', '{LISTED_UNTIL}']"
"""In SQL, as the index `partitions_edges` has it."""

_LONGEST = timedelta(days=31)

_SPANS = """
SELECT s.symbol, d.dataset, first.day, last.day
FROM unnest(%(symbols)s::text[]) AS s (symbol) CROSS JOIN unnest(%(witnesses)s::text[]) AS d (dataset)
CROSS JOIN LATERAL (SELECT f.day FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
        AND f.traded ORDER BY f.day LIMIT 1) first
CROSS JOIN LATERAL (SELECT f.day FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
        AND f.traded ORDER BY f.day DESC LIMIT 1) last
"""

_NUMBERS = """
SELECT s.symbol, d.dataset, first.day, first.first_id
FROM unnest(%(symbols)s::text[]) AS s (symbol) CROSS JOIN unnest(%(numbered)s::text[]) AS d (dataset)
CROSS JOIN LATERAL (SELECT f.day, f.first_id FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
    ORDER BY f.day LIMIT 1) first
WHERE first.first_id > %(few)s
"""

_WITHOUT_DATA = f"""
WITH spans (symbol, dataset, first, last) AS MATERIALIZED ({_SPANS}), numbers AS MATERIALIZED ({_NUMBERS})
SELECT {", ".join(f"p.{name}" for name in PartitionRecord.__dataclass_fields__)} FROM collection.partitions p
WHERE (p.exchange, p.market_type) = (%(exchange)s, %(market_type)s) AND p.symbol = ANY(%(symbols)s)
    AND p.state = 'no_data' AND p.path IS NULL AND NOT p.evidence ? 'opens' AND (EXISTS (SELECT FROM spans b
        WHERE b.symbol = p.symbol AND b.dataset <> p.dataset AND p.day > b.first - 31
            AND (p.day <= b.last OR p.evidence ->> 'life' = 'before'
                OR b.last > left(coalesce(p.evidence ->> 'edge', p.evidence ->> 'last_listed'), 10)::date))
        OR p.evidence ->> 'life' = 'before' AND (p.symbol, p.dataset) IN (SELECT symbol, dataset FROM numbers))
ORDER BY p.dataset, p.symbol, p.day
"""


Edges = Mapping[str, Mapping[str, Any] | None]
"""Which of LISTED_FROM and LISTED_UNTIL do not hold, and what takes their place: None where the day has no such edge."""


@dataclass(frozen=True, slots=True)
class WrongEdges:
    """The edges of a stored day that do not hold; the hash is of its file."""

    symbol: str
    day: date
    content_sha256: str
    edges: Edges


@dataclass(frozen=True, slots=True)
class _Witness:
    dataset: str
    day: date
    words: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What is stored of the symbols of some days without data, in other datasets and, of `numbers`, in their own.

    `spans` are the first and the last day on which anything traded, by symbol and dataset; `stored` what is known of days, by
    symbol and day; `empty` the days of other datasets that are without data too: dataset, symbol, day; `numbers` the first
    stored day and its first number, where trades came before it.
    """

    spans: Mapping[str, Mapping[str, tuple[date, date]]]
    stored: Mapping[tuple[str, date], Sequence[StoredDay]]
    empty: Set[tuple[str, str, date]]
    numbers: Mapping[str, tuple[date, int]]


def contradicted(connection: psycopg.Connection[Any], series: Series, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return what those of some days without data are that other rows contradict: `missing`, with the reason."""
    asked = [one for one in outcomes if one.state is State.NO_DATA and "opens" not in one.evidence]
    if not asked:
        return []
    symbols = {one.partition.symbol for one in asked}
    spans, numbers = _spans(connection, series, symbols), _numbers(connection, series, symbols)
    near = [one for one in asked if one.partition.symbol in numbers or _may_be(series, one, spans)]
    if not near:
        return []
    places = {(one.partition.symbol, day) for one in near for day in _days_of_bar(series, one.partition.day)}
    own = {(one.partition.symbol, one.partition.day) for one in near}
    known = _Known(spans, _stored(connection, series, places), _empty(connection, series, own), numbers)
    found = []
    for one in near:
        witness = _on_the_day(series, one, known) or _beyond_the_edge(one, known) or _before_the_first(one, known)
        if witness is not None:
            found.append(_missing(one, witness))
    return found


def reopen(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbols: Iterable[str]
) -> list[Outcome]:
    """Return the days without data of some symbols that are contradicted by now, in every dataset, as `contradicted` does."""
    parameters = _parameters(exchange, market_type, sorted(set(symbols)))
    with connection.cursor(row_factory=class_row(PartitionRecord)) as cursor:
        records = cursor.execute(_WITHOUT_DATA, parameters).fetchall()
    by_series: dict[Series, list[Outcome]] = defaultdict(list)
    for record in records:
        series, symbol = record.pair
        by_series[series].append(
            Outcome(
                series,
                Partition(symbol, record.day),
                State.NO_DATA,
                record.reason,
                record.evidence,
                record.source_file,
                unchanged=True,  # nothing was downloaded
            )
        )
    return [one for series, outcomes in by_series.items() for one in contradicted(connection, series, outcomes)]


def wrong_edges(
    connection: psycopg.Connection[Any], series: Series, days: Iterable[tuple[str, date, Mapping[str, Any]]]
) -> dict[tuple[str, date], Edges]:
    """Return the edges of some days outside which another dataset traded, by symbol and day, and where they are then.

    Funding rates have no such edges: between a listing and the first event, and after the last one, there is trading. What
    the name of a contract says stays.

    Args:
        days: symbol, day and the evidence of the day.
    """
    if series.table == "funding_rates" or series.timeframe in LONG_TIMEFRAMES:
        return {}
    with_edges = {(symbol, day): edges for symbol, day, evidence in days if (edges := _edges(evidence))}
    if not with_edges:
        return {}
    stored = _stored(connection, series, with_edges)
    found: dict[tuple[str, date], Edges] = {}
    for place, edges in with_edges.items():
        moved = {name: _moved(series, name, edge, stored.get(place, ())) for name, edge in edges.items()}
        if wrong := {name: edge for name, edge in moved.items() if edge is not edges[name]}:
            found[place] = wrong
    return found


def contradicted_edges(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbols: Iterable[str]
) -> dict[Series, list[WrongEdges]]:
    """Return the stored days of some symbols outside whose edges another dataset traded, by series."""
    rows = connection.execute(
        f"""SELECT dataset, symbol, day, content_sha256, evidence FROM collection.partitions
        WHERE (exchange, market_type) = (%s, %s) AND symbol = ANY(%s) AND path IS NOT NULL AND {HAS_AN_EDGE}
        ORDER BY dataset, symbol, day""",
        (exchange, market_type, sorted(set(symbols))),
    ).fetchall()
    by_dataset: dict[str, list[Any]] = defaultdict(list)
    for dataset, *of_day in rows:
        by_dataset[dataset].append(of_day)
    found: dict[Series, list[WrongEdges]] = {}
    for dataset, days in by_dataset.items():
        series = Series.named(exchange, market_type, dataset)
        wrong = wrong_edges(connection, series, [(symbol, day, evidence) for symbol, day, _, evidence in days])
        if wrong:
            found[series] = [
                WrongEdges(symbol, day, sha256, wrong[symbol, day])
                for symbol, day, sha256, _ in days
                if (symbol, day) in wrong
            ]
    return found


def with_edges(evidence: Mapping[str, Any], wrong: Edges) -> dict[str, Any]:
    """Return the evidence of a day with its edges where they are."""
    kept = {name: value for name, value in evidence.items() if name not in wrong}
    return kept | {name: edge for name, edge in wrong.items() if edge is not None}


# ---- the rule --------------------------------------------------------------------------------------------------------


def _may_be(series: Series, outcome: Outcome, spans: Mapping[str, Mapping[str, tuple[date, date]]]) -> bool:
    day = outcome.partition.day
    end, since = day + _length(series, day), min(day, _last_day(outcome))
    of_symbol = spans.get(outcome.partition.symbol, {}).values()
    return any(first < end and (since <= last or outcome.evidence.get(LIFE) == "before") for first, last in of_symbol)


def _on_the_day(series: Series, outcome: Outcome, known: _Known) -> _Witness | None:
    bars_are_due = (
        series.table == "ohlcv" and "outage" not in outcome.evidence and outcome.evidence.get("source") != "name"
    )
    day, funding = outcome.partition.day, series.table == "funding_rates"
    for each in _days_of_bar(series, day):
        for row in known.stored.get((outcome.partition.symbol, each), ()):
            if _funding_is_due(row) if funding else row.traded or (bars_are_due and row.is_bars):
                when = "of this day" if each == day else f"of {each}"
                return _Witness(row.dataset, each, f"{row.dataset} has rows {when}")
    return None


def _funding_is_due(row: StoredDay) -> bool:
    """Return whether a symbol traded from the first hour of a day to the first event that must follow, eight hours later."""
    return bool(row.traded & mask(0, 60)) and bool(row.traded & mask(8 * 60, MINUTES))


def _beyond_the_edge(outcome: Outcome, known: _Known) -> _Witness | None:
    """Return a dataset with rows beyond the end of a life that a day was put down to; one without data of the day is none.

    Funding may end hours before trading does: of it only days inside the trading are contradicted.
    """
    evidence, day, symbol = outcome.evidence, outcome.partition.day, outcome.partition.symbol
    funding = outcome.series.table == "funding_rates"
    life = evidence.get(LIFE)
    if life not in ("before", "after") or evidence.get("source") == "name":
        return None
    for dataset, (first, last) in known.spans.get(symbol, {}).items():
        beyond = first < day and (life == "before" or last > (day if funding else _last_day(outcome)))
        if beyond and (dataset, symbol, day) not in known.empty:
            when = first if life == "before" else last
            return _Witness(dataset, when, f"{dataset} has rows of {when}")
    return None


def _before_the_first(outcome: Outcome, known: _Known) -> _Witness | None:
    """Return the dataset itself where the first trade that is stored has a number that shows many before it."""
    evidence, day = outcome.evidence, outcome.partition.day
    if evidence.get(LIFE) != "before" or "exchange_asked" in evidence or outcome.partition.symbol not in known.numbers:
        return None
    first, number = known.numbers[outcome.partition.symbol]
    if first <= day:
        return None
    dataset = outcome.series.dataset
    return _Witness(dataset, first, f"the first row of {first} has the number {number}, so others came before it")


def _last_day(outcome: Outcome) -> date:
    """Return the last day with rows that a day after the life of a symbol was inferred from, to the end of a long bar."""
    said = outcome.evidence.get("edge") or outcome.evidence.get("last_listed")
    if not said:
        return outcome.partition.day
    last = date.fromisoformat(str(said)[:10])
    return last + _length(outcome.series, last) - DAY


def _moved(series: Series, name: str, edge: Mapping[str, Any], rows: Sequence[StoredDay]) -> Mapping[str, Any] | None:
    """Return an edge as it is, or where another dataset traded farthest outside it; None where that reaches midnight."""
    found, own = edge, resolution(series.dataset) or 1
    for row in rows:
        time, day = datetime.fromisoformat(found["time"]), start_of(row.day)
        step = resolution(row.dataset) or 1
        outside = _bars_outside(
            row, name, (time - day) // MINUTE if name == LISTED_FROM else -(-(time - day) // MINUTE), step
        )
        if not outside:
            continue
        reached = list(runs(outside))
        minute = reached[0][0] if name == LISTED_FROM else reached[-1][1]
        if name == LISTED_UNTIL:  # a bar that an edge cuts would not be expected, and this one had trades
            minute = -(-minute // own) * own
        if minute in (0, MINUTES):
            return None
        found = {**edge, "time": (day + minute * MINUTE).isoformat(), CONTRADICTED_BY: row.dataset}
    return found


def _bars_outside(row: StoredDay, name: str, edge: int, step: int) -> int:
    """Return the minutes of the bars in which a witness traded and that lie wholly outside an edge, a minute of its day."""
    bars = whole_bars(row.traded, step)
    if name == LISTED_FROM:
        return bars & mask(0, edge // step * step)
    return bars & mask(min(MINUTES, -(-edge // step) * step), MINUTES)


def _missing(outcome: Outcome, witness: _Witness) -> Outcome:
    evidence: dict[str, Any] = {
        CONTRADICTED_BY: witness.dataset,
        "contradicted_on": str(witness.day),
        "was": outcome.reason,
    }
    if "object" in outcome.evidence:
        evidence["object"] = outcome.evidence["object"]
    reason = f"no rows, and {witness.words}; without these: {outcome.reason}"
    return replace(outcome, state=State.MISSING, reason=reason, evidence=evidence)


def _edges(evidence: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the edges of a day that another dataset can contradict."""
    found = {name: evidence[name] for name in (LISTED_FROM, LISTED_UNTIL) if name in evidence}
    return {name: edge for name, edge in found.items() if edge.get("source") != "name"}


def _days_of_bar(series: Series, day: date) -> list[date]:
    """Return the days that a row of a day covers: one, but for bars of days."""
    return [day + n * DAY for n in range(_length(series, day).days)]


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
        "of_minutes": [name for name in _OF_MINUTES if name != besides],
        "numbered": list(NUMBERED),
        "few": FEW_TRADES,
    }


def _spans(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str]
) -> dict[str, dict[str, tuple[date, date]]]:
    parameters = _parameters(series.exchange, series.market_type, sorted(symbols), series.dataset)
    found: dict[str, dict[str, tuple[date, date]]] = defaultdict(dict)
    for symbol, dataset, first, last in connection.execute(_SPANS, parameters).fetchall():
        # Of a bar of weeks nobody knows on which of its days something traded: on the last one at the latest.
        witness = Series.named(series.exchange, series.market_type, dataset)
        found[symbol][dataset] = first + _length(witness, first) - DAY, last
    return found


def _numbers(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str]
) -> dict[str, tuple[date, int]]:
    if series.table not in NUMBERED:
        return {}
    parameters = _parameters(series.exchange, series.market_type, sorted(symbols))
    rows = connection.execute(_NUMBERS, {**parameters, "numbered": [series.dataset]}).fetchall()
    return {symbol: (first, number) for symbol, _, first, number in rows}


def _stored(
    connection: psycopg.Connection[Any], series: Series, places: Iterable[tuple[str, date]]
) -> dict[tuple[str, date], list[StoredDay]]:
    """Return what other datasets have stored of some days, by symbol and day."""
    names = ", ".join(f"f.{name}" for name in StoredDay.__dataclass_fields__)
    parameters = _parameters(series.exchange, series.market_type, (), series.dataset)
    symbols, days = _columns(places)
    rows = connection.execute(
        f"""SELECT {names} FROM unnest(%(symbols)s::text[], %(days)s::date[]) AS w (symbol, day)
        JOIN collection.profiles f ON (f.exchange, f.market_type, f.symbol, f.day)
            = (%(exchange)s, %(market_type)s, w.symbol, w.day) AND f.dataset = ANY(%(of_minutes)s)
        ORDER BY f.symbol, f.dataset, f.day""",
        {**parameters, "symbols": symbols, "days": days},
        binary=True,
    )
    found: dict[tuple[str, date], list[StoredDay]] = defaultdict(list)
    for row in rows:
        one = StoredDay(*row)
        found[one.symbol, one.day].append(one)
    return dict(found)


def _empty(
    connection: psycopg.Connection[Any], series: Series, places: Iterable[tuple[str, date]]
) -> set[tuple[str, str, date]]:
    parameters = _parameters(series.exchange, series.market_type, (), series.dataset)
    symbols, days = _columns(places)
    rows = connection.execute(
        """SELECT p.dataset, p.symbol, p.day FROM unnest(%(symbols)s::text[], %(days)s::date[]) AS w (symbol, day)
        JOIN collection.partitions p ON (p.exchange, p.market_type, p.symbol, p.day)
            = (%(exchange)s, %(market_type)s, w.symbol, w.day) AND p.dataset = ANY(%(witnesses)s)
        WHERE p.state = 'no_data' AND NOT p.evidence ? 'opens'""",
        {**parameters, "symbols": symbols, "days": days},
    )
    return {(dataset, symbol, day) for dataset, symbol, day in rows}


def _columns(places: Iterable[tuple[str, date]]) -> tuple[list[str], list[date]]:
    ordered = sorted(places)
    return [symbol for symbol, _ in ordered], [day for _, day in ordered]
