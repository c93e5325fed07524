"""The engine without Dagster, on real servers: a sandbox exchange, a lake in a folder, a database of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.pipeline import OnBatch, Pipeline, Target
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.engine.tally import Tally
from crypto_assets.ledger.partitions import Ledger, PartitionRecord
from crypto_assets.model import Outcome, Partition, Series, days_between
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import REASON, Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets_tests.published import Row, checksum_of, key, rows_of, text_of

_FOLDERS = {"ohlcv": "klines", "trades": "trades", "agg_trades": "aggTrades", "funding_rates": "fundingRate"}


def entry(
    market_type: str, datasets: Sequence[str], symbols: Sequence[str], start: date, **more: Any
) -> dict[str, Any]:
    """Return one entry of collection.yaml; the archive alone, unless `rest` says otherwise."""
    return {
        "exchange": "binance",
        "market_type": market_type,
        "datasets": list(datasets),
        "symbols": list(symbols),
        "start": start,
        "rest": False,
        **more,
    }


@dataclass
class Result:
    """What a run did: the counts, and the outcome of every day."""

    tally: Tally
    outcomes: dict[tuple[str, str, str, date], Outcome] = field(default_factory=dict)

    def of(self, day: date, dataset: str = "ohlcv_1m", symbol: str = "BTC/USDT", market_type: str = "spot") -> Outcome:
        return self.outcomes[market_type, symbol, dataset, day]


class Workbench:
    """Collects entries from a sandbox, and reads back what was published and what was stored."""

    def __init__(self, sandbox: SandboxServer, postgres_url: str, lake: Path, *entries: dict[str, Any]) -> None:
        migrate(postgres_url)
        self.sandbox = sandbox
        self.url = postgres_url
        self.folder = lake
        self.lake = Lake(str(lake))
        self.archive_url, self.listing_url = sandbox.archive_url, sandbox.listing_url
        self.rest_url = sandbox.archive_url
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.entries = list(entries)

    @property
    def collection(self) -> Collection:
        urls = {"archive_url": self.archive_url, "listing_url": self.listing_url, "rest_url": self.rest_url}
        return parse_collection({"exchanges": {"binance": urls}, "series": self.entries})

    def targets(self, first: date, last: date) -> list[Target]:
        return [
            Target(series, symbol, tuple(days_between(first, last)), part.tables_of(series))
            for part in self.collection.series
            for series in part.series
            for symbol in part.symbols
        ]

    def collect(self, first: date, last: date, on_batch: OnBatch | None = None) -> Result:
        """Collect every series of the entries over some days, both included."""
        result = Result(Tally())

        def keep(outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:
            for outcome in outcomes:
                series = outcome.series
                result.outcomes[series.market_type, outcome.partition.symbol, series.dataset, outcome.partition.day] = (
                    outcome
                )
            if on_batch:
                on_batch(outcomes, rows)

        with Warehouse(self.url) as warehouse, Ledger(self.url) as ledger:
            pipeline = Pipeline(
                self.collection,
                Stores(self.lake, warehouse, ledger),
                RunContext(now=self.now),
                downloads=4,
                on_batch=keep,
            )
            result.tally = pipeline.run(self.targets(first, last))
        return result

    # ---- what the exchange publishes ------------------------------------------------------------------------------

    def key(self, series: Series, symbol: str, stamp: date | str, frequency: str = "daily") -> str:
        folder = _FOLDERS[series.table]
        text = symbol.partition(":")[0].replace("/", "")
        return key(series.market_type, folder, text, series.timeframe or folder, stamp, frequency)

    def bytes_at(self, of: str) -> bytes:
        """Return what the sandbox serves under a key."""
        overrides = self.sandbox.app.state.overrides
        content = overrides[of] if of in overrides else self.sandbox.app.state.source.read(of)
        assert content is not None, of
        return bytes(content)

    def publish(self, of: str, content: bytes, checksum: bytes | None = None) -> None:
        """Replace a zip, and its checksum by the right one unless another is given."""
        overrides = self.sandbox.app.state.overrides
        overrides[of] = content
        overrides[of + ".CHECKSUM"] = checksum_of(of, content) if checksum is None else checksum

    def hide(self, of: str) -> None:
        self.sandbox.app.state.overrides |= {of: None, of + ".CHECKSUM": None}

    def published(self, series: Series, symbol: str, stamp: date | str, frequency: str = "daily") -> list[Row]:
        """Return the rows that the exchange publishes for a day or month."""
        content = self.bytes_at(self.key(series, symbol, stamp, frequency))
        return rows_of(_FOLDERS[series.table], text_of(content))

    # ---- what was stored ------------------------------------------------------------------------------------------

    def in_lake(self, series: Series, symbol: str, day: date) -> list[Row]:
        return lake_rows(self.lake, series, symbol, day)

    def in_warehouse(
        self, table: str, symbol: str, day: date, where: str = "true", market_type: str = "spot"
    ) -> list[Row]:
        return warehouse_rows(self.url, table, symbol, day, where, market_type=market_type)

    def records(self) -> dict[tuple[str, str, date], PartitionRecord]:
        """Return what the ledger knows, by symbol, dataset and day."""
        with Ledger(self.url) as ledger:
            return {(record.symbol, record.dataset, record.day): record for record in ledger.partitions()}

    def quarantined(self) -> dict[str, dict[str, Any]]:
        """Return the reason of every refused file, by its path."""
        return quarantined(self.lake)


def quarantined(lake: Lake) -> dict[str, dict[str, Any]]:
    """Return the reason of every refused file of a lake, by its path."""
    paths = [path.removesuffix(REASON) for path in lake.store.paths("quarantine/") if path.endswith(REASON)]
    return {path: lake.reason(path) for path in paths}


def lake_rows(lake: Lake, series: Series, symbol: str, day: date) -> list[Row]:
    """Return what the lake holds of a day, without the columns of trades that have no number: they are null."""
    rows = lake.read_partition(series, Partition(symbol, day))
    if series.table == "trades":
        unused = ["trade_place", "trade_uid"]
        assert all(rows.column(name).null_count == rows.num_rows for name in unused)
        rows = rows.drop_columns(unused)
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in rows.columns
    ]
    return list(zip(*columns, strict=True))


_TIMES = {"ohlcv": "open_time", "trade_statistics_1m": "open_time", "funding_rates": "funding_time"}
_ROW_COLUMNS = {
    "ohlcv": "open, high, low, close, volume, quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume",
    "trades": "trade_id, price, amount, quote_amount, side",
    "agg_trades": "agg_trade_id, price, amount, first_trade_id, last_trade_id, side",
    "funding_rates": "funding_rate, funding_interval_hours",
    "trade_statistics_1m": "buy_volume, sell_volume, quote_volume, trade_count, largest_trade",
}


def warehouse_rows(
    url: str, table: str, symbol: str, day: date, where: str = "true", count: int = 1, market_type: str = "spot"
) -> list[Row]:
    """Return what a table of `market` holds of some days from `day` on, in the columns of the dataset, ordered."""
    time = _TIMES.get(table, "trade_time")
    query = (
        f"SELECT (extract(epoch FROM {time}) * 1000000)::bigint, {_ROW_COLUMNS[table]} FROM market.{table} "
        f"WHERE symbol = %s AND market_type = %s AND {time} >= %s AND {time} < %s AND {where} ORDER BY 1, 2"
    )
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        return connection.execute(query, (symbol, market_type, day, day + timedelta(days=count))).fetchall()


def total(rows: Sequence[Row], place: int) -> Decimal:
    return sum((row[place] for row in rows), Decimal(0))
