"""Reading what was collected: `crypto_assets.read`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.config import settings_at_start
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.model import DAY, Series, path_symbol, unified_symbol

if TYPE_CHECKING:
    import pandas as pd

    from crypto_assets.storage.lake import Lake

Moment = str | date | datetime


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

    Returns:
        A DataFrame with a plain index and UTC microsecond times; empty, with the same columns, where nothing is stored.

    Raises:
        ConfigError: an unknown dataset, column or symbol text, an end before the start, a symbol of which nothing is
            stored while other symbols of the series are, `as_of` or `lock` for the warehouse or both at once, a lock that
            is none, or days that it is not about.
        StoredDataError: a file that was in force at `as_of`, or that the lock names, is damaged or lost.
    """
    try:
        series = Series.named(exchange, market_type, dataset)
        unified = unified_symbol(symbol, market_type)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    begin, after = _bounds(start, end)
    known_at = None if as_of is None else _known_at(as_of)
    if known_at is not None and lock is not None:
        raise ConfigError("as_of and lock: expected one of them; a lock names its versions itself")
    if source == "warehouse":
        if known_at is not None or lock is not None:
            raise ConfigError(
                f"{'lock' if lock is not None else 'as_of'}: expected source='lake', found 'warehouse'; Postgres holds the "
                "newest version of each day only, the lake keeps the former ones"
            )
        return _from_warehouse(series, unified, begin, after, exact, columns)
    return _from_lake(series, unified, begin, after, exact, columns, known_at, lock)


def _bounds(start: Moment, end: Moment) -> tuple[datetime, datetime]:
    """Return [start, end) as UTC instants; a day as the end means up to its last instant."""
    begin, _ = _instant("start", start)
    after, is_day = _instant("end", end)
    if is_day:
        after += DAY
    if after < begin:
        raise ConfigError(f"start {start}, end {end}: expected the start before the end")
    return begin, after


def _known_at(moment: Moment) -> datetime:
    """Return the instant that `as_of` means; a day means its last one."""
    instant, is_day = _instant("as_of", moment)
    return instant + DAY - timedelta(microseconds=1) if is_day else instant


def _instant(name: str, moment: Moment) -> tuple[datetime, bool]:
    if isinstance(moment, str):
        try:
            moment = _parse(moment)
        except ValueError:
            raise ConfigError(f"{name}: expected a day like 2024-01-31 or an ISO instant, found {moment!r}") from None
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC), False
    return datetime.combine(moment, time(), UTC), True


def _parse(text: str) -> date:
    """Return a date for a date in any ISO form, a datetime for what is more than a date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)


def _from_lake(
    series: Series,
    symbol: str,
    begin: datetime,
    after: datetime,
    exact: bool,
    columns: Sequence[str] | None,
    known_at: datetime | None,
    lock: str | Path | None,
) -> pd.DataFrame:
    from crypto_assets.rows.frames import to_frame
    from crypto_assets.storage.lake import Lake

    if series.table not in datasets.all_datasets():
        known = ", ".join(sorted(datasets.all_datasets()))
        raise ConfigError(f"dataset {series.dataset!r}: expected ohlcv_<timeframe> or one of {known}")
    dataset = datasets.get(series.table)
    unknown = [name for name in columns or () if name not in dataset.schema.names]
    if unknown:
        raise ConfigError(f"columns {', '.join(unknown)}: expected some of {', '.join(dataset.schema.names)}")
    wanted = list(columns) if columns is not None else list(dataset.schema.names)
    needed = list(dict.fromkeys([dataset.time_column, *wanted]))
    last = (after - timedelta(microseconds=1)).date()
    lake = Lake(settings_at_start().lake)
    if last < begin.date():
        rows = pa.schema([dataset.schema.field(name) for name in needed]).empty_table()
    elif lock is not None:
        from crypto_assets.quality.lock import read_lock, read_locked

        rows = read_locked(read_lock(lock), lake, series, symbol, begin.date(), last, needed)
    elif known_at is not None:
        rows = _as_known(lake, series, symbol, begin.date(), last, needed, known_at)
    else:
        rows = lake.read(series, symbol, begin.date(), last, needed)
    times = rows.column(dataset.time_column)
    if begin.time() != time() or after.time() != time():
        rows = rows.filter(pc.and_(pc.greater_equal(times, pa.scalar(begin)), pc.less(times, pa.scalar(after))))
    if rows.num_rows == 0:
        _require_stored(lake, series, symbol)
    rows = rows.select(wanted)
    return rows.to_pandas() if exact else to_frame(rows)


def _as_known(
    lake: Lake, series: Series, symbol: str, first: date, last: date, columns: Sequence[str], at: datetime
) -> pa.Table:
    """Return the rows of the days from first to last, both included, as they were known at an instant."""
    from crypto_assets.collection.records.ledger import Ledger
    from crypto_assets.storage import postgres_url
    from crypto_assets.storage.migrations import migrate

    url = postgres_url(settings_at_start(), make=False)
    migrate(url)
    with Ledger(url) as ledger:

        def found() -> pa.Table:
            files = []
            for file in ledger.known_files(series, symbol, first, last, at):
                if file.path is None:
                    raise StoredDataError(
                        f"{series} {symbol} {file.day}: expected the version that was known at {at:%Y-%m-%d %H:%M:%S} UTC, "
                        "found that its file was damaged or gone before it was replaced; ask for other days or a later as_of"
                    )
                files.append((file.path, file.sha256, file.rows))
            return lake.read_versions(series, files, columns)

        try:
            return found()
        except StoredDataError:
            return found()  # a day may just have been replaced; what is lost stays lost


def _require_stored(lake: Lake, series: Series, symbol: str) -> None:
    """Raise ConfigError where the lake has other symbols of the series, but nothing at all of this one."""
    stored = lake.symbols(series)
    if stored and path_symbol(symbol) not in stored:
        close = get_close_matches(path_symbol(symbol), stored, n=1)
        hint = f"did you mean {close[0]}?" if close else f"stored are {', '.join(stored[:10])}"
        raise ConfigError(f"symbol {symbol}: nothing of {series} is stored; {hint}")


def _from_warehouse(
    series: Series, symbol: str, begin: datetime, after: datetime, exact: bool, columns: Sequence[str] | None
) -> pd.DataFrame:
    from crypto_assets.storage import postgres_url
    from crypto_assets.storage.migrations import migrate
    from crypto_assets.storage.warehouse import Warehouse

    url = postgres_url(settings_at_start(), make=False)
    migrate(url)
    with Warehouse(url) as warehouse:
        return warehouse.read(
            series.table,
            series.exchange,
            series.market_type,
            symbol,
            begin,
            after,
            timeframe=series.timeframe,
            exact=exact,
            columns=columns,
        )
