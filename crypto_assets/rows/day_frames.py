"""The days of a check frame, and the numbers of a frame that its checks share.

The checks of a day read its columns some forty times, and pandas makes a new Series each time: a third of the time of all
checks. A frame from `days_of` carries its columns as arrays too; `array_of` and `times_us` take them from there. Any other
check frame carries nothing, also one made from such a frame, and they give the same for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

_COLUMNS, _COMPUTED = "_crypto_assets_columns", "_crypto_assets_computed"
"""Attributes of a frame of `days_of`: its columns as arrays, and what `computed_once` computed from it."""


def days_of(frame: pd.DataFrame, bounds: np.ndarray) -> Iterator[pd.DataFrame]:
    """Yield the days of a check frame; nobody may change one of them in place.

    Args:
        bounds: the first row of each day, and at the end the number of all rows.
    """
    columns = {name: array for name in frame.columns if (array := _array(frame[name])) is not None}
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        day = frame.iloc[first:end]
        # pandas takes a plain assignment for that of a column.
        object.__setattr__(day, _COLUMNS, {name: array[first:end] for name, array in columns.items()})
        object.__setattr__(day, _COMPUTED, {})
        yield day


def array_of(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column of numbers of a check frame as it is in numpy."""
    carried: np.ndarray | None = vars(frame).get(_COLUMNS, {}).get(name)
    return frame[name].to_numpy() if carried is None else carried


def times_us(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column of UTC times of a check frame as int64 microseconds since 1970."""
    carried: np.ndarray | None = vars(frame).get(_COLUMNS, {}).get(name)
    return epoch_us(frame[name]) if carried is None else carried


def computed_once(frame: pd.DataFrame, name: str, compute: Callable[[], T]) -> T:
    """Return what a function computes from a frame of `days_of`, computed once for each name; for other frames every time."""
    computed: dict[str, Any] | None = vars(frame).get(_COMPUTED)
    if computed is None:
        return compute()
    if name not in computed:
        computed[name] = compute()
    found: T = computed[name]
    return found


def epoch_us(times: pd.Series) -> np.ndarray:
    """Return UTC times as int64 microseconds since 1970, without a copy if the unit is right already."""
    return times.array.as_unit("us").asi8


def _array(column: pd.Series) -> np.ndarray | None:
    """Return numbers as they are in numpy, times as microseconds; None for integers with null, words and texts."""
    kind = column.dtype
    if isinstance(kind, np.dtype) and kind.kind in "if":
        return column.to_numpy()
    return epoch_us(column) if kind.kind == "M" else None
