"""Rows of symbols: `crypto_assets.read`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

import numpy as np
import pyarrow as pa

from crypto_assets.client.forms import Answer, Form, require_form, rows_in, with_facts
from crypto_assets.client.home import home_facts, of_home, warn_other_origins
from crypto_assets.client.lake_rows import Found, from_lake
from crypto_assets.errors import ConfigError, IncompleteData
from crypto_assets.reading.build import Build, build_of, target_of
from crypto_assets.reading.day_coverage import Coverage, DayCoverage, Explained, Missing, require_known, settle
from crypto_assets.reading.question import Moment, Question, market_type_of, question
from crypto_assets.rows.numpy_arrays import labels, texts

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


_MOST_SYMBOLS_SAID = 8


class Options(TypedDict, total=False):
    """The options of `read` that do not change the type of the result; described in `read`."""

    exact: bool
    columns: Sequence[str] | None
    source: Literal["lake", "warehouse"]
    as_of: Moment | None
    lock: str | Path | None
    missing: Missing
    verify: bool
    build_from: str | None
    home: str | Path | None


@overload
def read(
    exchange: str,
    symbols: str | Sequence[str],
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str | None = None,
    *,
    as_: Literal["pandas"] = "pandas",
    **options: Unpack[Options],
) -> pd.DataFrame: ...
@overload
def read(
    exchange: str,
    symbols: str | Sequence[str],
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str | None = None,
    *,
    as_: Literal["polars"],
    **options: Unpack[Options],
) -> pl.DataFrame: ...
@overload
def read(
    exchange: str,
    symbols: str | Sequence[str],
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str | None = None,
    *,
    as_: Literal["arrow"],
    **options: Unpack[Options],
) -> pa.Table: ...
def read(
    exchange: str,
    symbols: str | Sequence[str],
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str | None = None,
    *,
    as_: Form = "pandas",
    exact: bool = False,
    columns: Sequence[str] | None = None,
    build_from: str | None = None,
    source: Literal["lake", "warehouse"] = "lake",
    as_of: Moment | None = None,
    lock: str | Path | None = None,
    missing: Missing = "raise",
    verify: bool = True,
    home: str | Path | None = None,
) -> Answer:
    """Return the stored rows of one or several symbols, in time order; an error lists incomplete days.

    Examples:
        One symbol over ten days, both included:

        >>> bars = read("binance", "BTC/USDT", "ohlcv_1m", "2024-01-01", "2024-01-10")

        Closing prices of several symbols, one column for each:

        >>> frame = read("binance", ["BTC/USDT", "ETH/USDT"], "ohlcv_1h", "2024-01-01", "2024-01-10", build_from="ohlcv_1m")
        >>> closes = frame.pivot(index="open_time", columns="symbol", values="close")

        As polars, every digit kept:

        >>> trades = read("binance", "BTC/USDT", "trades", "2024-01-01", "2024-01-01", as_="polars", exact=True)

        A contract, from noon to one o'clock UTC; the stored rows, with a warning about missing ones:

        >>> read("binance", "BTC/USDT:USDT", "ohlcv_1m", "2024-01-01T12:00", "2024-01-01T13:00", "linear", missing="warn")

        What was known at the end of 1 March 2024, before later corrections:

        >>> read("binance", "BTC/USDT", "ohlcv_1m", "2024-01-01", "2024-01-31", as_of="2024-03-01")

    Args:
        exchange: the ccxt id, `binance`.
        symbols: `BTC/USDT`, or a list of symbols: then the first column is `symbol`, and rows are ordered by symbol, as
            listed, then time. The settle currency follows from the market type.
        dataset: as in collection.yaml, `ohlcv_1m` or `trades`; `crypto-assets datasets` lists all, with their columns. From
            the warehouse also timeframes that were built (`ohlcv_1h`) and `trade_statistics_1m`.
        start, end: days (`"2024-01-01"` or a date) are both included; instants (datetime, or text with a time) are
            half-open, [start, end), and UTC if they have no zone.
        market_type: `spot`, `linear`, `inverse` or `news`; default: as the symbols say, `BTC/USDT` spot,
            `BTC/USDT:USDT` linear, `BTC/USD:BTC` inverse.
        as_: `pandas`, `polars` (`pip install crypto_assets[polars]`) or `arrow`. The lake's rows become polars and Arrow
            without importing pandas (only `build_from` imports it, because Arrow does).
        exact: every digit that the exchange published: `decimal.Decimal` in pandas, decimals of 18 places in polars and
            Arrow. By default float64, each value rounded once, as `float(text)` rounds.
        columns: some of the dataset's columns; default: all.
        build_from: a stored dataset of shorter bars, such as `ohlcv_1m`, to build the bars of `dataset` from, in exact
            decimals. Bars of up to a day. A bar is built only from a complete set of shorter bars; others are left
            out, and `reason` of their day counts them. A day is as complete as its shorter bars.
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
        home: the folder `.crypto_assets` to read from. Default: CRYPTO_ASSETS_HOME, else the nearest one, from the working
            directory up. CRYPTO_ASSETS_LAKE_URL and CRYPTO_ASSETS_POSTGRES_URL have priority, except for the demo's home.

    Returns:
        Times are UTC microseconds; without rows the columns are the same. pandas has a plain index, `side` and `symbol` as
        categories, and in `attrs`: `coverage`, a mapping for each requested day (`symbol` if several were requested,
        `day`, `state`, `reason`, `rows` (of the whole day; with build_from the built bars), `until` (how far an
        unfinished day goes), `acknowledged`, `complete`); `looked_in`, the lake or database; `home`, its path;
        `home_found`, how it was found. Arrow has the same as JSON in the metadata of its schema,
        `crypto_assets.coverage` and so on. polars has no place for such facts; `crypto_assets.coverage` returns them.
        A column that the exchange does not publish is null in every row, never zero (Bybit's bars: `trade_count`); which
        ones, and why: `crypto-assets datasets EXCHANGE DATASET`, and "What each source publishes" in the docs.
        Without a database only the files of the lake decide, and the state of a day is `stored` or `missing`.
        OtherOriginWarning is given once if stored days came from another archive than collection.yaml names.

    Raises:
        ConfigError: an invalid argument, an unknown exchange, market type, dataset or column, a symbol without stored data
            while other symbols of the series have some, an invalid lock, or days outside the lock.
        IncompleteData: a day is incomplete; `coverage` describes each day, of all symbols.
        StoredDataError: a file in force at `as_of`, or listed in the lock, is damaged or lost.
        PostgresUnavailable: the database does not answer, and completeness cannot be known.
    """
    require_known(missing)
    require_form(as_)
    with of_home(home):
        names = asked_symbols(symbols)
        market = market_type or market_type_of(names)
        plan = _plan(exchange, dataset, start, end, market, columns, build_from, source, as_of, lock)
        wanted = [plan.of(name) for name in names]
        require_different(wanted)
        warn_other_origins([exchange])
        found = [_read(one, missing, exact=exact, verify=verify) for one in wanted]
        several = not isinstance(symbols, str)
        coverage = _settled(found, missing, several=several)
        facts = {"coverage": coverage, "looked_in": found[0].where, **home_facts()}
        return with_facts(_joined(found, as_, exact=exact, several=several), facts)


def asked_symbols(symbols: Any) -> list[str]:
    """Return the requested symbols; raises ConfigError if there are none."""
    if isinstance(symbols, str):
        return [symbols]
    if not isinstance(symbols, Sequence) and not hasattr(symbols, "__iter__"):
        raise ConfigError(f"symbols: expected text such as 'BTC/USDT' or a list of texts, found {symbols!r}")
    names = list(symbols)
    if not names:
        raise ConfigError("symbols: expected at least one symbol, found an empty list")
    return names


def require_different(wanted: Sequence[Question | Build]) -> None:
    """Raise ConfigError if one symbol is requested in two spellings."""
    names = [one.asked.symbol if isinstance(one, Build) else one.symbol for one in wanted]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"symbols: expected each symbol once, found {', '.join(doubles)} twice")


@dataclass(frozen=True, slots=True)
class _Plan:
    """The query for every symbol; `target` are the bars to build from those of the question."""

    arguments: Mapping[str, Any]
    target: Any = None

    def of(self, symbol: str) -> Question | Build:
        asked = question(symbol=symbol, **self.arguments)
        return asked if self.target is None else build_of(self.target, asked)


def _plan(
    exchange: str,
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str,
    columns: Sequence[str] | None,
    build_from: str | None,
    source: str,
    as_of: Moment | None,
    lock: str | Path | None,
) -> _Plan:
    asked = {
        "exchange": exchange,
        "start": start,
        "end": end,
        "market_type": market_type,
        "columns": columns,
        "source": source,
        "as_of": as_of,
        "lock": lock,
    }
    if build_from is None:
        return _Plan({**asked, "dataset": dataset})
    if source == "warehouse":
        raise ConfigError(
            "build_from: expected source='lake', found 'warehouse', which has the bars that it builds itself"
        )
    return _Plan({**asked, "dataset": build_from}, target_of(exchange, market_type, dataset, build_from))


def _read(wanted: Question | Build, missing: Missing, *, exact: bool, verify: bool) -> Found:
    asked = wanted.asked if isinstance(wanted, Build) else wanted
    if asked.source == "warehouse":
        from crypto_assets.reading.loaded_days import from_warehouse

        return Found(asked, str(asked), *from_warehouse(asked, exact=exact))
    return from_lake(wanted, asked, missing, verify=verify)


def _settled(found: Sequence[Found], missing: Missing, *, several: bool) -> Coverage:
    """Return the coverage of all symbols, after warning or raising about their incomplete days.

    Raises:
        IncompleteData: `missing` is `raise` and a day of a symbol is incomplete; the error covers all symbols.
    """
    coverage, refused = Coverage(), []
    for one in found:

        def explained(incomplete: Sequence[DayCoverage], one: Found = one) -> Explained:
            from crypto_assets.reading.remedies import explain

            return explain(one.asked, incomplete)

        try:
            # The line number in a warning is that of `read`'s caller.
            mine = settle(
                one.what,
                one.where,
                one.coverage,
                one.rows.shape[0],
                missing,
                notice=one.notice,
                stacklevel=4,
                explain=explained,
            )
        except IncompleteData as error:
            if not several:
                raise
            refused.append(str(error))
            mine = Coverage(map(dict, error.coverage))
        coverage += [{"symbol": one.asked.symbol, **day} for day in mine] if several else mine
    if refused:
        left = len(refused) - _MOST_SYMBOLS_SAID
        lines = [line for said in refused[:_MOST_SYMBOLS_SAID] for line in said.split("\n")]
        more = [f"and {left} more symbol{'s' if left > 1 else ''}; `coverage` has all of them"] if left > 0 else []
        raise IncompleteData([*lines, *more], coverage)
    return coverage


def _joined(found: Sequence[Found], form: Form, *, exact: bool, several: bool) -> Answer:
    """Return the rows of all symbols in a form, with the column `symbol` if several were requested."""
    names = [one.asked.symbol for one in found]
    if found[0].asked.source == "warehouse":
        return _joined_frames(found, names, form, several=several)
    tables = [one.rows for one in found]
    if several:
        words = texts(names)
        kind = pa.field("symbol", pa.dictionary(pa.int32(), pa.string()), nullable=False)
        tables = [table.add_column(0, kind, labels(n, table.num_rows, words)) for n, table in enumerate(tables)]
    return rows_in(form, pa.concat_tables(tables), exact=exact)


def _joined_frames(found: Sequence[Found], names: Sequence[str], form: Form, *, several: bool) -> Answer:
    import pandas as pd

    frame: pd.DataFrame = found[0].rows
    if several:
        frames = [one.rows for one in found]
        for place, part in enumerate(frames):
            codes: Any = np.full(len(part), place)
            part.insert(0, "symbol", pd.Categorical.from_codes(codes, pd.Index(list(names))))
        frame = pd.concat([part for part in frames if len(part)] or frames[:1], ignore_index=True)
    if form == "pandas":
        return frame
    return rows_in(form, pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), exact=True)
