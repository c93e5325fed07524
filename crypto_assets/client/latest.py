"""The newest stored row of symbols: `crypto_assets.latest`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.client.forms import Answer, Form, require_form, rows_in, with_facts
from crypto_assets.client.home import home_facts, of_home, the_lake, warn_other_origins
from crypto_assets.client.lake_rows import require_symbol
from crypto_assets.client.read import asked_symbols, require_different
from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.day_records import DayRecords, database_that_is_there, read_records
from crypto_assets.ledger.newest import newest_days
from crypto_assets.model import Series
from crypto_assets.model.symbols import unified_symbol
from crypto_assets.reading.day_coverage import NOT_COLLECTED, DayCoverage
from crypto_assets.reading.question import market_type_of, question
from crypto_assets.reading.stored_days import LakeQuestion, read_lake
from crypto_assets.rows.numpy_arrays import texts, to_arrow
from crypto_assets.storage.lake import Lake


def latest(
    exchange: str,
    symbols: str | Sequence[str] | None = None,
    dataset: str = "ohlcv_1m",
    market_type: str | None = None,
    *,
    as_: Form = "pandas",
    exact: bool = False,
    home: str | Path | None = None,
) -> Answer:
    """Return the newest stored row of each symbol: the last collected price, which may be old. Makes no request.

    Examples:
        >>> latest("binance", ["BTC/USDT", "ETH/USDT"])[["symbol", "open_time", "close"]]
        >>> latest("binance", dataset="trades", exact=True)

    Args:
        exchange, dataset, market_type: as in `read`.
        symbols: one, or a list; default: all stored symbols of the dataset.
        as_: `pandas`, `polars` or `arrow`.
        exact: as in `read`.
        home: as in `read`.

    Returns:
        One row for each symbol: `symbol`, the columns of the dataset (docs/reference/datasets.md), and for the day of the row
        `state` (as in `read`), `complete` and `reason`. A symbol without stored data has state `not_collected`, a symbol
        with a damaged file `missing`; the columns of the dataset are then null.

    Raises:
        ConfigError: an invalid argument, or a symbol without stored data that nothing configures, while others have some.
        PostgresUnavailable: the database does not answer.
    """
    require_form(as_)
    with of_home(home):
        names = None if symbols is None else asked_symbols(symbols)
        # The days and, without names, the symbol only let the arguments be checked as `read` checks them.
        market = market_type or market_type_of(names or [])
        checked = [
            question(exchange, name, dataset, "2000-01-01", "2000-01-01", market) for name in names or ["BTC/USDT"]
        ]
        require_different(checked)
        warn_other_origins([exchange])
        asked = checked if names is not None else []
        series, lake = checked[0].series, the_lake()
        url = database_that_is_there(settings_at_start())
        newest = _newest_days(lake, url, series, [one.symbol for one in asked] or None)
        for one in asked:
            if one.symbol not in newest:
                require_symbol(one, lake, url)
        wanted = [one.symbol for one in asked] or list(newest)
        found = [_newest_row(lake, url, series, symbol, newest.get(symbol)) for symbol in wanted]
        facts = {"looked_in": f"the lake {lake.url}", **home_facts()}
        return with_facts(rows_in(as_, _table(series, wanted, found), exact=exact), facts)


def _newest_days(lake: Lake, url: str | None, series: Series, symbols: Sequence[str] | None) -> dict[str, date]:
    """Return the newest stored day of each symbol, from the ledger if there is one, otherwise from the lake's listing."""
    if url is not None:
        from crypto_assets.ledger.partitions import Ledger
        from crypto_assets.storage.migrations import migrate

        migrate(url)
        with Ledger(url) as ledger, ledger.transaction() as connection:
            return newest_days(connection, series, symbols)
    if symbols is None:
        symbols = sorted(unified_symbol(name, series.market_type) for name in lake.symbols(series))
    listed = {symbol: lake.days(series, symbol) for symbol in symbols}
    return {symbol: days[-1] for symbol, days in listed.items() if days}


def _newest_row(
    lake: Lake, url: str | None, series: Series, symbol: str, day: date | None
) -> tuple[pa.Table | None, DayCoverage]:
    if day is None:
        return None, DayCoverage(date.min, NOT_COLLECTED, "nothing is stored")
    columns = datasets.get(series.table).schema.names

    def records() -> DayRecords | None:
        return None if url is None else read_records(url, series, symbol, day, day, [series.dataset])

    found = read_lake(lake, records, LakeQuestion(series, symbol, [day], columns))
    count = found.rows.num_rows
    return (found.rows.slice(count - 1) if count else None), found.coverage[0]


def _table(series: Series, symbols: Sequence[str], found: Sequence[tuple[pa.Table | None, DayCoverage]]) -> pa.Table:
    """Return the rows with the symbol before and the state of their day after; nulls if there is no row."""
    if not symbols:
        raise ConfigError(f"nothing of {series} is stored; `crypto-assets collect` collects it")
    fields = [field.with_nullable(True) for field in datasets.get(series.table).schema]
    schema = pa.schema(fields)
    rows = pa.concat_tables(
        pa.table([pa.nulls(1, field.type) for field in fields], schema=schema) if row is None else row.cast(schema)
        for row, _ in found
    )
    days = [one for _, one in found]
    rows = rows.add_column(0, "symbol", texts(symbols))
    rows = rows.append_column("state", texts([str(one.state) for one in days]))
    rows = rows.append_column("complete", to_arrow(np.array([one.complete for one in days], dtype=bool)))
    return rows.append_column("reason", texts([one.reason for one in days]))
