"""The checks, one file each; every module here with a `CHECK` is found automatically.

A check is a pure function of the rows of one partition; some kinds also take other data (`crypto_assets.model.Rule`). It
runs on the rows in memory before they are stored, and again on stored partitions. It declares the columns it needs; a
dataset without them is not judged by it. If the dataset has them and the exchange of a series does not publish them, the
check says so and judges nothing (`not_judged`). Its severity says what a failure means (`crypto_assets.model.Severity`).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from crypto_assets import datasets
from crypto_assets.checks._unpublished import without_columns
from crypto_assets.model import Check, Rule, Series
from crypto_assets.sources.published import dataset_of

_Kind = TypeVar("_Kind", bound=Rule)


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every check, sorted by name."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return tuple(sorted((m.CHECK for m in modules if hasattr(m, "CHECK")), key=lambda rule: rule.name))


@cache
def rules_of(series: Series) -> tuple[Rule, ...]:
    """Return the checks whose columns a dataset has, sorted by name.

    Those whose columns the exchange does not publish judge nothing.
    """
    dataset = datasets.all_datasets().get(series.table)
    if dataset is None:
        return ()
    published = dataset_of(series)
    found = (rule for rule in all_rules() if rule.fits(dataset) and rule.applies(series))
    return tuple(rule if rule.fits(published) else without_columns(rule, dataset, published, series) for rule in found)


@cache
def of_kind(series: Series, kind: type[_Kind]) -> tuple[_Kind, ...]:
    """Return the checks of one kind for a series, sorted by name."""
    return tuple(rule for rule in rules_of(series) if isinstance(rule, kind))


def checks_of(series: Series) -> tuple[Check, ...]:
    """Return the checks of a series that need its rows only, sorted by name."""
    return of_kind(series, Check)
