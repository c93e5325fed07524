"""What the exchange publishes and what was stored, read without the engine: zip and csv, pyarrow, SQL.

Rows are tuples in the order of the lake's columns: times in microseconds since 1970, numbers as decimals.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from crypto_assets.model import State
from crypto_assets.sandbox.damage import damaged
from crypto_assets.selftest.cases import DATASETS, DAYS

Row = tuple[Any, ...]
Where = tuple[str, date]
"""A dataset and a day; there is one symbol."""

SYMBOL, EXCHANGE_SYMBOL = "BTC/USDT", "BTCUSDT"

_LAKE = "exchange=binance/market_type=spot/dataset={dataset}/symbol=BTC-USDT/date={day}/data.parquet"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns of a dataset stand: in the published CSV, in the lake, in the warehouse."""

    folder: str
    tag: str
    published: tuple[tuple[int, Callable[[str], Any]], ...]
    columns: str
    table: str


def _micros(text: str) -> int:
    return int(text) if len(text) == 16 else int(text) * 1_000


def _side(text: str) -> str:
    return {"True": "sell", "False": "buy"}[text]  # is_buyer_maker: the taker sold


_LAYOUTS: Mapping[str, _Layout] = {
    "ohlcv_1m": _Layout(
        "klines",
        "1m",
        (
            (0, _micros),
            *((place, Decimal) for place in (1, 2, 3, 4, 5, 7)),
            (8, int),
            (9, Decimal),
            (10, Decimal),
        ),
        "open_time, open, high, low, close, volume, quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume",
        "market.ohlcv WHERE timeframe = '1m' AND source <> 'derived'",
    ),
    "trades": _Layout(
        "trades",
        "trades",
        ((4, _micros), (0, int), (1, Decimal), (2, Decimal), (3, Decimal), (5, _side)),
        "trade_time, trade_id, price, amount, quote_amount, side",
        "market.trades WHERE true",
    ),
}


def key_of(dataset: str, day: date) -> str:
    """Return the key of the archive object of a day."""
    layout = _LAYOUTS[dataset]
    below = f"{layout.tag}/" if layout.folder == "klines" else ""
    return f"data/spot/daily/{layout.folder}/{EXCHANGE_SYMBOL}/{below}{EXCHANGE_SYMBOL}-{layout.tag}-{day}.zip"


def everything() -> list[Where]:
    return [(dataset, day) for dataset in DATASETS for day in DAYS]


def published(read: Callable[[str], bytes | None], fault: str = "") -> dict[Where, list[Row]]:
    """Return the rows of every published file; with a fault those that it makes of the file of the day it concerns."""
    rows = {}
    for dataset, day in everything():
        content = read(key_of(dataset, day))
        if content is None:
            raise LookupError(f"the sandbox has no {key_of(dataset, day)}")
        rows[dataset, day] = _rows(dataset, damaged(fault, key_of(dataset, day), content) if fault else content)
    return rows


# The same bytes come in case after case: reading them again would be half of the selftest's work.
@lru_cache(maxsize=64)
def _rows(dataset: str, content: bytes) -> list[Row]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        text = archive.read(archive.namelist()[0]).decode("ascii")
    layout = _LAYOUTS[dataset].published
    return [tuple(read(cells[place]) for place, read in layout) for cells in csv.reader(io.StringIO(text))]


def in_lake(lake: Path) -> dict[Where, list[Row]]:
    """Return the rows of every Parquet file where a day is expected to lie; days without a file are left out."""
    found = {}
    for dataset, day in everything():
        path = lake / _LAKE.format(dataset=dataset, day=day)
        if path.exists():
            found[dataset, day] = _parquet_rows(dataset, path.read_bytes())
    return found


@lru_cache(maxsize=64)
def _parquet_rows(dataset: str, content: bytes) -> list[Row]:
    table = pq.ParquetFile(pa.BufferReader(content)).read(_LAYOUTS[dataset].columns.split(", "))
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in table.columns
    ]
    return list(zip(*columns, strict=True))


def in_warehouse(url: str) -> dict[Where, list[Row]]:
    """Return the rows of every day that has any, as they were published or came from REST."""
    found: dict[Where, list[Row]] = {}
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        for dataset, day in everything():
            layout = _LAYOUTS[dataset]
            time, rest = layout.columns.split(", ", 1)
            query = (
                f"SELECT (extract(epoch FROM {time}) * 1000000)::bigint, {rest} FROM {layout.table} AND symbol = %s "
                f"AND {time} >= %s AND {time} < %s ORDER BY 1, 2"
            )
            rows = connection.execute(query, (SYMBOL, day, day + timedelta(days=1))).fetchall()
            if rows:
                found[dataset, day] = rows
    return found


@dataclass(frozen=True, slots=True)
class Said:
    """What the ledger says of a day; `error` is the name of the exception that the reason came from."""

    state: State
    reason: str
    attempt_error: str
    error: str = ""


def in_ledger(url: str) -> dict[Where, Said]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT dataset, day, state, reason, coalesce(attempt_error, ''), coalesce(evidence ->> 'error', '') "
            "FROM collection.partitions WHERE symbol = %s",
            (SYMBOL,),
        ).fetchall()
    return {(name, day): Said(State(state), *words) for name, day, state, *words in rows}


def foreign_files(home: Path) -> list[str]:
    """Return files that lie where none may be: outside of the lake, of another kind, or on their way for ever."""

    def known(parts: tuple[str, ...]) -> bool:
        return parts[0] == "lake" and (parts[1] in ("quarantine", "versions") or parts[-1] == "data.parquet")

    paths = (path.relative_to(home) for path in home.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if not known(path.parts))
