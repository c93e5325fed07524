"""The checks, one file each; a module here with a `CHECK` is found by itself.

A check is a pure function of the rows of one partition. It runs while the rows are in memory on their way to the lake,
and again over stored partitions. What a failure means is the check's severity (`crypto_assets.model.Severity`).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from crypto_assets.model import Check


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check, in the order of their names."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return tuple(sorted((m.CHECK for m in modules if hasattr(m, "CHECK")), key=lambda check: check.name))


@cache
def checks_of(table: str) -> tuple[Check, ...]:
    """Return the checks of one table, in the order of their names."""
    return tuple(check for check in all_checks() if table in check.tables)
