"""Bars far beyond the usual for their hour of the week: a price ten times as high, a volume in another unit.

Four numbers of each bar with trades are compared: price move, volume, trade count, and amount per trade. The usual is the
median of the same hour and weekday in up to eight weeks before, or of the bar's own hour if that is greater, because on a
wild day every minute is wild. Markets have heavy tails: a bar must exceed the usual by the factors below, and by some
robust standard deviations if the hour itself varies.

Measured on three real months of futures bars (AVAX and FIL of 2023-09, ALGO of 2024-09, 27 days with three weeks before
them): no day gets a warning. Of the 38,800 bars with trades, all are found with ten times the price, and 99.9 % with a
thousand times the volume (the rest had volumes far below the usual).

Only values that are too great are found: a bar without trades is `silent`, and a small one is normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._times import start_us
from crypto_assets.checks._words import counted
from crypto_assets.model import (
    DAY,
    SHOWN_ROWS,
    Finding,
    HistoryCheck,
    Partition,
    Profile,
    Series,
    Severity,
    bar_length,
    not_judged,
)
from crypto_assets.rows.day_frames import array_of, computed_once, times_us

if TYPE_CHECKING:
    import pandas as pd

_WHAT = ("price_move", "volume", "trade_count", "amount_per_trade")
"""`price_move` is log(highest / lowest price), with the close before included."""

_COLUMNS = ("high", "low", "close", "volume", "trade_count")

_FACTORS = np.log([55.0, 90.0, 55.0, 20.0])
"""A bar may always be this many times the usual; the amount per trade varies least."""

_DEVIATIONS = np.array([4.0, 4.0, 4.0, 3.0])
"""A bar may always be this many robust standard deviations of the logarithms away (1.4826 times the median deviation)."""

_LEAST_MOVE = 1e-4
"""Smaller price moves are single ticks."""

_GREATEST_MOVE = math.log(3)
"""A price three times as high within one bar is an outlier on any day."""

_LEAST_WEEKS = 3
_HOURS = 24
_ENOUGH = 12
"""Bars an hour needed to know its usual values; longer bars are compared with their whole day."""


def outliers(frame: pd.DataFrame, partition: Partition, series: Series, profiles: Sequence[Profile]) -> Finding:
    """No bar is far beyond the usual for its hour of the week.

    Evidence: the number of such `bars`; `examples` with the kind of number, its value and the usual one; the number of
    `weeks` compared.

    Args:
        profiles: the same weekday in up to eight weeks before.
    """
    weeks = [profile.hours for profile in profiles if profile.hours]
    if len(weeks) < _LEAST_WEEKS:
        return not_judged(f"the same weekday is stored for {len(weeks)} weeks before, {_LEAST_WEEKS} are needed")
    values, own = _measured(frame, partition, series)
    if values.shape[2] < _ENOUGH:
        own = _usual(values.reshape(len(_WHAT), 1, -1))
    usual, deviation = np.maximum(_pooled(weeks), own)
    limit = usual + np.maximum(_FACTORS[:, None], _DEVIATIONS[:, None] * deviation)
    limit[0] = np.minimum(limit[0], math.log(_GREATEST_MOVE))
    beyond = values > limit[:, :, None]  # false where an hour has no usual values
    evidence: dict[str, Any] = {"weeks": len(weeks), "bars": int(beyond.any(axis=0).sum())}
    if not evidence["bars"]:
        return Finding(True, evidence)
    hours, places, kinds = np.nonzero(beyond.transpose(1, 2, 0))
    length = bar_length(series.timeframe or "")
    evidence["examples"] = [
        {
            "open_time": str((partition.start + hour * timedelta(hours=1) + place * length).replace(tzinfo=None)),
            "what": _WHAT[kind],
            "value": _digits(values[kind, hour, place]),
            "usual": _digits(usual[kind, hour]),
        }
        for hour, place, kind in zip(
            *(numbers[:SHOWN_ROWS].tolist() for numbers in (hours, places, kinds)), strict=True
        )
    ]
    return Finding(False, evidence)


def hours_of(frame: pd.DataFrame, partition: Partition, series: Series) -> bytes | None:
    """Return the usual values of each hour of a day: float32 (median, deviation) × number × hour; None without trades.

    Both are of natural logarithms over the bars with trades; NaN in an hour without trades.
    """
    _, usual = _measured(frame, partition, series)
    return None if np.isnan(usual).all() else usual.astype(np.float32).tobytes()


def _measured(frame: pd.DataFrame, partition: Partition, series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the four numbers of each bar, and their usual values in each hour; the check and the profile share them."""

    def measure() -> tuple[np.ndarray, np.ndarray]:
        values = _values(frame, partition, series)
        return values, _usual(values)

    return computed_once(frame, "outliers", measure)


def _values(frame: pd.DataFrame, partition: Partition, series: Series) -> np.ndarray:
    """Return the logarithms of the four numbers: number × hour × bar of the hour; NaN without a trade or a bar."""
    length = bar_length(series.timeframe or "")
    per_hour = timedelta(hours=1) // length
    high, low, close, volume, count = (array_of(frame, name) for name in _COLUMNS)
    # The first bar has no close before it; its own lowest price adds nothing.
    before = np.concatenate((low[:1], close[:-1]))
    places = (times_us(frame, "open_time") - start_us(partition)) // (length // timedelta(microseconds=1))
    # Counting the bars is not enough: two bars off the grid may be in one step.
    whole = len(low) == _HOURS * per_hour and bool((np.diff(places) == 1).all())
    if not whole:  # the move over a gap is not the move of one bar
        before = np.where(np.diff(places, prepend=-1) == 1, before, low)
    traded = (count > 0) & (volume > 0)
    numbers = np.empty((len(_WHAT), len(low)))
    np.log(np.maximum(high, before) / np.minimum(low, before), out=numbers[0])
    np.maximum(numbers[0], _LEAST_MOVE, out=numbers[0])
    numbers[1], numbers[2] = volume, count
    if not traded.all():
        numbers[:, ~traded] = np.nan
    np.log(numbers[:3], out=numbers[:3])
    np.subtract(numbers[1], numbers[2], out=numbers[3])
    if not whole:
        inside = (places >= 0) & (places < _HOURS * per_hour)
        spread = np.full((len(_WHAT), _HOURS * per_hour), np.nan)
        spread[:, places[inside]] = numbers[:, inside]
        numbers = spread
    return numbers.reshape(len(_WHAT), _HOURS, per_hour)


def _usual(values: np.ndarray) -> np.ndarray:
    """Return median and deviation over the last axis, as the first axis of the result."""
    middle = _median(values)
    return np.stack((middle, 1.4826 * _median(np.abs(values - middle[..., None]))))


def _pooled(weeks: Sequence[bytes]) -> np.ndarray:
    """Return median and deviation of each hour over some weeks; NaN where too few weeks traded in it.

    The deviation is the greater of that within an hour and that between the weeks.
    """
    hours = np.frombuffer(b"".join(weeks), dtype=np.float32).reshape(len(weeks), 2, len(_WHAT), _HOURS)
    hours = np.ascontiguousarray(np.moveaxis(hours, 0, -1))
    middle, inside = _median(hours)
    between = 1.4826 * _median(np.abs(hours[0] - middle[..., None]))
    unknown = np.isnan(hours[0])
    if unknown.any():
        middle[len(weeks) - np.count_nonzero(unknown, axis=-1) < _LEAST_WEEKS] = np.nan
    return np.stack((middle, np.maximum(inside, between)))


def _median(values: np.ndarray) -> np.ndarray:
    """Return the median over the last axis, ignoring NaN; NaN if all values are. Much faster than np.nanmedian."""
    ordered = np.sort(values, axis=-1)  # NaN is sorted last
    size = ordered.shape[-1]
    if not np.isnan(ordered[..., -1]).any():
        return (ordered[..., (size - 1) // 2] + ordered[..., size // 2]) / 2
    flat = ordered.reshape(-1, size)
    known = size - np.count_nonzero(np.isnan(flat), axis=-1)
    rows = np.arange(len(flat))
    middle = flat[rows, np.maximum(known - 1, 0) // 2] + flat[rows, np.minimum(known // 2, size - 1)]
    return (middle / 2).reshape(ordered.shape[:-1])


def _digits(logarithm: float) -> float:
    return float(f"{math.exp(logarithm):.6g}")


def _shorter_than_an_hour(series: Series) -> bool:
    return series.timeframe != "1mo" and bar_length(series.timeframe or "") < DAY / _HOURS


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if not evidence["bars"]:
        return f"no bar is far beyond the {counted(evidence['weeks'], 'week')} before"
    first = evidence["examples"][0]
    return (
        f"{counted(evidence['bars'], 'bar')} far beyond the usual for the hour of the week; the first: "
        f"{first['open_time']}, {first['what']} {first['value']:g}, usually {first['usual']:g}"
    )


CHECK = HistoryCheck(
    name="outliers",
    columns=("timeframe", "open_time", *_COLUMNS),
    severity=Severity.WARN,
    description="No bar's price move, volume or trade count is far beyond the usual for its hour of the week.",
    applies=_shorter_than_an_hour,
    run=outliers,
    words=words,
)
