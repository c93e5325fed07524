"""Times as integers, for the checks."""

from __future__ import annotations

import numpy as np

from crypto_assets.model import Partition


def start_us(partition: Partition) -> int:
    """Return the first instant of the day in microseconds since 1970."""
    return int(partition.start.timestamp()) * 1_000_000


def instant(us: int) -> np.datetime64:
    """Return microseconds since 1970 as an instant that prints as `2024-03-01T00:10:00.000000`."""
    return np.datetime64(int(us), "us")
