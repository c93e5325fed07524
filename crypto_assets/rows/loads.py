"""What a stored day gives to the warehouse: its own rows, and those that follow from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.model import Partition, Series
from crypto_assets.rows.derive import DERIVED_TIMEFRAMES, Life, longer_bars, trade_statistics


@dataclass(frozen=True, slots=True)
class Load:
    """The rows that one day of a dataset puts into one table of the warehouse, replacing what it put there before.

    `content` identifies the rows: the sha256 of the lake file and how the rows follow from it; a load whose content is
    already there is skipped. `rows` has the columns of the table without exchange, market_type and symbol. For `ohlcv`,
    `timeframes` are the bars that are replaced, and `replaces_derived` adds every derived bar of the day.
    """

    table: str
    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    content: str
    rows: pa.Table
    timeframes: tuple[str, ...] = ()
    replaces_derived: bool = False


@dataclass(frozen=True, slots=True)
class StoredDay:
    """One day in the lake with its rows; `source` is `archive` or `rest`, `life` where the symbol begins or ends in it."""

    partition: Partition
    rows: pa.Table
    sha256: str
    source: str
    life: Life = (None, None)


def warehouse_tables(series: Series, configured: Collection[str] = ()) -> tuple[str, ...]:
    """Return the tables that a series feeds; `configured` names datasets that go there although they need not."""
    tables = []
    if datasets.get(series.table).to_warehouse or series.dataset in configured:
        tables.append(series.table)
    if series.table == "trades":
        tables.append("trade_statistics_1m")
    return tuple(tables)


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
            if table == "trade_statistics_1m":
                result.append(_load(table, series, day, f"{day.sha256}/statistics-1", trade_statistics(day.rows)))
            elif table != "ohlcv":
                result.append(_load(table, series, day, day.sha256, day.rows))
    return result


def _bars(series: Series, days: Sequence[StoredDay], collected: Mapping[str, Collection[str]]) -> list[Load]:
    timeframe = series.timeframe or ""
    built: list[dict[str, pa.Table]] = [{} for _ in days]
    wanted = [tuple(t for t in DERIVED_TIMEFRAMES if t not in collected.get(day.partition.symbol, ())) for day in days]
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
        derives = timeframe == "1m"
        content = f"{day.sha256}/{day.source}" + (f"/derived-1 {' '.join(goals)}" if derives else "")
        if derives and day.life != (None, None):
            content += "/" + " … ".join(edge.isoformat() if edge else "" for edge in day.life)
        result.append(
            _load(
                "ohlcv",
                series,
                day,
                content,
                pa.concat_tables(parts),
                timeframes=(timeframe, *(goals if derives else ())),
                replaces_derived=derives,
            )
        )
    return result


def _labelled(bars: pa.Table, timeframe: str, source: str) -> pa.Table:
    count = bars.num_rows
    return bars.append_column("timeframe", pa.repeat(timeframe, count)).append_column(
        "source", pa.repeat(source, count)
    )


def _load(
    table: str,
    series: Series,
    day: StoredDay,
    content: str,
    rows: pa.Table,
    timeframes: tuple[str, ...] = (),
    replaces_derived: bool = False,
) -> Load:
    return Load(
        table,
        series.exchange,
        series.market_type,
        day.partition.symbol,
        series.dataset,
        day.partition.day,
        content,
        rows,
        timeframes,
        replaces_derived,
    )
