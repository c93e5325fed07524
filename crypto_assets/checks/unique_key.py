"""No two rows of a partition have the same key.

Exact duplicates were dropped before (`crypto_assets.rows.arrange`). Two different rows with one key contradict each other,
and nothing tells which is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._keys import Keys
from crypto_assets.checks._times import epoch_us, instant
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


class UniqueKey:
    """Keeps all keys, compactly (`crypto_assets.checks._keys`)."""

    def __init__(self, partition: Partition, series: Series) -> None:  # noqa: ARG002
        dataset = datasets.get(series.table)
        self._names = dataset.key
        self._words = [word for name in dataset.key for word in dataset.column(name).words]
        self._rows = 0
        self._keys = Keys()
        self._kinds: dict[str, str] = {}

    def add(self, rows: pd.DataFrame) -> None:
        if len(rows) == 0:
            return
        self._rows += len(rows)
        self._keys.add([self._integers(name, rows[name]) for name in self._names])

    def _integers(self, name: str, column: pd.Series) -> np.ndarray:
        kind = self._kinds[name] = column.dtype.kind
        if kind == "i":
            return column.to_numpy()
        if kind == "M":
            return epoch_us(column)
        places = {word: place for place, word in enumerate(self._words)}
        # An unknown category is the contract's matter; here such rows share one value.
        numbers = np.array([*(places.get(word, -1) for word in column.cat.categories), -1], dtype=np.int8)
        return numbers[column.cat.codes.to_numpy()]

    def finding(self) -> Finding:
        if self._rows == 0:
            return NO_ROWS
        doubles, key = self._keys.doubles()
        if doubles == 0:
            return Finding(True)
        values = zip(self._names, key, strict=True)
        return Finding(
            False,
            {"doubles": doubles, "first": ", ".join(f"{name} {self._text(name, value)}" for name, value in values)},
        )

    def _text(self, name: str, value: int) -> str:
        match self._kinds[name]:
            case "i":
                return str(value)
            case "M":
                return str(instant(value))
            case _:
                return self._words[value] if value >= 0 else "?"


def unique_key(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every row has its own key: open_time for bars, the exchange's id for trades."""
    return at_once(UniqueKey(partition, series), frame)


def with_rows(finding: Finding, rows: Sequence[Mapping[str, str]]) -> Finding:
    """Return a failed finding with two different rows of one key added (`crypto_assets.rows.arrange`)."""
    return Finding(False, {**finding.evidence, "rows_shown": list(rows)})


def words(evidence: Mapping[str, Any], series: Series) -> str:
    """Return the finding as a sentence, with the values in which the first two rows of one key differ."""
    if "doubles" not in evidence:
        return "every row has its own key"
    text = wrong_rows(evidence, "with the key of another row", count="doubles")
    if len(evidence.get("rows_shown", ())) < 2:
        return text
    one, other = evidence["rows_shown"][:2]
    differing = [name for name in datasets.get(series.table).schema.names if one[name] != other[name]]
    left, right = (", ".join(f"{name} {row[name]}" for name in differing) for row in (one, other))
    return f"{text}, once with {left}, once with {right}"


CHECK = Check(
    name="unique_key",
    severity=Severity.BLOCK,
    description="No two rows have the same key.",
    words=words,
    run=unique_key,
    fold=UniqueKey,
)
