"""The paths of a lake: where the file of a day and its former versions lie, relative to the lake."""

from __future__ import annotations

import re

from crypto_assets.model import Partition, Series, path_symbol


def series_folder(series: Series) -> str:
    """Return the folder of a series, with a slash at its end."""
    return f"exchange={series.exchange}/market_type={series.market_type}/dataset={series.dataset}/"


_DAY = re.compile(
    r"(exchange=[^/]+/market_type=[^/]+/dataset=[^/]+/symbol=[^/]+/)date=[0-9]{4}-[0-9]{2}-[0-9]{2}/data\.parquet"
)


def folder_of_day(path: str) -> str | None:
    """Return the symbol folder of a path, with a slash at its end; None if the path is not a day's file."""
    match = _DAY.fullmatch(path)
    return match[1] if match else None


def day_path(series: Series, partition: Partition) -> str:
    """Return the path of a partition's file, relative to the lake."""
    return f"{symbol_folder(series, partition.symbol)}date={partition.day}/data.parquet"


def version_path(series: Series, partition: Partition, sha256: str) -> str:
    """Return the path of a partition's file with this sha256 as a former version."""
    return f"versions/{symbol_folder(series, partition.symbol)}date={partition.day}/{sha256[:16]}.parquet"


def symbol_folder(series: Series, symbol: str) -> str:
    """Return the folder of a symbol of a series, with a slash at its end."""
    return f"{series_folder(series)}symbol={path_symbol(symbol)}/"
