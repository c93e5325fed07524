"""What is stored of symbols in other datasets: who can say that a day was no day without data, or an edge no edge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import psycopg

from crypto_assets.causes.minutes import StoredDay, resolution
from crypto_assets.engine.archive.lifetime import FEW_TRADES, NUMBERED
from crypto_assets.model import TIMEFRAMES, Series
from crypto_assets.rows.bar_calendar import days_of_bar

_WITNESSES = ["trades", "agg_trades", *(f"ohlcv_{timeframe}" for timeframe in TIMEFRAMES)]
"""Funding is none: events were published after settlements (binance-public-data #201, #500)."""

_OF_MINUTES = [name for name in _WITNESSES if resolution(name)]
"""Those that tell the minutes of a day apart."""

SPANS = """
SELECT s.symbol, d.dataset, first.day, last.day
FROM unnest(%(symbols)s::text[]) AS s (symbol) CROSS JOIN unnest(%(witnesses)s::text[]) AS d (dataset)
CROSS JOIN LATERAL (SELECT f.day FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
        AND f.traded ORDER BY f.day LIMIT 1) first
CROSS JOIN LATERAL (SELECT f.day FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
        AND f.traded ORDER BY f.day DESC LIMIT 1) last
"""

NUMBERS = """
SELECT s.symbol, d.dataset, first.day, first.first_id
FROM unnest(%(symbols)s::text[]) AS s (symbol) CROSS JOIN unnest(%(numbered)s::text[]) AS d (dataset)
CROSS JOIN LATERAL (SELECT f.day, f.first_id FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (%(exchange)s, %(market_type)s, s.symbol, d.dataset)
    ORDER BY f.day LIMIT 1) first
WHERE first.first_id > %(few)s
"""


def parameters_of(exchange: str, market_type: str, symbols: Sequence[str], besides: str = "") -> dict[str, Any]:
    """Return the parameters of the queries here; `besides` is a dataset that is no witness of its own days."""
    return {
        "exchange": exchange,
        "market_type": market_type,
        "symbols": list(symbols),
        "witnesses": [name for name in _WITNESSES if name != besides],
        "of_minutes": [name for name in _OF_MINUTES if name != besides],
        "numbered": list(NUMBERED),
        "few": FEW_TRADES,
    }


def spans_of(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str]
) -> dict[str, dict[str, tuple[date, date]]]:
    """Return the first and the last day, UTC, on which other datasets traded, by symbol and dataset."""
    parameters = parameters_of(series.exchange, series.market_type, sorted(symbols), series.dataset)
    found: dict[str, dict[str, tuple[date, date]]] = defaultdict(dict)
    for symbol, dataset, first, last in connection.execute(SPANS, parameters).fetchall():
        # Of a bar of weeks nobody knows on which of its days something traded: on the last one at the latest.
        witness = Series.named(series.exchange, series.market_type, dataset)
        found[symbol][dataset] = days_of_bar(witness.timeframe, first)[-1], last
    return found


def numbers_of(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str]
) -> dict[str, tuple[date, int]]:
    """Return the first stored day of symbols and its first number, where that is greater than FEW_TRADES."""
    if series.table not in NUMBERED:
        return {}
    parameters = parameters_of(series.exchange, series.market_type, sorted(symbols))
    rows = connection.execute(NUMBERS, {**parameters, "numbered": [series.dataset]}).fetchall()
    return {symbol: (first, number) for symbol, _, first, number in rows}


def stored_days(
    connection: psycopg.Connection[Any], series: Series, places: Iterable[tuple[str, date]]
) -> dict[tuple[str, date], list[StoredDay]]:
    """Return what other datasets have stored of some days, by symbol and day."""
    names = ", ".join(f"f.{name}" for name in StoredDay.__dataclass_fields__)
    parameters = parameters_of(series.exchange, series.market_type, (), series.dataset)
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


def days_without_data(
    connection: psycopg.Connection[Any], series: Series, places: Iterable[tuple[str, date]]
) -> set[tuple[str, str, date]]:
    """Return those of some days that other datasets have no data of either: dataset, symbol, day."""
    parameters = parameters_of(series.exchange, series.market_type, (), series.dataset)
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
