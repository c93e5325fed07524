"""Read the stored data of a symbol's other datasets: they may disprove that a day has no data, or that it is an edge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.ledger.minutes import StoredDay, resolution
from crypto_assets.ledger.partitions import PartitionRecord
from crypto_assets.model import TIMEFRAMES, Series
from crypto_assets.rows.bar_calendar import days_of_bar

_WITNESSES = ["trades", "agg_trades", *(f"ohlcv_{timeframe}" for timeframe in TIMEFRAMES)]
"""Funding is no witness: events were published after settlements (binance-public-data #201, #500)."""

_OF_MINUTES = [name for name in _WITNESSES if resolution(name)]
"""Datasets with a resolution of minutes."""

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


def _parameters(exchange: str, market_type: str, symbols: Sequence[str], besides: str = "") -> dict[str, Any]:
    """Return the values for the queries here; `besides` is a dataset that is not a witness of its own days."""
    return {
        "exchange": exchange,
        "market_type": market_type,
        "symbols": list(symbols),
        "witnesses": [name for name in _WITNESSES if name != besides],
        "of_minutes": [name for name in _OF_MINUTES if name != besides],
    }


def spans_of(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str]
) -> dict[str, dict[str, tuple[date, date]]]:
    """Return the first and the last day, UTC, on which other datasets traded, by symbol and dataset."""
    parameters = _parameters(series.exchange, series.market_type, sorted(symbols), series.dataset)
    found: dict[str, dict[str, tuple[date, date]]] = defaultdict(dict)
    for symbol, dataset, first, last in connection.execute(_SPANS, parameters).fetchall():
        # A bar of weeks does not show on which of its days something traded: assume the last one.
        witness = Series.named(series.exchange, series.market_type, dataset)
        found[symbol][dataset] = days_of_bar(witness.timeframe, first)[-1], last
    return found


def numbers_of(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str], few: int
) -> dict[str, tuple[date, int]]:
    """Return the first stored day of symbols with its first id, if the id is greater than `few`."""
    parameters = _parameters(series.exchange, series.market_type, sorted(symbols))
    rows = connection.execute(_NUMBERS, {**parameters, "numbered": [series.dataset], "few": few}).fetchall()
    return {symbol: (first, number) for symbol, _, first, number in rows}


def stored_days(
    connection: psycopg.Connection[Any], series: Series, places: Iterable[tuple[str, date]]
) -> dict[tuple[str, date], list[StoredDay]]:
    """Return the stored data of other datasets on some days, by symbol and day."""
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


def days_without_data(
    connection: psycopg.Connection[Any], series: Series, places: Iterable[tuple[str, date]]
) -> set[tuple[str, str, date]]:
    """Return the days on which other datasets have no data either: dataset, symbol, day."""
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


def doubtful_days(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    symbols: Iterable[str],
    numbered: Iterable[str],
    few: int,
) -> list[PartitionRecord]:
    """Return the days without data of some symbols that witnesses may contradict, by dataset, symbol and day.

    Args:
        numbered: datasets whose rows have ids; a first id above `few` proves earlier rows.
    """
    values = {**_parameters(exchange, market_type, sorted(set(symbols))), "numbered": list(numbered), "few": few}
    with connection.cursor(row_factory=class_row(PartitionRecord)) as cursor:
        return cursor.execute(_WITHOUT_DATA, values).fetchall()


def _columns(places: Iterable[tuple[str, date]]) -> tuple[list[str], list[date]]:
    ordered = sorted(places)
    return [symbol for symbol, _ in ordered], [day for _, day in ordered]
