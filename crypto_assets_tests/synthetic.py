"""Days of the sandbox's market as parsed tables, for tests that need rows and no server."""

from __future__ import annotations

from datetime import date
from functools import cache

import pyarrow as pa

from crypto_assets import sources
from crypto_assets.model import Partition, Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets_tests.parsed import parsed

FIRST, LAST = date(2024, 1, 1), date(2024, 12, 31)
BINANCE = sources.get("binance")


@cache
def archive() -> SyntheticArchive:
    """A quiet market of three symbols over 2024 with a trade in every minute."""
    return SyntheticArchive(
        {"spot": ["BTCUSDT", "ETHUSDT"], "linear": ["BTCUSDT"]}, FIRST, LAST, seed=3, trades_per_day=3_000
    )


def series_of(dataset: str, market_type: str = "spot") -> Series:
    return Series.named("binance", market_type, dataset)


@cache
def day_of(dataset: str, day: date, market_type: str = "spot", base: str = "BTC") -> tuple[Partition, pa.Table]:
    """Return one day as it is published, parsed."""
    series = series_of(dataset, market_type)
    symbol = f"{base}/USDT" if market_type == "spot" else f"{base}/USDT:USDT"
    key = key_of(series, symbol, day)
    content = archive().read(key)
    assert content is not None, f"{key} is not in the synthetic archive"
    table = read_file(series, key, content)
    partition = Partition(symbol, day)
    if "/monthly/" in key:
        start, end = partition.start, partition.end
        times = table.column(0).to_pylist()
        table = table.filter(pa.array([start <= time < end for time in times]))
    return partition, table


def key_of(series: Series, symbol: str, day: date, feed: int = 0) -> str:
    """Return the key of a day's file in the preferred feed, or in another one."""
    (key,) = sources.archives(series)[feed].keys(sources.name_of(series, symbol), day)
    return key


def read_file(series: Series, key: str, content: bytes, feed: int = 0) -> pa.Table:
    """Return the rows of a file, whatever its folder is called."""
    return parsed(sources.archives(series)[feed], "BTC/USDT", key, content)
