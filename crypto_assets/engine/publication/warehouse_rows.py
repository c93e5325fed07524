"""Checks day by day whether a warehouse table has the rows of the lake: it counts the rows in the table itself.

A recorded load proves nothing once somebody has deleted rows. If the counts differ, the load is forgotten in
`collection.warehouse_loads` (its content becomes empty, as for an emptied leaf), so that `gaps` shows the day and `fill`
loads it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import psycopg

from crypto_assets.ledger.loads import LoadedDay, Loads, count_loads, days_loaded, every_loaded_day
from crypto_assets.model import DAY, Finding, Rule, Series, Severity, day_spans, not_judged
from crypto_assets.rows.loads import STATISTICS
from crypto_assets.storage.built_bars import built_due
from crypto_assets.storage.database import Database
from crypto_assets.storage.warehouse import TABLES, lock_symbol
from crypto_assets.storage.warehouse_loads import forget_days


def _words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    differs = evidence.get("differs", ())
    return f"{'; '.join(differs)}; {evidence['what_to_do']}" if differs else f"{evidence['rows']:,} rows as in the lake"


ROWS_MATCH_LAKE = Rule(
    name="rows_match_lake",
    severity=Severity.DEGRADE,
    description="The table has every row of the day in the lake, in the same version, and the bars built from them.",
    words=_words,
)


@dataclass(frozen=True, slots=True)
class Table:
    """One symbol in one table of the warehouse; `feeders` are the series whose days are loaded into it.

    `built` are the timeframes of bars that it builds from 1m bars.
    """

    name: str
    exchange: str
    market_type: str
    symbol: str
    feeders: tuple[Series, ...]
    built: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, str, str]:
        return self.exchange, self.market_type, self.symbol


@dataclass(slots=True)
class _Counted:
    """The rows of a day in the table by timeframe, published and built; rows without a timeframe are under ""."""

    own: dict[str, int] = field(default_factory=dict)
    built: dict[str, int] = field(default_factory=dict)


def judge(database: Database, table: Table, days: Collection[date]) -> dict[date, Finding]:
    """Return the finding of each day, and forget the loads that must be repeated.

    A day that was never loaded, or is not in the lake, is not judged.
    """
    found: dict[date, Finding] = {}
    with database.transaction() as connection:
        # A count while another process replaces the rows would find a day that never existed.
        lock_symbol(connection, table.name, *table.keys)
        loaded = _loaded(connection, table, days)
        for first, last in day_spans(loaded):
            counted = _counted(connection, table, first, last)
            due = _built_due(connection, table, loaded, first, last)
            for day, feeders in loaded.items():
                if first <= day <= last:
                    found[day] = _finding(table, feeders, counted[day], due.get(day, {}))
        _forget(connection, table, [day for day, finding in found.items() if not finding.passed])
    nothing = not_judged("the day is not loaded")
    return {day: found.get(day, nothing) for day in sorted(days)}


def loads_of(database: Database, spans: Mapping[Table, tuple[date, date]]) -> dict[Table, Loads]:
    """Return the state of the loads of some tables over spans of days, both ends included; one query for all.

    It uses the recorded loads and earlier findings, and counts no rows.
    """
    tables = list(spans)
    asked = [
        (number, table.name, *table.keys, feeder.dataset, *spans[table])
        for number, table in enumerate(tables)
        for feeder in table.feeders
    ]
    if not asked:
        return {}
    with database.transaction() as connection:
        found = count_loads(connection, asked)
    return {table: found.get(number, Loads()) for number, table in enumerate(tables)}


def loaded_days(database: Database, tables: Sequence[Table]) -> dict[Table, list[date]]:
    """Return all days loaded into some tables, in order; one query for all."""
    asked = [
        (number, table.name, *table.keys, feeder.dataset)
        for number, table in enumerate(tables)
        for feeder in table.feeders
    ]
    if not asked:
        return {}
    with database.transaction() as connection:
        found = every_loaded_day(connection, asked)
    return {table: found.get(number, []) for number, table in enumerate(tables)}


def _loaded(
    connection: psycopg.Connection[Any],
    table: Table,
    days: Collection[date],
) -> dict[date, list[LoadedDay]]:
    loaded: dict[date, list[LoadedDay]] = defaultdict(list)
    for one in days_loaded(connection, table.name, table.keys, [series.dataset for series in table.feeders], days):
        loaded[one.day].append(one)
    return dict(loaded)


def _counted(connection: psycopg.Connection[Any], table: Table, first: date, last: date) -> dict[date, _Counted]:
    """Return the rows of each day in the table; for statistics, the trades that they count."""
    column = TABLES[table.name].time_column
    count = "sum(trade_count)" if table.name == STATISTICS else "count(*)"
    by = "timeframe, source = 'derived'" if table.name == "ohlcv" else "'', false"
    rows = connection.execute(
        f"""SELECT ({column} AT TIME ZONE 'UTC')::date, {by}, {count}::bigint FROM market.{table.name}
        WHERE (exchange, market_type, symbol) = (%s, %s, %s) AND {column} >= %s AND {column} < %s GROUP BY 1, 2, 3""",
        (*table.keys, _instant(first), _instant(last + DAY)),
    ).fetchall()
    counted: dict[date, _Counted] = defaultdict(_Counted)
    for day, timeframe, built, number in rows:
        (counted[day].built if built else counted[day].own)[timeframe] = number
    return counted


def _built_due(
    connection: psycopg.Connection[Any],
    table: Table,
    loaded: Mapping[date, Sequence[LoadedDay]],
    first: date,
    last: date,
) -> dict[date, Mapping[str, int]]:
    """Return the number of bars of each built timeframe that the table's 1m bars should give."""
    if table.name != "ohlcv":
        return {}
    lives = {
        day: one.life
        for day, feeders in loaded.items()
        for one in feeders
        if first <= day <= last and one.dataset == "ohlcv_1m"
    }
    return {day: found.built for day, found in built_due(connection, *table.keys, lives, table.built).items()}


def _finding(table: Table, feeders: Sequence[LoadedDay], counted: _Counted, due: Mapping[str, int]) -> Finding:
    wrong: list[str] = []
    lake = found = 0
    for one in feeders:
        rows = counted.own.get(_timeframe(table, one.dataset), 0)
        lake, found = lake + one.rows, found + rows
        if rows != one.rows:
            wrong.append(f"{one.dataset}: {rows:,} of {one.rows:,} rows")
        elif not one.content:
            wrong.append(f"{one.dataset}: rows were missing before, and the day was not loaded again")
        elif not one.same_version:
            wrong.append(f"{one.dataset}: not the lake's version")
    # Bars of a timeframe that is built no longer stay until the day is loaded again.
    surplus = dict.fromkeys(counted.built if any(one.dataset == "ohlcv_1m" for one in feeders) else (), 0)
    wrong += [
        f"built {timeframe} bars: {counted.built.get(timeframe, 0):,} of {bars:,}"
        for timeframe, bars in (surplus | dict(due)).items()
        if counted.built.get(timeframe, 0) != bars
    ]
    evidence: dict[str, Any] = {"rows": found, "rows_in_lake": lake}
    if due:
        evidence |= {"built_bars": sum(counted.built.get(name, 0) for name in due), "built_bars_due": sum(due.values())}
    if wrong:
        evidence |= {
            "differs": wrong,
            "what_to_do": "`crypto-assets fill` loads the day again, and so does materializing it",
        }
    return Finding(not wrong, evidence)


def _timeframe(table: Table, dataset: str) -> str:
    return dataset.removeprefix("ohlcv_") if table.name == "ohlcv" else ""


def _forget(connection: psycopg.Connection[Any], table: Table, days: Sequence[date]) -> None:
    """Forget the loads of some days, so that they are loaded again."""
    if days:
        forget_days(connection, table.name, table.keys, [series.dataset for series in table.feeders], days)


def _instant(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
