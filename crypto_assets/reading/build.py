"""Build longer bars from stored shorter ones: `crypto_assets.read(…, "ohlcv_1h", build_from="ohlcv_1m")`.

A bar is built only from a complete set of shorter bars. Other bars are left out, and the coverage of their day says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from crypto_assets.errors import ConfigError
from crypto_assets.model import DAY, TIMEFRAME_LENGTHS, Series
from crypto_assets.reading.day_coverage import DayCoverage
from crypto_assets.reading.question import Question
from crypto_assets.rows.derive import Life, bars_of_days
from crypto_assets.rows.numpy_arrays import from_arrow


@dataclass(frozen=True, slots=True)
class Build:
    """The requested bars, and the question about the shorter bars they are built from, of every requested day."""

    target: Series
    asked: Question

    @property
    def length(self) -> timedelta:
        return TIMEFRAME_LENGTHS[self.target.timeframe or ""]

    @property
    def begin(self) -> datetime:
        """The first instant at which a requested bar may open."""
        return _up(self.asked.begin, self.length)

    def __str__(self) -> str:
        return f"{self.target} {self.asked.symbol}, built from {self.asked.series.dataset}"


def target_of(exchange: str, market_type: str, dataset: object, build_from: object) -> Series:
    """Return the series of bars that can be built from another one; raises ConfigError if that is impossible."""
    if not isinstance(dataset, str) or not isinstance(build_from, str):
        raise ConfigError(f"dataset, build_from: expected text such as 'ohlcv_1h', found {dataset!r}, {build_from!r}")
    try:
        target, source = (Series.named(exchange, market_type, name) for name in (dataset, build_from))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    length, step = (TIMEFRAME_LENGTHS.get(series.timeframe or "") for series in (target, source))
    if length is None or step is None or step >= length or length % step or DAY % length:
        shorter = [
            f"ohlcv_{name}" for name, one in TIMEFRAME_LENGTHS.items() if length and one < length and not length % one
        ]
        can = (
            f"{dataset} is built from {', '.join(shorter)}"
            if shorter and length and not DAY % length
            else ("bars of up to one day are built, from shorter ones that fit into them")
        )
        raise ConfigError(f"build_from={build_from!r}: expected shorter bars that make {dataset}; {can}")
    return target


def build_of(target: Series, asked: Question) -> Build:
    """Return what to build; `asked` is widened at its end to whole bars that open in [begin, after)."""
    return Build(target, replace(asked, after=_up(asked.after, TIMEFRAME_LENGTHS[target.timeframe or ""])))


def _up(moment: datetime, length: timedelta) -> datetime:
    """Return the first instant on a bar's grid at or after a moment."""
    midnight = datetime.combine(moment.date(), time(), UTC)
    return midnight + -((midnight - moment) // length) * length


def built_bars(
    build: Build, rows: pa.Table, coverage: Sequence[DayCoverage], lives: Mapping[date, Life]
) -> tuple[pa.Table, list[DayCoverage]]:
    """Return the bars built from the rows, and the coverage of their days with the number left out.

    Args:
        rows: the shorter bars of the question, all columns.
        lives: for days in which the symbol's life begins or ends.
    """
    asked, step = build.asked, TIMEFRAME_LENGTHS[build.asked.series.timeframe or ""]
    days = [one.day for one in coverage]
    bars = bars_of_days(rows, days, step, build.length, [lives.get(day, (None, None)) for day in days])
    opens = from_arrow(bars.column("open_time")) // 86_400_000_000
    counts = dict(zip(*(part.tolist() for part in np.unique(opens, return_counts=True)), strict=True))
    epoch = date(1970, 1, 1).toordinal()
    found = [_of_day(build, one, counts.get(one.day.toordinal() - epoch, 0), lives) for one in coverage]
    return bars, found if asked.days else []


def _of_day(build: Build, one: DayCoverage, built: int, lives: Mapping[date, Life]) -> DayCoverage:
    """Return the coverage of a day whose bars were built: how many were built and left out."""
    if not one.rows:
        return one
    left = _due(build, one, lives.get(one.day, (None, None))) - built
    if left <= 0:
        return replace(one, rows=built)
    timeframe, shorter = build.target.timeframe, build.asked.series.timeframe
    bars = f"{left} {timeframe} bar{'s are' if left > 1 else ' is'} left out: not all of the {shorter} bars are there"
    return replace(one, rows=built, reason=f"{one.reason}; {bars}" if one.reason else bars)


def _due(build: Build, one: DayCoverage, life: Life) -> int:
    """Return how many requested bars open in a day, within the day's rows so far and the symbol's life."""
    start = datetime.combine(one.day, time(), UTC)
    begin, after = max(start, build.begin), min(start + DAY, build.asked.after)
    since, until = life
    if since is not None:
        begin = max(begin, since)
    if until is not None:
        after = min(after, until)
    first = (begin - start) // build.length
    if one.until is not None and one.until < after:
        last = (one.until - start) // build.length  # an unfinished bar is not due yet
    else:
        last = -((start - after) // build.length)
    return max(last - first, 0)
