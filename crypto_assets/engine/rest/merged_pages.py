"""Joins the pages of a day: a row that was received twice is kept once.

Rows without numbers are one if the exchange gives them one text. Without texts, the page with the most rows of an instant has
it: pages that overlap have the same rows of it, or the first of them. What follows from the rows around (the interval of a
funding event) is as the later page has it: it had more of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.errors import InvalidRows
from crypto_assets.model import Dataset, Series
from crypto_assets.rows.arrange import arranged
from crypto_assets.rows.row_keys import are_numbered
from crypto_assets.sources.paging.rows_of_pages import ints


def merged(series: Series, key: str, tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all tables by key; a row that was received twice is kept once.

    Raises:
        InvalidRows: two rows of one key that differ.
    """
    dataset = datasets.get(series.table)
    if dataset.unnumbered_key and not are_numbered(dataset, *tables):
        return _without_numbers(
            key, dataset, _newest_of_each(dataset, tables) if sources.facts(series).revised else tables
        )
    (column,) = dataset.key
    rows = pa.concat_tables(tables, promote_options="none").combine_chunks()
    values = ints(rows, column)
    if (np.diff(values) < 0).any():
        order = np.argsort(values, kind="stable")
        rows, values = rows.take(pa.array(order)), values[order]
    same = np.flatnonzero(values[1:] == values[:-1])
    if len(same) == 0:
        return rows
    for place in same:
        first, second = rows.slice(place, 1).to_pylist(), rows.slice(place + 1, 1).to_pylist()
        if _published(first[0]) != _published(second[0]):
            raise InvalidRows(
                f"{key}: expected one row for {column} {values[place]}, found two that differ: {first[0]} and {second[0]}"
            )
    keep = np.ones(len(values), dtype=bool)
    keep[same] = False
    return rows.filter(pa.array(keep))


_FROM_OTHER_ROWS = frozenset({"funding_interval_hours"})


def _published(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what follows from the rows around it."""
    return {name: value for name, value in row.items() if name not in _FROM_OTHER_ROWS}


def _without_numbers(key: str, dataset: Dataset, tables: list[pa.Table]) -> pa.Table:
    has_texts = dataset.text_id is not None and not any(table.column(dataset.text_id).null_count for table in tables)
    rows = pa.concat_tables(tables if has_texts else _each_instant_once(dataset, tables), promote_options="none")
    found = arranged(rows, dataset)
    if found.arrangement.conflict:
        first, second = found.arrangement.conflict
        raise InvalidRows(
            f"{key}: expected one row for each {dataset.text_id}, found two that differ: {first} and {second}"
        )
    return found.rows


def _newest_of_each(dataset: Dataset, tables: list[pa.Table]) -> list[pa.Table]:
    """Return the tables without rows that a later table has in another version."""
    assert dataset.text_id is not None  # noqa: S101  Facts.revised needs one; tells the type checker
    kept: list[pa.Table] = []
    later: set[str] = set()
    for table in reversed(tables):
        texts = table.column(dataset.text_id).to_pylist()
        kept.append(table.filter(pa.array([text not in later for text in texts], pa.bool_())))
        later.update(texts)
    return kept[::-1]


def _each_instant_once(dataset: Dataset, tables: list[pa.Table]) -> list[pa.Table]:
    kept: list[pa.Table] = []
    for table in tables:
        times = ints(table, dataset.time_column)
        for place, other in enumerate(kept):
            theirs = ints(other, dataset.time_column)
            mine = _fuller(times, theirs)
            kept[place] = other.filter(pa.array(~np.isin(theirs, times[mine])))
            table, times = table.filter(pa.array(mine)), times[mine]
        kept.append(table)
    return kept


def _fuller(times: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the rows at instants that have more rows here than there."""
    instants, groups, counts = np.unique(times, return_inverse=True, return_counts=True)
    ascending = np.sort(theirs)
    there = np.searchsorted(ascending, instants, side="right") - np.searchsorted(ascending, instants)
    return (counts > there)[groups]
