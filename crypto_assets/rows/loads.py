"""Build the warehouse rows of a stored day: its own rows, and the rows derived from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.model import Partition, Series
from crypto_assets.rows.derive import Life, longer_bars, trade_statistics
from crypto_assets.rows.on_disk import RowsOnDisk, whole
from crypto_assets.rows.timeframes import BUILT_FROM

STATISTICS = "trade_statistics_1m"
"""The table that is built from trades."""


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

    rows: pa.Table | RowsOnDisk
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
    rows: pa.Table | RowsOnDisk
    sha256: str
    source: str
    life: Life = (None, None)


def warehouse_tables(series: Series, configured: Collection[str] | None = None) -> tuple[str, ...]:
    """Return the tables that a series feeds: the default ones, or exactly those of the datasets in `configured`."""
    table = datasets.get(series.table)
    own = table.to_warehouse if configured is None else series.dataset in configured
    statistics = series.table == "trades" and (configured is None or STATISTICS in configured)
    return (*([table.table] if own else ()), *([STATISTICS] if statistics else ()))


def plans(
    series: Series, days: Sequence[DayFile], tables: Collection[str], built: Mapping[str, Collection[str]]
) -> list[LoadPlan]:
    """Return the loads of `loads` without building the rows."""
    return [
        LoadPlan(*_names(series, day, table), _content(series, day, table, _goals(series, day, built)))
        for table in tables
        for day in days
    ]


def loads(
    series: Series, days: Sequence[StoredDay], tables: Collection[str], built: Mapping[str, Collection[str]]
) -> list[Load]:
    """Return the loads of some stored days, for each of `tables` (`warehouse_tables`).

    Args:
        built: for each symbol, the timeframes that are built from its 1m bars; of others nothing is built.
    """
    result: list[Load] = []
    if "ohlcv" in tables:
        result += _bars(series, days, built)
    for table in tables:
        for day in days:
            if table != "ohlcv":
                rows = trade_statistics(day.rows) if table == STATISTICS else day.rows
                result.append(Load(*_names(series, day, table), _content(series, day, table), rows))
    return result


def _bars(series: Series, days: Sequence[StoredDay], timeframes: Mapping[str, Collection[str]]) -> list[Load]:
    timeframe = series.timeframe or ""
    built: list[dict[str, pa.Table]] = [{} for _ in days]
    wanted = [_goals(series, day, timeframes) for day in days]
    if timeframe == "1m":
        for goal in set(wanted):
            places = [place for place, mine in enumerate(wanted) if mine == goal]
            lives = [days[place].life for place in places]
            made = longer_bars([whole(days[place].rows) for place in places], goal, lives)
            for place, bars in zip(places, made, strict=True):
                built[place] = bars
    result = []
    for day, bars, goals in zip(days, built, wanted, strict=True):
        parts = [_labelled(whole(day.rows), timeframe, day.source)]
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


def _goals(series: Series, day: DayFile | StoredDay, built: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the timeframes that are built from a day."""
    if series.timeframe != "1m":
        return ()
    mine = built.get(day.partition.symbol, ())
    return tuple(timeframe for timeframe in BUILT_FROM if timeframe in mine)


def _content(series: Series, day: DayFile | StoredDay, table: str, goals: Sequence[str] = ()) -> str:
    if table == STATISTICS:
        return f"{day.sha256}/statistics-1"
    if table != "ohlcv":
        return day.sha256
    content = f"{day.sha256}/{day.source}"
    if series.timeframe == "1m":
        content += f"/{derivation(goals)}"
        if day.life != (None, None):
            content += "/" + " … ".join(edge.isoformat() if edge else "" for edge in day.life)
    return content


def derivation(timeframes: Sequence[str]) -> str:
    """Return the part of a content id that names the timeframes that were built, ascending."""
    return f"derived-1 {' '.join(timeframes)}"


def _names(series: Series, day: DayFile | StoredDay, table: str) -> tuple[str, str, str, str, str, date]:
    place = day.partition
    return table, series.exchange, series.market_type, place.symbol, series.dataset, place.day


def _labelled(bars: pa.Table, timeframe: str, source: str) -> pa.Table:
    count = bars.num_rows
    return bars.append_column("timeframe", pa.repeat(timeframe, count)).append_column(
        "source", pa.repeat(source, count)
    )
