"""What Dagster shows of a lake or warehouse asset: description, tags, kinds, owners, address, columns, lineage, freshness.

What is the same for all symbols of a series is made once: a collection has thousands of assets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import dagster as dg

from crypto_assets import datasets, sources
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.defs.addresses import Addresses
from crypto_assets.defs.asset_keys import daily, lake_key, source_key
from crypto_assets.defs.code_references import code_of_source, code_of_table, code_references
from crypto_assets.defs.freshness import freshness, freshness_of_table, goes_on
from crypto_assets.instance.names import plain
from crypto_assets.model import Dataset, Series, path_symbol
from crypto_assets.sources.publication import publication
from crypto_assets.storage.lake_paths import symbol_folder
from crypto_assets.storage.market_tables import TABLES

_TAG_LETTERS = 63
"""Dagster's limit for the value of a tag, of A-Z, a-z, 0-9, `_`, `.` and `-`."""

_NO_TAG = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class WarehouseAsset:
    """One table of one symbol, and the lake series that feed it (of this entry or of others)."""

    key: dg.AssetKey
    table: str
    symbol: str
    feeders: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class _Making:
    """What the specs of an entry have in common."""

    collection: Collection
    entry: SeriesEntry
    partitions_def: dg.DailyPartitionsDefinition
    addresses: Addresses
    owners: Sequence[str]


def asset_specs(
    collection: Collection,
    entry: SeriesEntry,
    warehouse: Sequence[WarehouseAsset],
    partitions_def: dg.DailyPartitionsDefinition,
) -> list[dg.AssetSpec]:
    """Return the specs of an entry's lake assets, then of its warehouse assets."""
    making = _Making(collection, entry, partitions_def, Addresses.configured(), collection.owners_of(entry))
    return [
        *(_lake_spec(making, *track) for track in entry.tracks),
        *(_warehouse_spec(making, asset) for asset in warehouse),
    ]


def partitions_of(collection: Collection, entry: SeriesEntry) -> dg.DailyPartitionsDefinition:
    """Return the days of an entry, with today if REST is asked for it."""
    return daily(entry.start, entry.end, today=collection.asks_rest(entry))


def tags_of(exchange: str, market_type: str = "", dataset: str = "", symbol: str = "") -> dict[str, str]:
    """Return the tags by which the catalog is filtered; those without a value are left out."""
    found = {"exchange": exchange, "market_type": market_type, "dataset": dataset, "symbol": path_symbol(symbol)}
    return {name: tag_value(value) for name, value in found.items() if value}


def tag_value(text: str) -> str:
    """Return a text as the value of a tag: 币 as its code point `u5e01_`, the end of a long text as its hash.

    Different symbols have different values.
    """
    value = plain(text, _NO_TAG)
    if len(value) <= _TAG_LETTERS:
        return value
    return f"{value[: _TAG_LETTERS - 9]}.{sha256(text.encode()).hexdigest()[:8]}"


# ---- lake -------------------------------------------------------------------------------------------------------------


def _lake_spec(making: _Making, series: Series, symbol: str) -> dg.AssetSpec:
    folder = symbol_folder(series, symbol)
    rest = making.collection.asks_rest(making.entry)
    return dg.AssetSpec(
        lake_key(series, symbol),
        deps=[source_key(series)],
        description=_lake_description(series, symbol, folder, rest=rest),
        partitions_def=making.partitions_def,
        skippable=True,
        group_name=f"{series.exchange}_{series.market_type}_{series.dataset}",
        kinds={"parquet", making.addresses.lake_kind},
        tags=tags_of(series.exchange, series.market_type, series.dataset, symbol),
        owners=making.owners,
        freshness_policy=freshness(series) if goes_on(making.entry, symbol) else None,
        metadata={
            **_of_series(series),
            "dagster/uri": f"{making.addresses.lake}{folder}",
            "symbol": symbol,
        },
    ).with_io_manager_key("lake_io_manager")


def _lake_description(series: Series, symbol: str, folder: str, *, rest: bool) -> str:
    dataset = datasets.get(series.table)
    rest = rest and bool(sources.archives(series))
    early = " Until then the day comes from REST when it is asked for, and is `provisional`." if rest else ""
    return (
        f"{symbol} {series.dataset}, {series.exchange} {series.market_type}. {dataset.description}\n\n"
        f"- **Row**: one {dataset.row}. A partition is one UTC day by `{dataset.time_column}`, from 00:00 to 24:00.\n"
        f"- **Where**: one Parquet file a day in the lake, `{folder}date=2024-01-01/data.parquet`.\n"
        f"- **When**: {publication(series).in_words}{early}"
    )


@cache
def _of_series(series: Series) -> Mapping[str, Any]:
    return {
        "dagster/column_schema": _columns(datasets.get(series.table)),
        "dagster/storage_kind": "parquet",
        "dagster/code_references": code_references(code_of_table(series.table), code_of_source(series.exchange)),
    }


# ---- warehouse --------------------------------------------------------------------------------------------------------


def _warehouse_spec(making: _Making, asset: WarehouseAsset) -> dg.AssetSpec:
    collection, entry = making.collection, making.entry
    return dg.AssetSpec(
        asset.key,
        deps=[_feeding(making, series, asset.symbol) for series in asset.feeders],
        description=_warehouse_description(entry, asset),
        partitions_def=making.partitions_def,
        skippable=True,
        group_name=f"warehouse_{entry.exchange}_{entry.market_type}_{asset.table}",
        kinds={"postgres", "table"},
        tags=tags_of(entry.exchange, entry.market_type, asset.table, asset.symbol),
        owners=making.owners,
        freshness_policy=freshness_of_table(_living(collection, asset)),
        metadata={
            **_of_table(asset.table),
            "dagster/column_lineage": column_lineage(asset),
            "dagster/uri": making.addresses.table(f"market.{asset.table}"),
            "symbol": asset.symbol,
        },
    ).with_io_manager_key("warehouse_io_manager")


def _warehouse_description(entry: SeriesEntry, asset: WarehouseAsset) -> str:
    dataset = datasets.get(asset.table)
    feeders = ", ".join(series.dataset for series in asset.feeders)
    return (
        f"{asset.symbol} in the Postgres table market.{asset.table}. {dataset.description}\n\n"
        f"- **Row**: one {dataset.row}. A partition is one UTC day by `{dataset.time_column}`, from 00:00 to 24:00.\n"
        f"- **Where**: `SELECT * FROM market.{asset.table} WHERE exchange = '{entry.exchange}' AND "
        f"market_type = '{entry.market_type}' AND symbol = '{asset.symbol}'`, as `crypto-assets sql` runs it.\n"
        f"- **When**: with each day of {feeders} that is stored in the lake."
    )


def _living(collection: Collection, asset: WarehouseAsset) -> list[Series]:
    """Return the feeders of a table that go on."""
    owners = {series: collection.entry_of(series, asset.symbol) for series in asset.feeders}
    return [series for series, entry in owners.items() if entry and goes_on(entry, asset.symbol)]


def _feeding(making: _Making, series: Series, symbol: str) -> dg.AssetDep:
    """Return the dependency of an entry's table on a feeder, which may be in another entry with fewer days."""
    feeder = making.collection.entry_of(series, symbol) or making.entry
    # Without this mapping Dagster refuses to backfill days of the table that the feeder does not have.
    fewer = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
    same = feeder is making.entry or partitions_of(making.collection, feeder) == making.partitions_def
    return dg.AssetDep(lake_key(series, symbol), partition_mapping=None if same else fewer)


@cache
def _of_table(table: str) -> Mapping[str, Any]:
    declared = TABLES[table].declared
    return {
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(one.name, str(one.type), one.meaning) for one in declared]
        ),
        "dagster/table_name": f"market.{table}",
        "dagster/storage_kind": "postgres",
        "dagster/code_references": code_references(
            code_of_table(table), ("crypto_assets.rows.loads", "def loads", "its rows")
        ),
    }


def column_lineage(asset: WarehouseAsset) -> dg.TableColumnLineage:
    """Return the lake columns from which each column of a table is copied or computed; columns of the path have none."""
    keys = [lake_key(series, asset.symbol) for series in asset.feeders]
    return dg.TableColumnLineage(
        {
            one.name: [dg.TableColumnDep(key, name) for key in keys for name in one.built_from or (one.name,)]
            for one in datasets.get(asset.table).columns
        }
    )


def _columns(dataset: Dataset) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(one.name, str(one.type), one.meaning) for one in dataset.columns])
