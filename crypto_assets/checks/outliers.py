"""Bars far beyond what is usual in their hour of the week: a price ten times as high, a volume in another unit.

Four numbers of each bar that traded are compared: how far the price moved, volume, trade count, and amount per trade. What
is usual is the median of the same hour in the same weekday's up to eight weeks before, or that of the bar's own hour where
it is greater, for on a wild day every minute is. Markets have heavy tails, so a bar must exceed the usual by the factors
below, and by some robust standard deviations where the hour itself is uneven. On three real months of futures bars (AVAX
and FIL of 2023-09, ALGO of 2024-09, 27 days with three weeks before them) that warns of no day. Of the 38,800 bars that
traded all are found when their price is ten times as high; when their volume is a thousand times as great, 99.9 %, and all
that had the usual volume or more (the rest were so small that they are not far beyond the usual then).

Only what is too great is found: a bar without trades is `silent`, and a small one is nothing wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._times import epoch_us, start_us
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

if TYPE_CHECKING:
    import pandas as pd

_WHAT = ("price_move", "volume", "trade_count", "amount_per_trade")
"""`price_move` is log(highest / lowest price), the close before included."""

_COLUMNS = ("high", "low", "close", "volume", "trade_count")

_FACTORS = np.log([55.0, 90.0, 55.0, 20.0])
"""So many times the usual is allowed in any case; the amount of a trade varies least."""

_DEVIATIONS = np.array([4.0, 4.0, 4.0, 3.0])
"""So many robust standard deviations of the logarithms (1.4826 times the median deviation) are allowed in any case."""

_LEAST_MOVE = 1e-4
"""Smaller moves are ticks, not news."""

_GREATEST_MOVE = math.log(3)
"""A price three times as high within one bar is an outlier on the wildest day."""

_LEAST_WEEKS = 3
_HOURS = 24
_ENOUGH = 12
"""Bars an hour that are enough to say what is usual in it; longer bars are compared with their whole day."""


def outliers(frame: pd.DataFrame, partition: Partition, series: Series, profiles: Sequence[Profile]) -> Finding:
    """No bar is far beyond what is usual in its hour of the week.

    Evidence: `bars` that are, `examples` of what in them is, its value and the usual one, and the number of `weeks` before.

    Args:
        profiles: of the same weekday of up to eight weeks before.
    """
    weeks = [profile.hours for profile in profiles if profile.hours]
    if len(weeks) < _LEAST_WEEKS:
        return not_judged(f"the same weekday of {len(weeks)} weeks before is stored, {_LEAST_WEEKS} are needed")
    values = _values(frame, partition, series)
    own = _usual(values if values.shape[2] >= _ENOUGH else values.reshape(len(_WHAT), 1, -1))
    usual, deviation = np.maximum(_pooled(weeks), own)
    limit = usual + np.maximum(_FACTORS[:, None], _DEVIATIONS[:, None] * deviation)
    limit[0] = np.minimum(limit[0], math.log(_GREATEST_MOVE))
    beyond = values > limit[:, :, None]  # false where nothing is known of an hour
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
    """Return what is usual in each hour of a day: float32 of (median, deviation) × number × hour; None without trades.

    Both are of natural logarithms over the bars that traded; NaN in an hour in which none did.
    """
    usual = _usual(_values(frame, partition, series))
    return None if np.isnan(usual).all() else usual.astype(np.float32).tobytes()


def _values(frame: pd.DataFrame, partition: Partition, series: Series) -> np.ndarray:
    """Return the logarithms of the four numbers: number × hour × bar of the hour; NaN without a trade or a bar."""
    length = bar_length(series.timeframe or "")
    per_hour = timedelta(hours=1) // length
    high, low, close, volume, count = (frame[name].to_numpy() for name in _COLUMNS)
    # The first bar has none before it, and its own lowest price adds nothing.
    before = np.concatenate((low[:1], close[:-1]))
    places = (epoch_us(frame["open_time"]) - start_us(partition)) // (length // timedelta(microseconds=1))
    # As many bars as the day has steps are not enough: bars beside the grid may stand two in one of them.
    whole = len(low) == _HOURS * per_hour and bool((np.diff(places) == 1).all())
    if not whole:  # the move over a gap is not that of one bar
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
    """Return median and deviation of each hour over some weeks; NaN where too few of them traded in it.

    The deviation is that inside an hour or that between the weeks, whichever is greater.
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
    """Return the median over the last axis of what is not NaN; NaN where nothing is. Much quicker than np.nanmedian."""
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
    """Return what was found as a sentence."""
    if not evidence["bars"]:
        return f"no bar is far beyond the {counted(evidence['weeks'], 'week')} before"
    first = evidence["examples"][0]
    return (
        f"{counted(evidence['bars'], 'bar')} far beyond what is usual in its hour of the week; the first: "
        f"{first['open_time']}, {first['what']} {first['value']:g}, usually {first['usual']:g}"
    )


CHECK = HistoryCheck(
    name="outliers",
    columns=("timeframe", "open_time", *_COLUMNS),
    severity=Severity.WARN,
    description="No bar's price move, volume or trade count is far beyond what is usual in its hour of the week.",
    applies=_shorter_than_an_hour,
    run=outliers,
    words=words,
)
