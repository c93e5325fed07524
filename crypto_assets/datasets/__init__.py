"""The datasets, one file each; every module here with a `DATASET` is found automatically.

The file declares each column once. Derived from it are the files of the lake, the contract of its rows, the table in
Postgres with its comments, the data dictionary of the docs, and the checks: each judges the datasets that have the
columns it needs (`crypto_assets.checks`). Which exchange publishes a dataset is declared in `crypto_assets.sources`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from crypto_assets.model import Dataset


@cache
def _modules() -> dict[str, ModuleType]:
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return {module.DATASET.table: module for module in modules if hasattr(module, "DATASET")}


@cache
def _declared() -> dict[str, Dataset]:
    return {table: module.DATASET for table, module in _modules().items()}


def module_of(table: str) -> str:
    """Return the module that declares a dataset; raises KeyError for a table that no module declares."""
    return _modules()[table].__name__


@cache
def all_datasets() -> dict[str, Dataset]:
    """Return every collected dataset by the name of its table: `ohlcv`, `trades`, …"""
    return {name: dataset for name, dataset in _declared().items() if dataset.built_from is None}


@cache
def in_warehouse() -> dict[str, Dataset]:
    """Return every dataset with a table in the warehouse, built ones too, by the name of the table."""
    return {name: dataset for name, dataset in _declared().items() if dataset.leaf}


def get(table: str) -> Dataset:
    """Return one dataset, collected or built; raises KeyError for a table that no module declares."""
    return _declared()[table]
