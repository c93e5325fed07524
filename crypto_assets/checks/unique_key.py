"""No two rows of a partition have the same key.

Exact duplicates were dropped before (`crypto_assets.rows.arrange`). Two different rows with one key contradict each other,
and nothing tells which is right. Trades without a number have their instant and their place in the file as key;
if the exchange gives each its own text, no two have the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._keys import Keys, whole_numbers
from crypto_assets.checks._times import instant
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity
from crypto_assets.rows.day_frames import epoch_us, times_us
from crypto_assets.sources.published import dataset_of

if TYPE_CHECKING:
    import pandas as pd


class UniqueKey:
    """Keeps all keys, compactly (`crypto_assets.checks._keys`)."""

    def __init__(self, partition: Partition, series: Series) -> None:  # noqa: ARG002
        dataset = dataset_of(series)
        self._text_id = dataset.text_id
        self._hashes: list[np.ndarray] = []
        self._names = dataset.key
        self._time = dataset.time_column
        self._words = [word for name in dataset.key for word in dataset.column(name).words]
        self._rows = 0
        self._keys = Keys()
        self._kinds: dict[str, str] = {}

    def add(self, rows: pd.DataFrame) -> None:
        if len(rows) == 0:
            return
        self._rows += len(rows)
        self._keys.add([self._integers(name, rows) for name in self._names])
        if self._text_id is not None:
            self._hashes.append(_hashes(rows[self._text_id]))

    def _integers(self, name: str, rows: pd.DataFrame) -> np.ndarray:
        if name == self._time:
            self._kinds[name] = "M"
            return times_us(rows, name)
        column = rows[name]
        kind = self._kinds[name] = column.dtype.kind
        if kind in "if":  # an integer of which some are missing is a float
            return whole_numbers(column)
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
            return self._texts()
        values = zip(self._names, key, strict=True)
        return Finding(
            False,
            {"doubles": doubles, "first": ", ".join(f"{name} {self._text(name, value)}" for name, value in values)},
        )

    def _texts(self) -> Finding:
        """Return whether every row has its own text, where the exchange gives each row one."""
        if self._text_id is None:
            return Finding(True)
        hashes = np.concatenate(self._hashes)
        doubles = len(hashes) - len(np.unique(hashes))
        return (
            Finding(False, {"doubles": doubles, "first": f"two rows with one {self._text_id}"})
            if doubles
            else Finding(True)
        )

    def _text(self, name: str, value: int) -> str:
        match self._kinds[name]:
            case "i" | "f":
                return str(value)
            case "M":
                return str(instant(value))
            case _:
                return self._words[value] if value >= 0 else "?"


def _hashes(texts: pd.Series) -> np.ndarray:
    """Return 8 bytes for each text: two of ten million differ in them all but once in 370,000 days."""
    from pandas.util import hash_array

    return hash_array(texts.to_numpy(dtype=object), categorize=False)


def unique_key(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every row has its own key: open_time for bars, the exchange's id for trades, else their instant and place."""
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
