"""The first and last rows of a period: the length of a row, and whether rows should be before or after them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.model import DAY, Partition, Series, bar_length, days_between
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES, due
from crypto_assets.rows.numbered import FEW_TRADES, NUMBERED

_MICROSECOND = timedelta(microseconds=1)
_EDGE = timedelta(hours=1)
"""Trades may be silent this long at midnight without a question (the same as in crypto_assets/checks/complete.py)."""


def step_of(series: Series) -> timedelta | None:
    """Return the length of bars that fit into a day, or None for longer ones."""
    if series.timeframe == "1mo" or bar_length(series.timeframe or "") > DAY:
        return None
    return bar_length(series.timeframe or "")


def row_length(series: Series) -> timedelta:
    """Return the length of a row in time: a bar's own length, one microsecond for other rows."""
    if series.table != "ohlcv":
        return _MICROSECOND
    return step_of(series) or DAY


def is_open(series: Series, begin: datetime, end: datetime, rows_before: pa.Table | None = None) -> bool:
    """Return whether rows should be in [begin, end) at an end of a period; pass `rows_before` if it is the last end."""
    if series.timeframe in LONG_TIMEFRAMES:
        days = days_between(begin.date(), (end - _MICROSECOND).date()) if begin < end else []
        return any(due(series.timeframe or "", day).opens is not False for day in days)
    slack = step_of(series) or DAY if series.table == "ohlcv" else _EDGE
    if series.table == "funding_rates" and rows_before is not None:
        # The last event of a day is one interval before midnight.
        slack = timedelta(hours=rows_before.column("funding_interval_hours")[-1].as_py(), seconds=1)
    return end - begin >= slack


def fills(series: Series, partition: Partition, rows: pa.Table) -> bool:
    """Return whether rows reach from one end of a day to the other, so that no edge of a life can be in it."""
    if not rows.num_rows:
        return False
    ends = pc.min_max(rows.column(datasets.get(series.table).time_column).cast(pa.int64())).as_py()
    first, last = instant(ends["min"]), instant(ends["max"]) + row_length(series)
    return not is_open(series, partition.start, first) and not is_open(series, last, partition.end, rows)


def traded_before(rows: pa.Table) -> bool:
    """Return whether the smallest trade number shows that many trades came before: a symbol's numbers start at 0 or 1.

    Rows without numbers show nothing.
    """
    name = next((name for name in NUMBERED.values() if name in rows.column_names), None)
    first = pc.min(rows.column(name)).as_py() if name is not None else None
    return first is not None and first > FEW_TRADES


def microseconds(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000


def instant(us: np.int64 | int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(us))
