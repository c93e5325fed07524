"""Reading what was collected: `crypto_assets.read`."""

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
    """Return the stored rows of one symbol, in the order of time.

    Args:
        exchange: the ccxt id, `binance`.
        symbol: `BTC/USDT`; the settle currency follows from the market type.
        dataset: as in collection.yaml, `ohlcv_1m` or `trades`. From the warehouse also timeframes that were built
            (`ohlcv_1h`) and `trade_statistics_1m`.
        start, end: days (`"2024-01-01"` or a date) are both included; instants (datetime, or text with a time) are
            half-open, [start, end), and UTC where they have no zone.
        market_type: `spot`, `linear` or `inverse`.
        exact: `decimal.Decimal` in place of float64, digit for digit what the exchange published.
        columns: some of the dataset's columns; all by default.
        source: `lake` reads Parquet, `warehouse` reads Postgres.
        as_of: the rows as they were known at this instant, or at the end of this day, UTC: days that were corrected later as
            they stood before, days that were first collected later not at all. From the lake only.
        lock: the file of `crypto-assets lock`: exactly the versions that it names, also where others were published since.
            From the lake only.
        missing: what to do where a day is missing, partial (`degraded`) or not collected yet, or its file is not what the
            ledger says: `raise` IncompleteData, `warn` with IncompleteDataWarning, or `ignore` it. Days that somebody has
            acknowledged as they are only warn.
        verify: compare the bytes of each file with the SHA-256 of the ledger (without a database with what the file says of
            itself) and each page with its checksum, before rows are given. False leaves that out, for the last bit of speed:
            a flipped bit is then another price. Files of `as_of` and `lock` are always compared.

    Returns:
        A DataFrame with a plain index and UTC microsecond times; empty, with the same columns, where nothing is stored.
        `attrs["coverage"]` has a mapping for each day that was asked for: `day`, `state`, `reason`, `rows` (of the whole
        day), `until` (how far a day goes that is not over), `acknowledged`, `complete`. `attrs["looked_in"]` says where.
        Without a database the files of the lake alone decide, and the state of a day is `stored` or `missing`.

    Raises:
        ConfigError: an argument that cannot be, an unknown exchange, market type, dataset or column, a symbol of which
            nothing is stored while other symbols of the series are, a lock that is none, or days that it is not about.
        IncompleteData: a day is not complete; `coverage` says what is known of each.
        StoredDataError: a file that was in force at `as_of`, or that the lock names, is damaged or lost.
        PostgresUnavailable: the database does not answer, so that nobody can say what is complete.
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
    """Return rows, coverage, where that is from, and a line about the lake where it is not the right one."""
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
    """Return rows and coverage as they are now, by the ledger where there is one."""
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
    """Raise ConfigError where other symbols of the series are stored or known, but nothing at all of this one."""
    in_ledger = known.symbols if known else frozenset()
    others = sorted({*(_unified(name, asked) for name in lake.symbols(asked.series)), *in_ledger})
    if others and asked.symbol not in others and not _is_configured(asked):
        raise ConfigError(
            f"symbol {asked.symbol}: it is none of the symbols of {asked.series} that the lake {lake.url} has; "
            + did_you_mean_symbol(asked.symbol, others)
        )


def _unified(name: str, asked: Question) -> str:
    """Return a symbol of the lake, where it is written as in paths, as people write it."""
    try:
        return unified_symbol(name, asked.series.market_type)
    except ValueError:
        return name


def _is_configured(asked: Question) -> bool:
    """Return whether collection.yaml, if there is a good one, has the symbol: then it is not collected yet."""
    from crypto_assets.config.collection import load_collection

    try:
        return load_collection(settings_at_start().config).entry_of(asked.series, asked.symbol) is not None
    except ConfigError:
        return False


# ---- former versions --------------------------------------------------------------------------------------------------


def _as_known(asked: Question, lake: Lake, columns: Sequence[str], at: datetime) -> tuple[pa.Table, list[DayCoverage]]:
    """Return the rows of the days as they were known at an instant."""
    from crypto_assets.ledger.partitions import Ledger

    days, series, symbol = asked.days, asked.series, asked.symbol
    if not days:
        return lake.read_versions(series, [], columns), []
    url = database_that_is_there(settings_at_start())
    records = read_records(url, series, symbol, days[0], days[-1], [series.dataset]) if url else None
    if url is None or records is None:
        raise ConfigError(
            "as_of: expected a ledger that knows former versions, found no database; "
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
            return found()  # a day may just have been replaced; what is lost stays lost


def _then(day: date, file: KnownFile | None, records: DayRecords, dataset: str, at: datetime) -> DayCoverage:
    """Return what is known of a day as of an instant."""
    record = records.of.get(dataset, {}).get(day)
    when = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if file is None:
        if record is None or record.path is None:
            return not_collected(day) if record is None else of_record(record)
        return DayCoverage(day, NOT_COLLECTED, f"not known at {when}, collected later")
    if record is not None and record.sha256 == file.sha256 and file.rows is None:
        return of_record(record)
    return _formerly(file, at, f"as known at {when}; others took its place since")


def _formerly(file: KnownFile, at: datetime, why: str) -> DayCoverage:
    """Return what was known of a day while a former version, or fewer rows of the one in force now, held it."""
    if file.rows is not None:
        # More rows came later: while the day went on it went as far as it could, after its end it was not whole.
        over = at.date() > file.day
        return DayCoverage(
            file.day,
            State.PROVISIONAL,
            f"{why}; more rows of it came later" if over else why,
            file.rows,
            complete=not over,
        )
    if file.state is None:
        return DayCoverage(file.day, STORED, f"{why}; whether it was complete is not known", file.rows_in_all)
    reason = f"{why}; {file.reason}" if file.reason else why
    record = DayRecord(
        file.day, State(file.state), reason, file.rows_in_all, file.path, None, file.sha256, file.until, None, None
    )
    return of_record(record, today=at.date())


def _locked(asked: Question, lake: Lake, columns: Sequence[str]) -> tuple[pa.Table, list[DayCoverage]]:
    """Return the rows of the days as a lock names them."""
    from crypto_assets.quality.lock.content import read_locked
    from crypto_assets.quality.lock.file import read_lock

    assert asked.lock is not None  # noqa: S101  tells the type checker
    lock, days = read_lock(asked.lock), asked.days
    if not days:
        return lake.read_versions(asked.series, [], columns), []
    rows = read_locked(lock, lake, asked.series, asked.symbol, days[0], days[-1], columns)
    return rows, _as_locked(lock, asked, days)


def _as_locked(lock: Lock, asked: Question, days: Sequence[date]) -> list[DayCoverage]:
    """Return what a lock says of days that it is about."""
    track = Track(asked.series, asked.symbol)
    files = {file.day: file for file in lock.files if file.track == track}
    coverage = []
    for day in days:
        if (file := files.get(day)) is not None:
            complete = file.state in COMPLETE_STATES
            coverage.append(DayCoverage(day, file.state, "as locked", file.rows, complete=complete))
            continue
        part = next(part for part in lock.absent if part.track == track and part.first <= day <= part.last)
        state = part.state if part.state in set(State) else NOT_COLLECTED
        coverage.append(DayCoverage(day, state, f"as locked: {part.reason}", complete=state in COMPLETE_STATES))
    return coverage
