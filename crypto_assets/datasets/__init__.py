"""The datasets, one file each; a module here with a `DATASET` is found by itself."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from crypto_assets.model import Dataset


@cache
def all_datasets() -> dict[str, Dataset]:
    """Return every dataset by the name of its table: `ohlcv`, `trades`, …"""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return {module.DATASET.table: module.DATASET for module in modules if hasattr(module, "DATASET")}


def get(table: str) -> Dataset:
    """Return one dataset; raises KeyError for a table that no module declares."""
    return all_datasets()[table]
