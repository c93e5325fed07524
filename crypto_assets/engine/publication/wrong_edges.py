"""Finds edges of stored days that are not edges of a life, because another dataset of the symbol traded outside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.engine.archive.lifetime import CONTRADICTED_BY
from crypto_assets.ledger.life_edges import LISTED_FROM, LISTED_UNTIL, EdgedDay, edged_days
from crypto_assets.ledger.minutes import MINUTE, StoredDay, mask, resolution, runs, start_of, whole_bars
from crypto_assets.ledger.witnesses import stored_days
from crypto_assets.model import Series
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES

Edges = Mapping[str, Mapping[str, Any] | None]
"""The wrong ones among LISTED_FROM and LISTED_UNTIL with their replacements; None if the day has no such edge."""


@dataclass(frozen=True, slots=True)
class WrongEdges:
    """The wrong edges of a stored day; the hash is of its file."""

    symbol: str
    day: date
    content_sha256: str
    edges: Edges


def wrong_edges(
    connection: psycopg.Connection[Any], series: Series, days: Iterable[tuple[str, date, Mapping[str, Any]]]
) -> dict[tuple[str, date], Edges]:
    """Return the edges of some days outside which another dataset traded, by symbol and day, with their replacements.

    Not for funding rates: there is trading between a listing and the first event, and after the last one. The expiry in a
    contract's name stays.

    Args:
        days: symbol, day and the evidence of the day.
    """
    if series.table == "funding_rates" or series.timeframe in LONG_TIMEFRAMES:
        return {}
    edged = {(symbol, day): edges for symbol, day, evidence in days if (edges := _edges(evidence))}
    if not edged:
        return {}
    stored = stored_days(connection, series, edged)
    found: dict[tuple[str, date], Edges] = {}
    for place, edges in edged.items():
        moved = {name: _moved(series, name, edge, stored.get(place, ())) for name, edge in edges.items()}
        if wrong := {name: edge for name, edge in moved.items() if edge is not edges[name]}:
            found[place] = wrong
    return found


def contradicted_edges(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbols: Iterable[str]
) -> dict[Series, list[WrongEdges]]:
    """Return the stored days of some symbols with edges outside which another dataset traded, by series."""
    by_dataset: dict[str, list[EdgedDay]] = defaultdict(list)
    for one in edged_days(connection, exchange, market_type, symbols):
        by_dataset[one.dataset].append(one)
    found: dict[Series, list[WrongEdges]] = {}
    for dataset, days in by_dataset.items():
        series = Series.named(exchange, market_type, dataset)
        wrong = wrong_edges(connection, series, [(one.symbol, one.day, one.evidence) for one in days])
        if wrong:
            found[series] = [
                WrongEdges(one.symbol, one.day, one.content_sha256, wrong[one.symbol, one.day])
                for one in days
                if (one.symbol, one.day) in wrong
            ]
    return found


def with_edges(evidence: Mapping[str, Any], wrong: Edges) -> dict[str, Any]:
    """Return the evidence of a day with its wrong edges replaced."""
    kept = {name: value for name, value in evidence.items() if name not in wrong}
    return kept | {name: edge for name, edge in wrong.items() if edge is not None}


def _moved(series: Series, name: str, edge: Mapping[str, Any], rows: Sequence[StoredDay]) -> Mapping[str, Any] | None:
    """Return an edge unchanged, or moved to the farthest trade of another dataset outside it; None if that is midnight."""
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
        if name == LISTED_UNTIL:  # round up: a bar cut by the edge would not be expected, but this one had trades
            minute = -(-minute // own) * own
        if minute in (0, MINUTES):
            return None
        found = {**edge, "time": (day + minute * MINUTE).isoformat(), CONTRADICTED_BY: row.dataset}
    return found


def _bars_outside(row: StoredDay, name: str, edge: int, step: int) -> int:
    """Return the minutes of the bars with trades of a witness wholly outside an edge, which is a minute of the day."""
    bars = whole_bars(row.traded, step)
    if name == LISTED_FROM:
        return bars & mask(0, edge // step * step)
    return bars & mask(min(MINUTES, -(-edge // step) * step), MINUTES)


def _edges(evidence: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the edges of a day that another dataset can contradict."""
    found = {name: evidence[name] for name in (LISTED_FROM, LISTED_UNTIL) if name in evidence}
    return {name: edge for name, edge in found.items() if edge.get("source") != "name"}
