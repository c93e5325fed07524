"""Checks of a series whose exchange does not publish the columns that they need: they judge nothing and say why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crypto_assets import datasets
from crypto_assets.checks._arrangement import ArrangementCheck
from crypto_assets.model import (
    Check,
    Comparison,
    Dataset,
    Finding,
    HistoryCheck,
    Rule,
    SeamCheck,
    Series,
    SourceCheck,
    not_judged,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def without_columns(rule: Rule, dataset: Dataset, published: Dataset, series: Series) -> Rule:
    """Return a check that is not judged, for its columns are not published.

    Args:
        dataset: has the columns that the check needs.
        published: the dataset as the series has it.
    """
    wanted = next(names for names in (rule.columns, *rule.or_columns) if dataset.has(names))
    missing = [name for name in wanted if not published.has([name])]
    why = not_judged(f"{series.exchange} does not publish {' and '.join(missing)}")

    def finding(*_: Any) -> Finding:
        return why

    if isinstance(rule, Check):
        return replace(rule, run=finding, fold=lambda partition, series: _Nothing(why))  # noqa: ARG005
    if isinstance(rule, HistoryCheck):
        return replace(rule, run=finding)
    if isinstance(rule, Comparison):
        return replace(rule, gather=_no_rows, run=finding)
    if isinstance(rule, SeamCheck):
        return replace(rule, judge=finding)
    if isinstance(rule, SourceCheck):
        return replace(rule, judge=finding)
    return replace(rule, judge=finding) if isinstance(rule, ArrangementCheck) else rule


class _Nothing:
    """A check in progress that judges nothing."""

    def __init__(self, why: Finding) -> None:
        self._why = why

    def add(self, rows: pd.DataFrame) -> None:
        """Look at no row."""

    def finding(self) -> Finding:
        return self._why


def _no_rows(series: Series, pieces: Iterable[pa.Table]) -> pa.Table:  # noqa: ARG001
    return datasets.get(series.table).schema.empty_table()
