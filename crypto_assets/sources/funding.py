"""The intervals of funding events, for sources that do not publish them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_HOUR_US = 3_600_000_000
_USUAL_HOURS, _MOST_HOURS = 8, 24


def intervals(time: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the hours (int16) that each event of one symbol is for, from their instants; see `hours_of`."""
    return pa.chunked_array([pa.array(hours_of(time.cast(pa.int64()).to_numpy()), pa.int16())])


def hours_of(microseconds: np.ndarray) -> np.ndarray:
    """Return the hours that each event of one symbol is for; `microseconds` are their times, in any order.

    It is the shorter of the times to the events before and after, so that a missing event does not hide itself, and a day
    at most; 8 hours, the usual interval, if there is no other event. So an answer should have the events around those that
    are wanted. Published times are some milliseconds past the hour.
    """
    hours = np.rint(microseconds / _HOUR_US).astype(np.int64)
    order = np.argsort(hours, kind="stable")
    steps = np.diff(hours[order])
    steps = np.where(steps > 0, steps, _MOST_HOURS)  # an event that is there twice is refused later, with its rows
    shorter = np.full(len(hours), _USUAL_HOURS)
    if len(steps):
        shorter[order] = np.minimum(np.append(steps, steps[-1]), np.append(steps[0], steps))
    return np.minimum(shorter, _MOST_HOURS)
