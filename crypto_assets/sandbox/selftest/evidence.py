"""Read the exchange's files and our stores without the engine: zip and csv, pyarrow, SQL.

Rows are tuples in the order of the lake's columns: times in microseconds since 1970, numbers as decimals.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from crypto_assets.model import State
from crypto_assets.sandbox.damage import damaged
from crypto_assets.sandbox.dialects.binance import layout
from crypto_assets.sandbox.selftest.scenes import Scene, Where, exchange_symbol
from crypto_assets.sandbox.selftest.store_damage import OTHER_LAKE

Row = tuple[Any, ...]
Read = Callable[[str], bytes | None]

_ROOTS = {"spot": "data/spot", "linear": "data/futures/um"}


@dataclass(frozen=True, slots=True)
class _Layout:
    """The column order of a dataset in the published CSV, the lake and the warehouse. Times come first."""

    folder: str
    tag: str
    published: tuple[tuple[int, Callable[[str], Any]], ...]
    columns: str
    table: str
    monthly: bool = False


def _micros(text: str) -> int:
    return int(text) if len(text) == 16 else int(text) * 1_000


def _side(text: str) -> str:
    return {"true": "sell", "false": "buy"}[text.lower()]  # is_buyer_maker: the taker sold


def _bars(timeframe: str) -> _Layout:
    return _Layout(
        "klines",
        timeframe,
        ((0, _micros), *((place, Decimal) for place in (1, 2, 3, 4, 5, 7)), (8, int), (9, Decimal), (10, Decimal)),
        "open_time, open, high, low, close, volume, quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume",
        f"market.ohlcv WHERE timeframe = '{timeframe}' AND source <> 'derived'",
        monthly=timeframe in ("3d", "1w", "1mo"),
    )


_LAYOUTS = {
    **{f"ohlcv_{timeframe}": _bars(timeframe) for timeframe in ("1m", "1h", "1d", "3d", "1w", "1mo")},
    "trades": _Layout(
        "trades",
        "trades",
        ((4, _micros), (0, int), (1, Decimal), (2, Decimal), (3, Decimal), (5, _side)),
        "trade_time, trade_id, price, amount, quote_amount, side",
        "market.trades WHERE true",
    ),
    "agg_trades": _Layout(
        "aggTrades",
        "aggTrades",
        ((5, _micros), (0, int), (1, Decimal), (2, Decimal), (3, int), (4, int), (6, _side)),
        "trade_time, agg_trade_id, price, amount, first_trade_id, last_trade_id, side",
        "market.agg_trades WHERE true",
    ),
    "funding_rates": _Layout(
        "fundingRate",
        "fundingRate",
        ((0, _micros), (2, Decimal), (1, int)),
        "funding_time, funding_rate, funding_interval_hours",
        "market.funding_rates WHERE true",
        monthly=True,
    ),
}


def key_of(scene: Scene, where: Where) -> str:
    """Return the key of the archive object of a day, or of its month if the dataset has only monthly files."""
    layout, symbol = _LAYOUTS[where.dataset], exchange_symbol(where.symbol)
    below = f"{layout.tag}/" if layout.folder == "klines" else ""
    cadence, period = ("monthly", f"{where.day:%Y-%m}") if layout.monthly else ("daily", where.day.isoformat())
    return f"{_ROOTS[scene.market_type]}/{cadence}/{layout.folder}/{symbol}/{below}{symbol}-{layout.tag}-{period}.zip"


def published(scene: Scene, read: Read, fault: str = "", concerned: Iterable[Where] = ()) -> dict[Where, list[Row]]:
    """Return the rows of every published day; for the days that a fault concerns, the rows after the fault.

    A day without published rows is left out.
    """
    changed = {key_of(scene, where) for where in concerned}
    rows: dict[Where, list[Row]] = {}
    for where in scene.everything:
        key = key_of(scene, where)
        content = read(key)
        if content is not None and key in changed:
            content = damaged(fault, key, content, layout.table(key))
        found = _by_day(where.dataset, content).get(where.day) if content else None
        if found:
            rows[where] = found
    return rows


# Many cases have the same bytes: reading them again would take half of the selftest's time.
@lru_cache(maxsize=512)
def _by_day(dataset: str, content: bytes) -> dict[date, list[Row]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        text = archive.read(archive.namelist()[0]).decode("ascii")
    layout = _LAYOUTS[dataset].published
    lines = [cells for cells in csv.reader(io.StringIO(text)) if not cells[0][:1].isalpha()]
    return _split(tuple(read(cells[place]) for place, read in layout) for cells in lines)


def _split(rows: Iterable[Row]) -> dict[date, list[Row]]:
    found: dict[date, list[Row]] = {}
    for row in rows:
        day = datetime.fromtimestamp(row[0] // 1_000_000, UTC).date()
        found.setdefault(day, []).append(row)
    return found


def in_lake(scene: Scene, lake: Path) -> dict[Where, list[Row]]:
    """Return the rows of every Parquet file at an expected path; days without a file are left out."""
    found = {}
    for where in scene.everything:
        pair, _, settled = where.symbol.partition(":")
        symbol = pair.replace("/", "-") + "".join(settled.partition("-")[1:])
        path = (
            lake / f"exchange=binance/market_type={scene.market_type}/dataset={where.dataset}/symbol={symbol}"
            f"/date={where.day}/data.parquet"
        )
        if path.exists():
            found[where] = _parquet_rows(where.dataset, path.read_bytes())
    return found


@lru_cache(maxsize=512)
def _parquet_rows(dataset: str, content: bytes) -> list[Row]:
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read(_LAYOUTS[dataset].columns.split(", "))
    except pa.ArrowInvalid as error:
        return [(f"not a Parquet file: {error}",)]
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in table.columns
    ]
    return list(zip(*columns, strict=True))


def in_warehouse(scene: Scene, url: str) -> dict[Where, list[Row]]:
    """Return the rows of every day with rows from the archive or REST."""
    found: dict[Where, list[Row]] = {}
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        for dataset in scene.datasets:
            layout = _LAYOUTS[dataset]
            time, rest = layout.columns.split(", ", 1)
            query = (
                f"SELECT (extract(epoch FROM {time}) * 1000000)::bigint, {rest} FROM {layout.table} AND symbol = %s "
                f"AND {time} >= %s AND {time} < %s ORDER BY 1, 2"
            )
            for symbol in scene.symbols:
                span = symbol, scene.first, scene.last + timedelta(days=1)
                rows = connection.execute(query, span, binary=True).fetchall()
                found |= {Where(symbol, dataset, day): part for day, part in _split(rows).items()}
    return found


@dataclass(frozen=True, slots=True)
class Said:
    """The ledger's record of a day; `error` is the name of the exception behind the reason.

    `failed` are the checks that the stored rows fail; `inferred` marks a `no_data` that nobody confirmed.
    """

    state: State
    reason: str
    attempt_error: str = ""
    error: str = ""
    failed: frozenset[str] = field(default=frozenset())
    evidence: bool = True
    inferred: bool = False


def in_ledger(url: str) -> dict[Where, Said]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            """SELECT symbol, dataset, day, state, reason, coalesce(attempt_error, ''), coalesce(evidence ->> 'error', ''),
                ARRAY(SELECT key FROM jsonb_each(findings) WHERE value ->> 'passed' = 'false'),
                evidence <> '{}', coalesce((evidence ->> 'inferred')::boolean, false)
            FROM collection.partitions"""
        ).fetchall()
    return {
        Where(symbol, dataset, day): Said(State(state), reason, attempt, error, frozenset(failed), *words)
        for symbol, dataset, day, state, reason, attempt, error, failed, *words in rows
    }


Incident = tuple[str, str, datetime, datetime]
"""A kind, a symbol (empty: the whole market), start and end."""


def incidents(url: str) -> frozenset[Incident]:
    """Return the incidents found in the stored data."""
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        rows = connection.execute(
            "SELECT kind, coalesce(symbol, ''), start_time, end_time FROM collection.incidents WHERE source = 'found'"
        ).fetchall()
    return frozenset((kind, symbol, start, end) for kind, symbol, start, end in rows)


def foreign_files(home: Path) -> list[str]:
    """Return files in wrong places: outside the lake, of another type, or left in staging."""

    def known(parts: tuple[str, ...]) -> bool:
        return parts[0] in ("lake", OTHER_LAKE) and (
            parts[1] in ("quarantine", "versions", "_lake.json") or parts[-1] == "data.parquet"
        )

    paths = (path.relative_to(home) for path in home.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if not known(path.parts))
