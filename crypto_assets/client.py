"""Reading what was collected: `crypto_assets.read`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.config import settings
from crypto_assets.errors import ConfigError
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

    Returns:
        A DataFrame with a plain index and UTC microsecond times; empty, with the same columns, where nothing is stored.

    Raises:
        ConfigError: an unknown dataset, column or symbol text, an end before the start, or a symbol of which nothing is
            stored while other symbols of the series are.
    """
    try:
        series = Series.named(exchange, market_type, dataset)
        unified = unified_symbol(symbol, market_type)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    begin, after = _bounds(start, end)
    if source == "warehouse":
        return _from_warehouse(series, unified, begin, after, exact, columns)
    return _from_lake(series, unified, begin, after, exact, columns)


def _bounds(start: Moment, end: Moment) -> tuple[datetime, datetime]:
    """Return [start, end) as UTC instants; a day as the end means up to its last instant."""
    begin, _ = _instant("start", start)
    after, is_day = _instant("end", end)
    if is_day:
        after += DAY
    if after < begin:
        raise ConfigError(f"start {start}, end {end}: expected the start before the end")
    return begin, after


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
    series: Series, symbol: str, begin: datetime, after: datetime, exact: bool, columns: Sequence[str] | None
) -> pd.DataFrame:
    from crypto_assets.collection.frames import to_frame
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
    lake = Lake(settings().lake)
    if last < begin.date():
        rows = pa.schema([dataset.schema.field(name) for name in needed]).empty_table()
    else:
        rows = lake.read(series, symbol, begin.date(), last, needed)
    times = rows.column(dataset.time_column)
    if begin.time() != time() or after.time() != time():
        rows = rows.filter(pc.and_(pc.greater_equal(times, pa.scalar(begin)), pc.less(times, pa.scalar(after))))
    if rows.num_rows == 0:
        _require_stored(lake, series, symbol)
    rows = rows.select(wanted)
    return rows.to_pandas() if exact else to_frame(rows)


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

    url = postgres_url(settings())
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
