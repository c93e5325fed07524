"""The day is all there.

A day that is not over is judged up to the instant that its rows are to reach (`Partition.until`).

Bars: one for each step of the timeframe. Funding: no event further from the next than the interval that one of them
names. Trades have no expected count. Inside the day their ids tell: Binance numbers spot trades without a gap, so ids
that lack are rows that lack; of futures it hides some (internal and insurance trades, binance-public-data #190, #363,
#378), so there only many at one place count, with a minute of silence around them. At its ends silence is judged: a
file that was cut is silent up to midnight although its symbol trades all the time. (Ids that run on from the day before
prove more; that needs two days at once and is a check of its own.)
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._times import epoch_us, start_us
from crypto_assets.model import DAY, Check, Finding, Partition, Series, Severity, bar_length

if TYPE_CHECKING:
    import pandas as pd

_HOUR_US = 3_600_000_000
_EDGE_FACTOR = 3
"""A day's edge may be silent three times as long as its longest silence inside, and an hour in any case."""

_HIDDEN = 100
_SILENCE_US = 60_000_000
"""Futures: so many ids at one place may be hidden, and more where trading goes on meanwhile."""


def complete(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every bar, every funding event, or trades from one end of the day to the other."""
    match series.table:
        case "ohlcv":
            return _bars(frame, partition, series)
        case "funding_rates":
            return _funding(frame, partition)
        case _:
            return _trades(frame, partition, series)


def _length_us(partition: Partition) -> int:
    end = min(partition.until or partition.end, partition.end)
    return (end - partition.start) // timedelta(microseconds=1)


def _funding(frame: pd.DataFrame, partition: Partition) -> Finding:
    """The first event is at midnight, and no two are further apart than an interval that one of them names.

    Exchanges switch a symbol from 8 to 4 or 1 hours in the middle of a day, so a fixed count would be wrong.
    """
    hours = (epoch_us(frame["funding_time"]) - start_us(partition)) // _HOUR_US
    intervals = frame["funding_interval_hours"].to_numpy()
    steps = np.diff(hours, append=_length_us(partition) // _HOUR_US)
    allowed = np.maximum(intervals, np.append(intervals[1:], intervals[-1:]))
    absent = [f"after {hour:02d}:00" for hour in hours[steps > allowed]]
    if hours[0] > 0:
        absent.insert(0, "at 00:00")
    evidence = {"events": len(frame), "hours": " ".join(f"{hour:02d}" for hour in hours)}
    return Finding(not absent, evidence | ({"missing": ", ".join(absent)} if absent else {}))


def _bars(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    timeframe = series.timeframe or ""
    if timeframe == "1mo" or bar_length(timeframe) > DAY:
        return Finding(len(frame) == 1, {"expected": 1, "found": len(frame)})
    step = bar_length(timeframe)
    expected = _length_us(partition) // (step // timedelta(microseconds=1))
    # Rows are not only counted: a double or a row of the next day must not stand in for a bar that is missing.
    places = (epoch_us(frame["open_time"]) - start_us(partition)) // (step // timedelta(microseconds=1))
    present = np.zeros(expected, dtype=bool)
    present[places[(places >= 0) & (places < expected)]] = True
    absent = np.flatnonzero(~present)
    if len(absent) == 0:
        return Finding(True, {"expected": expected, "found": len(frame)})
    return Finding(
        False,
        {"expected": expected, "found": len(frame), "missing": len(absent), "spans": _spans(absent, step)},
    )


def _spans(absent: np.ndarray, step: timedelta) -> list[str]:
    """Return runs of absent bars as `08:34–08:52`, first and last bar, at most twenty."""
    if len(absent) == 0:
        return []
    runs = np.split(absent, np.flatnonzero(np.diff(absent) > 1) + 1)
    form = "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M"

    def clock(place: int) -> str:
        return str(
            (np.datetime64(0, "s") + np.timedelta64(int(place * step.total_seconds()), "s")).item().strftime(form)
        )

    return [clock(run[0]) + (f"–{clock(run[-1])}" if len(run) > 1 else "") for run in runs[:20]]


def _trades(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    times = epoch_us(frame[datasets.get(series.table).time_column])
    start = start_us(partition)
    before = int(times.min()) - start
    after = start + _length_us(partition) - int(times.max())
    inside = int(np.diff(times).max()) if len(times) > 1 else 0
    allowed = max(_HOUR_US, _EDGE_FACTOR * inside)
    evidence = {
        "silent_before_s": round(before / 1e6, 3),
        "silent_after_s": round(after / 1e6, 3),
        "longest_silence_inside_s": round(inside / 1e6, 3),
    }
    absent, places = _absent_ids(frame, times, partition, series)
    if absent:
        evidence |= {"missing_ids": absent, "places": places}
    return Finding(before <= allowed and after <= allowed and not absent, evidence)


def _absent_ids(frame: pd.DataFrame, times: np.ndarray, partition: Partition, series: Series) -> tuple[int, int]:
    """Return how many ids lack between the rows, in the order of the ids, and at how many places."""
    ids = frame["trade_id" if series.table == "trades" else "agg_trade_id"].to_numpy()
    inside = (times >= start_us(partition)) & (times < start_us(partition) + 24 * _HOUR_US)
    ids, times = ids[inside], times[inside]
    if (np.diff(ids) < 0).any():
        order = np.argsort(ids, kind="stable")
        ids, times = ids[order], times[order]
    lacking = np.diff(ids) - 1
    if (lacking < 0).any():  # doubles, which `unique_key` reports: an id that was overwritten is no gap
        return 0, 0
    if series.market_type == "spot":
        lacking = lacking[lacking > 0]
    else:
        lacking = lacking[(lacking > _HIDDEN) & (np.diff(times) >= _SILENCE_US)]
    return int(lacking.sum()), len(lacking)


CHECK = Check(
    name="complete",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates"),
    severity=Severity.DEGRADE,
    description="Every bar of the day, every funding event, trades from one end of the day to the other.",
    run=complete,
)
