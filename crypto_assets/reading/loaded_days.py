"""Read rows from Postgres with the coverage of each day, for `crypto_assets.read` and the IO managers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.day_records import DayRecord, DayRecords, database_that_is_there, read_records
from crypto_assets.ledger.symbol_rules import load_known_collection
from crypto_assets.model import DAY, TIMEFRAMES, Partition, Series, Track, bar_length
from crypto_assets.reading.day_coverage import DayCoverage
from crypto_assets.reading.question import STATISTICS, Question, did_you_mean_symbol
from crypto_assets.reading.stored_days import cover_warehouse, not_collected, source_of_day
from crypto_assets.rows.timeframes import BUILT_FROM
from crypto_assets.storage.built_bars import BuiltDue, built_due
from crypto_assets.storage.warehouse import TABLES, Warehouse
from crypto_assets.text.urls import postgres_place

if TYPE_CHECKING:
    import pandas as pd


def from_warehouse(asked: Question, *, exact: bool) -> tuple[pd.DataFrame, list[DayCoverage], str, str]:
    """Return rows, coverage, the place they are from, and an empty notice.

    Raises:
        ConfigError: no database, nothing was ever collected into it, or an unknown column or symbol.
    """
    url = database_that_is_there(settings_at_start())
    if url is None:
        raise ConfigError(
            f"source='warehouse': expected a database, found none in {settings_at_start().home}; "
            "set CRYPTO_ASSETS_POSTGRES_URL or CRYPTO_ASSETS_HOME"
        )
    table = STATISTICS if asked.series.dataset == STATISTICS else asked.series.table
    if table not in TABLES:
        raise ConfigError(f"dataset {asked.series.dataset!r}: expected source='lake', Postgres has {', '.join(TABLES)}")
    require_loaded(asked, table)
    frame, days = read_days(url, TableQuestion.of(asked, table), exact=exact)
    return frame, days, where_is(url), ""


def require_loaded(asked: Question, table: str) -> None:
    """Raise ConfigError if collection.yaml collects the rows that are asked for, but does not load them into Postgres.

    What an earlier configuration loaded may still be there, but nobody keeps it up to date.
    """
    try:
        collection = load_known_collection(settings_at_start().config)
    except ConfigError:
        return  # a home without its collection.yaml
    series, symbol = asked.series, asked.symbol
    named = [Series.named(series.exchange, series.market_type, name) for name in sources_of(series)]
    entries = {one: entry for one in named if (entry := collection.entry_of(one, symbol))}
    if not entries or any(table in entry.tables_of(one) for one, entry in entries.items() if one == series):
        return
    feeders = {one: entry for one, entry in entries.items() if table in entry.tables_of(one)}
    built = collection.built_timeframes(series.exchange, series.market_type, symbol)
    if feeders and (table != "ohlcv" or series.timeframe is None or series.timeframe in built):
        return
    name = ", ".join(dict.fromkeys(collection.name_of(entry) for entry in entries.values()))
    if feeders:
        raise ConfigError(
            f"{asked}: expected one of the timeframes that the entry {name} of collection.yaml builds "
            f"({', '.join(built) or 'none'}), found {series.timeframe}; add it to `derived_timeframes`, or use "
            "source='lake' with build_from='ohlcv_1m'"
        )
    if any(entry.has_warehouse for entry in entries.values()):
        raise ConfigError(
            f"{asked}: the entry {name} of collection.yaml does not load it into the warehouse; "
            "use source='lake', or add it to `warehouse` and run `crypto-assets fill`"
        )
    raise ConfigError(
        f"{asked}: this entry has no warehouse ({name} in collection.yaml); use source='lake', or change `warehouse` "
        "there and run `crypto-assets fill`"
    )


@dataclass(frozen=True, slots=True)
class TableQuestion:
    """Rows of one symbol in a table of the warehouse, over [begin, after), UTC.

    `series` without a timeframe means the bars of all timeframes. `days` are those that the span touches. `columns` is None
    for all of them. `to_day_end` says that `after` was given as a day.
    """

    series: Series
    symbol: str
    table: str
    begin: datetime
    after: datetime
    days: Sequence[date]
    columns: Sequence[str] | None = None
    to_day_end: bool = True

    @classmethod
    def of(cls, asked: Question, table: str, columns: Sequence[str] | None = None) -> TableQuestion:
        """Return what somebody asks as a question to a table; `columns` in place of those that were asked for."""
        span = asked.begin, asked.after, asked.days
        return cls(asked.series, asked.symbol, table, *span, columns or asked.columns, asked.to_day_end)


def read_days(url: str, asked: TableQuestion, *, exact: bool = False) -> tuple[pd.DataFrame, list[DayCoverage]]:
    """Return the rows that are asked for, and what is known of the days that they touch."""
    series, symbol, table, days, columns = asked.series, asked.symbol, asked.table, asked.days, asked.columns
    sources = sources_of(series)
    time_column = TABLES[table].time_column
    needed = None if columns is None else list(dict.fromkeys([time_column, *columns]))

    def once() -> tuple[pd.DataFrame, list[DayCoverage], bool]:
        known = None
        if days:
            known = read_records(url, series, symbol, days[0], days[-1], sources, table)
            if known is None:
                raise ConfigError(
                    f"{where_is(url)}: expected tables of crypto_assets, found none; nothing was collected into it"
                )
            if not known.of and known.symbols and symbol not in known.symbols:
                raise ConfigError(
                    f"symbol {symbol}: not among the symbols of {series} in {where_is(url)}; "
                    + did_you_mean_symbol(symbol, sorted(known.symbols))
                )
        with Warehouse(url) as warehouse:
            frame = warehouse.read(
                table,
                Track(series, symbol),
                asked.begin,
                asked.after,
                exact=exact,
                columns=needed,
            )
            due = _due(warehouse, known, series, symbol) if known else {}
        coverage = _cover(asked, known, frame, due, where_is(url)) if known else []
        lost = any(one.state == "missing" and one.rows is not None for one in coverage)
        return frame if needed is None else frame[list(columns or ())], coverage, lost

    frame, coverage, lost = once()
    if lost:  # a run may just have replaced a day between the two reads
        frame, coverage, _ = once()
    return frame, coverage


def where_is(url: str) -> str:
    """Describe a database without its password."""
    return f"Postgres at {postgres_place(url)}"


def sources_of(series: Series) -> list[str]:
    """Return the datasets that give the rows of a series in the warehouse, by priority."""
    if series.dataset == STATISTICS:
        return ["trades"]
    if series.table == "ohlcv" and series.timeframe is None:
        return [f"ohlcv_{name}" for name in TIMEFRAMES]
    if series.timeframe in BUILT_FROM:
        return [series.dataset, "ohlcv_1m"]
    return [series.dataset]


def _due(warehouse: Warehouse, known: DayRecords, series: Series, symbol: str) -> Mapping[date, BuiltDue]:
    """Return the number of bars due from the 1m bars of each day, if the requested bars are built from them."""
    if series.timeframe not in BUILT_FROM:
        return {}
    minutes = known.of.get("ohlcv_1m", {})
    lives = {
        day: record.life
        for day, record in minutes.items()
        if (found := source_of_day(known, sources_of(series), day)) and found[0] != series.dataset
    }
    with warehouse.transaction() as connection:
        return built_due(connection, series.exchange, series.market_type, symbol, lives, [series.timeframe or ""])


def _cover(
    asked: TableQuestion,
    known: DayRecords,
    frame: pd.DataFrame,
    due: Mapping[date, BuiltDue],
    where: str,
) -> list[DayCoverage]:
    series, table, days = asked.series, asked.table, asked.days
    times = frame[TABLES[table].time_column]
    counts = {day.date(): int(count) for day, count in times.dt.floor("D").value_counts().items()}

    def expected(record: DayRecord, dataset: str) -> int | None:
        if table == STATISTICS:
            return record.loaded_rows
        if dataset == series.dataset:
            return record.rows
        found, timeframe = due[record.day], series.timeframe or ""
        if found.minutes == record.rows:
            return found.built[timeframe]
        return DAY // bar_length(timeframe)  # without all minutes nothing proves that fewer bars were due

    def whole(day: date) -> bool:
        partition = Partition("", day)
        return asked.begin <= partition.start and partition.end <= asked.after

    until = None if asked.to_day_end else asked.after
    if table == "ohlcv" and series.timeframe is None:
        # Bars of all timeframes: a day is as complete as its worst dataset; the rows of each are not counted separately.
        by_dataset = [
            cover_warehouse(known, days, [name], where, {}, expected, whole=lambda _: False, until=until)
            for name in known.of
        ] or [list(map(not_collected, days))]
        return [next((one for one in same if not one.complete), same[0]) for same in zip(*by_dataset, strict=True)]
    return cover_warehouse(known, days, sources_of(series), where, counts, expected, whole=whole, until=until)
