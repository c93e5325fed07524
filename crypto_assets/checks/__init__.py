"""The checks, one file each; a module here with a `CHECK` is found by itself.

A check is a pure function: of the rows of one partition, and for some kinds of what stands beside it
(`crypto_assets.model.Rule`). It runs while the rows are in memory on their way to the lake, and again over stored
partitions. It names the columns that it needs, and a dataset without them is not judged by it. What a failure means is the
check's severity (`crypto_assets.model.Severity`).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from crypto_assets import datasets
from crypto_assets.model import Check, Rule, Series

_Kind = TypeVar("_Kind", bound=Rule)


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every check of every kind, in the order of their names."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return tuple(sorted((m.CHECK for m in modules if hasattr(m, "CHECK")), key=lambda rule: rule.name))


@cache
def rules_of(series: Series) -> tuple[Rule, ...]:
    """Return the checks that a series has the columns for, in the order of their names."""
    dataset = datasets.all_datasets().get(series.table)
    return tuple(rule for rule in all_rules() if dataset and rule.fits(dataset) and rule.applies(series))


@cache
def of_kind(series: Series, kind: type[_Kind]) -> tuple[_Kind, ...]:
    """Return the checks of a series that are of one kind, in the order of their names."""
    return tuple(rule for rule in rules_of(series) if isinstance(rule, kind))


def checks_of(series: Series) -> tuple[Check, ...]:
    """Return the checks of a series that look at its rows alone, in the order of their names."""
    return of_kind(series, Check)
