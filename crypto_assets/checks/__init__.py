"""The checks, one file each; every module here with a `CHECK` is found automatically.

A check is a pure function of the rows of one partition; some kinds also take other data (`crypto_assets.model.Rule`). It
runs on the rows in memory before they are stored, and again on stored partitions. It declares the columns it needs; a
dataset without them is not judged by it. Its severity says what a failure means (`crypto_assets.model.Severity`).
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
    """Return every check, sorted by name."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return tuple(sorted((m.CHECK for m in modules if hasattr(m, "CHECK")), key=lambda rule: rule.name))


@cache
def rules_of(series: Series) -> tuple[Rule, ...]:
    """Return the checks whose columns a series has, sorted by name."""
    dataset = datasets.all_datasets().get(series.table)
    return tuple(rule for rule in all_rules() if dataset and rule.fits(dataset) and rule.applies(series))


@cache
def of_kind(series: Series, kind: type[_Kind]) -> tuple[_Kind, ...]:
    """Return the checks of one kind for a series, sorted by name."""
    return tuple(rule for rule in rules_of(series) if isinstance(rule, kind))


def checks_of(series: Series) -> tuple[Check, ...]:
    """Return the checks of a series that need its rows only, sorted by name."""
    return of_kind(series, Check)
