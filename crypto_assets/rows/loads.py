"""Build the warehouse rows of a stored day: its own rows, and the rows derived from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.model import Partition, Series
from crypto_assets.rows.derive import DERIVED_TIMEFRAMES, Life, longer_bars, trade_statistics

_STATISTICS = "trade_statistics_1m"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The load of one day of a dataset into one warehouse table; its rows may not be built yet.

    `content` identifies the rows: the sha256 of the lake file and the rules of derivation. A table with this content needs
    no load.
    """

    table: str
    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    content: str


@dataclass(frozen=True, slots=True)
class Load(LoadPlan):
    """The rows that one day of a dataset puts into one warehouse table, replacing its earlier ones.

    `rows` has the columns of the table without exchange, market_type and symbol. For `ohlcv`, `timeframes` are the replaced
    bars, and `replaces_derived` adds every derived bar of the day.
    """

    rows: pa.Table
    timeframes: tuple[str, ...] = ()
    replaces_derived: bool = False


@dataclass(frozen=True, slots=True)
class DayFile:
    """One day in the lake, as far as a plan needs it; `source` and `life` as of `StoredDay`."""

    partition: Partition
    sha256: str
    source: str
    life: Life = (None, None)


@dataclass(frozen=True, slots=True)
class StoredDay:
    """One day in the lake with its rows; `source` is `archive` or `rest`, `life` when the symbol begins or ends in it."""

    partition: Partition
    rows: pa.Table
    sha256: str
    source: str
    life: Life = (None, None)


def warehouse_tables(series: Series, configured: Collection[str] = ()) -> tuple[str, ...]:
    """Return the tables that a series feeds; `configured` lists datasets loaded by configuration."""
    tables = []
    if datasets.get(series.table).to_warehouse or series.dataset in configured:
        tables.append(series.table)
    if series.table == "trades":
        tables.append(_STATISTICS)
    return tuple(tables)


def plans(
    series: Series, days: Sequence[DayFile], tables: Collection[str], collected: Mapping[str, Collection[str]]
) -> list[LoadPlan]:
    """Return the loads of `loads` without building the rows."""
    return [
        LoadPlan(*_names(series, day, table), _content(series, day, table, _goals(series, day, collected)))
        for table in tables
        for day in days
    ]


def loads(
    series: Series, days: Sequence[StoredDay], tables: Collection[str], collected: Mapping[str, Collection[str]]
) -> list[Load]:
    """Return the loads of some stored days, for each of `tables` (`warehouse_tables`).

    Args:
        collected: for each symbol, the timeframes that are collected as published; these are never built.
    """
    result: list[Load] = []
    if "ohlcv" in tables:
        result += _bars(series, days, collected)
    for table in tables:
        for day in days:
            if table != "ohlcv":
                rows = trade_statistics(day.rows) if table == _STATISTICS else day.rows
                result.append(Load(*_names(series, day, table), _content(series, day, table), rows))
    return result


def _bars(series: Series, days: Sequence[StoredDay], collected: Mapping[str, Collection[str]]) -> list[Load]:
    timeframe = series.timeframe or ""
    built: list[dict[str, pa.Table]] = [{} for _ in days]
    wanted = [_goals(series, day, collected) for day in days]
    if timeframe == "1m":
        for goal in set(wanted):
            places = [place for place, mine in enumerate(wanted) if mine == goal]
            lives = [days[place].life for place in places]
            made = longer_bars([days[place].rows for place in places], goal, lives)
            for place, bars in zip(places, made, strict=True):
                built[place] = bars
    result = []
    for day, bars, goals in zip(days, built, wanted, strict=True):
        parts = [_labelled(day.rows, timeframe, day.source)]
        parts += [_labelled(rows, name, "derived") for name, rows in bars.items() if rows.num_rows]
        result.append(
            Load(
                *_names(series, day, "ohlcv"),
                _content(series, day, "ohlcv", goals),
                pa.concat_tables(parts),
                timeframes=(timeframe, *goals),
                replaces_derived=timeframe == "1m",
            )
        )
    return result


def _goals(series: Series, day: DayFile | StoredDay, collected: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the timeframes that are built from a day."""
    if series.timeframe != "1m":
        return ()
    return tuple(t for t in DERIVED_TIMEFRAMES if t not in collected.get(day.partition.symbol, ()))


def _content(series: Series, day: DayFile | StoredDay, table: str, goals: Sequence[str] = ()) -> str:
    if table == _STATISTICS:
        return f"{day.sha256}/statistics-1"
    if table != "ohlcv":
        return day.sha256
    content = f"{day.sha256}/{day.source}"
    if series.timeframe == "1m":
        content += f"/derived-1 {' '.join(goals)}"
        if day.life != (None, None):
            content += "/" + " … ".join(edge.isoformat() if edge else "" for edge in day.life)
    return content


def _names(series: Series, day: DayFile | StoredDay, table: str) -> tuple[str, str, str, str, str, date]:
    place = day.partition
    return table, series.exchange, series.market_type, place.symbol, series.dataset, place.day


def _labelled(bars: pa.Table, timeframe: str, source: str) -> pa.Table:
    count = bars.num_rows
    return bars.append_column("timeframe", pa.repeat(timeframe, count)).append_column(
        "source", pa.repeat(source, count)
    )
