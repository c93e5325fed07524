"""`crypto_assets.read`: read the collected rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError, PostgresUnavailable, StoredDataError
from crypto_assets.ledger.day_records import DayRecord, DayRecords, database_that_is_there, read_records
from crypto_assets.model import COMPLETE_STATES, State, Track
from crypto_assets.model.symbols import unified_symbol
from crypto_assets.reading.day_coverage import (
    NOT_COLLECTED,
    STORED,
    DayCoverage,
    Explained,
    Missing,
    require_known,
    settle,
)
from crypto_assets.reading.question import Moment, Question, did_you_mean_symbol, question
from crypto_assets.reading.stored_days import not_collected, of_record, read_lake

if TYPE_CHECKING:
    import pandas as pd

    from crypto_assets.ledger.corrections import KnownFile
    from crypto_assets.quality.lock.content import Lock
    from crypto_assets.storage.lake import Lake


def read(
    exchange: str,
    symbol: str,
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str = "spot",
    *,
    exact: bool = False,
    columns: Sequence[str] | None = None,
    source: Literal["lake", "warehouse"] = "lake",
    as_of: Moment | None = None,
    lock: str | Path | None = None,
    missing: Missing = "raise",
    verify: bool = True,
) -> pd.DataFrame:
    """Return the stored rows of one symbol, in time order.

    Args:
        exchange: the ccxt id, `binance`.
        symbol: `BTC/USDT`; the settle currency follows from the market type.
        dataset: as in collection.yaml, `ohlcv_1m` or `trades`. From the warehouse also timeframes that were built
            (`ohlcv_1h`) and `trade_statistics_1m`.
        start, end: days (`"2024-01-01"` or a date) are both included; instants (datetime, or text with a time) are
            half-open, [start, end), and UTC if they have no zone.
        market_type: `spot`, `linear` or `inverse`.
        exact: `decimal.Decimal` instead of float64, digit for digit what the exchange published.
        columns: some of the dataset's columns; default: all.
        source: `lake` reads Parquet, `warehouse` reads Postgres.
        as_of: the rows as known at this instant, or at the end of this day, UTC: days corrected later as they were before,
            without days that were first collected later. Lake only.
        lock: a file written by `crypto-assets lock`: exactly the versions it lists, even if others were published since.
            Lake only.
        missing: what to do if a day is missing, partial (`degraded`) or not collected yet, or if its file differs from the
            ledger: `raise` IncompleteData, `warn` with IncompleteDataWarning, or `ignore` it. Acknowledged days only warn.
        verify: before rows are returned, compare the bytes of each file with the SHA-256 in the ledger (without a database
            with the file's own metadata) and each page with its checksum. False skips this for the last bit of speed: a
            flipped bit is then another price. Files of `as_of` and `lock` are always compared.

    Returns:
        A DataFrame with a plain index and UTC microsecond times; empty, with the same columns, if nothing is stored.
        `attrs["coverage"]` has a mapping for each requested day: `day`, `state`, `reason`, `rows` (of the whole day),
        `until` (how far an unfinished day goes), `acknowledged`, `complete`. `attrs["looked_in"]` is the place of the data.
        Without a database only the files of the lake decide, and the state of a day is `stored` or `missing`.

    Raises:
        ConfigError: an invalid argument, an unknown exchange, market type, dataset or column, a symbol without stored data
            while other symbols of the series have some, an invalid lock, or days outside the lock.
        IncompleteData: a day is incomplete; `coverage` describes each day.
        StoredDataError: a file in force at `as_of`, or listed in the lock, is damaged or lost.
        PostgresUnavailable: the database does not answer, and completeness cannot be known.
    """
    require_known(missing)
    asked = question(exchange, symbol, dataset, start, end, market_type, columns, source, as_of, lock)
    if asked.source == "warehouse":
        from crypto_assets.reading.loaded_days import from_warehouse

        frame, days, where, notice = from_warehouse(asked, exact=exact)
    else:
        frame, days, where, notice = _from_lake(asked, missing, exact=exact, verify=verify)

    def explained(incomplete: Sequence[DayCoverage]) -> Explained:
        from crypto_assets.reading.remedies import explain

        return explain(asked, incomplete)

    frame.attrs["coverage"] = settle(str(asked), where, days, len(frame), missing, notice=notice, explain=explained)
    frame.attrs["looked_in"] = where
    return frame


def _from_lake(
    asked: Question, missing: Missing, *, exact: bool, verify: bool
) -> tuple[pd.DataFrame, list[DayCoverage], str, str]:
    """Return rows, coverage, the place of the data, and a notice if the lake is not the ledger's lake."""
    from crypto_assets.rows.frames import to_frame
    from crypto_assets.storage.lake import Lake

    dataset = datasets.get(asked.series.table)
    if unknown := [name for name in asked.columns or () if name not in dataset.schema.names]:
        raise ConfigError(f"columns {', '.join(unknown)}: expected some of {', '.join(dataset.schema.names)}")
    wanted = list(asked.columns or dataset.schema.names)
    needed = list(dict.fromkeys([dataset.time_column, *wanted]))
    lake = Lake(settings_at_start().lake)
    lake.require_known_format()
    notice = ""
    if asked.lock is not None:
        rows, days = _locked(asked, lake, needed)
    elif asked.known_at is not None:
        rows, days = _as_known(asked, lake, needed, asked.known_at)
    else:
        rows, days, notice = _now(asked, lake, needed, missing, verify=verify)
    if not asked.is_whole_days:
        times = rows.column(dataset.time_column)
        inside = pc.and_(pc.greater_equal(times, pa.scalar(asked.begin)), pc.less(times, pa.scalar(asked.after)))
        rows = rows.filter(inside)
    rows = rows.select(wanted)
    return rows.to_pandas() if exact else to_frame(rows), days, f"the lake {lake.url}", notice


def _now(
    asked: Question, lake: Lake, columns: Sequence[str], missing: Missing, *, verify: bool
) -> tuple[pa.Table, list[DayCoverage], str]:
    """Return the present rows and coverage, with the ledger if there is one."""
    days = asked.days
    if not days:
        return read_lake(lake, lambda: None, asked.series, asked.symbol, (), columns).rows, [], ""
    url = database_that_is_there(settings_at_start())
    last: list[DayRecords | None] = [None]

    def records() -> DayRecords | None:
        if url is None:
            return None
        try:
            last[0] = read_records(url, asked.series, asked.symbol, days[0], days[-1], [asked.series.dataset])
        except PostgresUnavailable:
            if missing == "raise":
                raise
        return last[0]

    until = None if asked.to_day_end else asked.after
    found = read_lake(lake, records, asked.series, asked.symbol, days, columns, until=until, verify=verify)
    known = last[0]
    if not found.rows.num_rows and not (known and known.of):
        _require_stored(asked, lake, known)
    return found.rows, found.coverage, found.notice


def _require_stored(asked: Question, lake: Lake, known: DayRecords | None) -> None:
    """Raise ConfigError if other symbols of the series are stored or known, but nothing of this one."""
    in_ledger = known.symbols if known else frozenset()
    others = sorted({*(_unified(name, asked) for name in lake.symbols(asked.series)), *in_ledger})
    if others and asked.symbol not in others and not _is_configured(asked):
        raise ConfigError(
            f"symbol {asked.symbol}: not among the symbols of {asked.series} in the lake {lake.url}; "
            + did_you_mean_symbol(asked.symbol, others)
        )


def _unified(name: str, asked: Question) -> str:
    """Return a symbol of the lake, written as in paths, in its unified form."""
    try:
        return unified_symbol(name, asked.series.market_type)
    except ValueError:
        return name


def _is_configured(asked: Question) -> bool:
    """Return whether a valid collection.yaml has the symbol: then it is not collected yet."""
    from crypto_assets.config.collection import load_collection

    try:
        return load_collection(settings_at_start().config).entry_of(asked.series, asked.symbol) is not None
    except ConfigError:
        return False


# ---- earlier versions -------------------------------------------------------------------------------------------------


def _as_known(asked: Question, lake: Lake, columns: Sequence[str], at: datetime) -> tuple[pa.Table, list[DayCoverage]]:
    """Return the rows of the days as known at an instant."""
    from crypto_assets.ledger.partitions import Ledger

    days, series, symbol = asked.days, asked.series, asked.symbol
    if not days:
        return lake.read_versions(series, [], columns), []
    url = database_that_is_there(settings_at_start())
    records = read_records(url, series, symbol, days[0], days[-1], [series.dataset]) if url else None
    if url is None or records is None:
        raise ConfigError(
            "as_of: expected a ledger with earlier versions, found no database; "
            f"set CRYPTO_ASSETS_POSTGRES_URL or CRYPTO_ASSETS_HOME (now {settings_at_start().home})"
        )
    with Ledger(url) as ledger:

        def found() -> tuple[pa.Table, list[DayCoverage]]:
            files = ledger.known_files(series, symbol, days[0], days[-1], at)
            for file in files:
                if file.path is None:
                    raise StoredDataError(
                        f"{series} {symbol} {file.day}: expected the version that was known at {at:%Y-%m-%d %H:%M:%S} UTC, "
                        "found its file damaged or deleted before it was replaced; ask for other days or a later as_of"
                    )
            named = [(file.path or "", file.sha256, file.rows) for file in files]
            known = {file.day: file for file in files}
            rows = lake.read_versions(series, named, columns)
            return rows, [_then(day, known.get(day), records, series.dataset, at) for day in days]

        try:
            return found()
        except StoredDataError:
            return found()  # a day may just have been replaced; if it is lost, this fails again


def _then(day: date, file: KnownFile | None, records: DayRecords, dataset: str, at: datetime) -> DayCoverage:
    """Return the coverage of a day as of an instant."""
    record = records.of.get(dataset, {}).get(day)
    when = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if file is None:
        if record is None or record.path is None:
            return not_collected(day) if record is None else of_record(record)
        return DayCoverage(day, NOT_COLLECTED, f"not known at {when}, collected later")
    if record is not None and record.sha256 == file.sha256 and file.rows is None:
        return of_record(record)
    return _formerly(file, at, f"as known at {when}; replaced since")


def _formerly(file: KnownFile, at: datetime, why: str) -> DayCoverage:
    """Return the coverage of a day from an earlier version, or from fewer rows of the present one."""
    if file.rows is not None:
        # More rows arrived later: a day that was still running was as complete as possible, a finished day was not.
        over = at.date() > file.day
        return DayCoverage(
            file.day,
            State.PROVISIONAL,
            f"{why}; more rows were added later" if over else why,
            file.rows,
            complete=not over,
        )
    if file.state is None:
        return DayCoverage(file.day, STORED, f"{why}; whether it was complete is unknown", file.rows_in_all)
    reason = f"{why}; {file.reason}" if file.reason else why
    record = DayRecord(
        file.day, State(file.state), reason, file.rows_in_all, file.path, None, file.sha256, file.until, None, None
    )
    return of_record(record, today=at.date())


def _locked(asked: Question, lake: Lake, columns: Sequence[str]) -> tuple[pa.Table, list[DayCoverage]]:
    """Return the rows of the days from the files that a lock lists."""
    from crypto_assets.quality.lock.content import read_locked
    from crypto_assets.quality.lock.file import read_lock

    assert asked.lock is not None  # noqa: S101  tells the type checker
    lock, days = read_lock(asked.lock), asked.days
    if not days:
        return lake.read_versions(asked.series, [], columns), []
    rows = read_locked(lock, lake, asked.series, asked.symbol, days[0], days[-1], columns)
    return rows, _as_locked(lock, asked, days)


def _as_locked(lock: Lock, asked: Question, days: Sequence[date]) -> list[DayCoverage]:
    """Return the coverage of days from a lock."""
    track = Track(asked.series, asked.symbol)
    files = {file.day: file for file in lock.files if file.track == track}
    coverage = []
    for day in days:
        if (file := files.get(day)) is not None:
            complete = file.state in COMPLETE_STATES
            coverage.append(DayCoverage(day, file.state, "as locked", file.rows, complete=complete))
            continue
        part = next(part for part in lock.without_file if part.track == track and part.first <= day <= part.last)
        state = part.state if part.state in set(State) else NOT_COLLECTED
        coverage.append(DayCoverage(day, state, f"as locked: {part.reason}", complete=state in COMPLETE_STATES))
    return coverage
