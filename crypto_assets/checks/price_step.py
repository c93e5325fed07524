"""The price continues across midnight.

A day of another symbol, or with prices in another unit, can be complete and correct in itself; only the day before shows
that its price level is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from crypto_assets.checks._minutes import from_bits
from crypto_assets.model import DAY, Finding, Profile, SeamCheck, Series, Severity, bar_length, not_judged

_FLOOR = 0.05
"""A step of 5 % is always allowed: |log(open / close before)|."""

_FACTOR = 3
"""The step may be three times as wide as the widest step between bars inside either day."""

_QUIET_MINUTES = 60
"""More is allowed after a silence: √2 times as much after an hour, √(n + 1) after n hours, as the spread of a price grows."""


def price_step(before: Profile | None, day: Profile, after: Profile | None, series: Series) -> Finding:  # noqa: ARG001
    """The first open is near the last close of the day before.

    Evidence: `step` and `allowed` as |log(open / close_before)|, the two prices, and the minutes around midnight without
    a trade or without a bar.
    """
    if before is None:
        return not_judged("the day before is not stored")
    if not (before.last_price and day.first_price):
        return not_judged("rows have no price")
    step = abs(math.log(day.first_price / before.last_price))
    quiet = _leading(_quiet(before)[::-1]) + _leading(_quiet(day))
    inside = max(before.largest_step or 0.0, day.largest_step or 0.0)
    allowed = max(_FLOOR, _FACTOR * inside) * math.sqrt(1 + quiet / _QUIET_MINUTES)
    return Finding(
        step <= allowed,
        {
            "step": round(step, 6),
            "allowed": round(allowed, 6),
            "close_before": before.last_price,
            "open": day.first_price,
            "quiet_minutes": quiet,
        },
    )


def _quiet(profile: Profile) -> np.ndarray:
    """Return the minutes of the day without a trade or without a bar."""
    return from_bits(profile.silent) | from_bits(profile.absent)


def _leading(minutes: np.ndarray) -> int:
    """Return the length of the run of set minutes at the start."""
    return len(minutes) if minutes.all() else int(minutes.argmin())


def _days_touch(series: Series) -> bool:
    return series.timeframe != "1mo" and bar_length(series.timeframe or "") <= DAY


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    step, allowed = (100 * math.expm1(evidence[name]) for name in ("step", "allowed"))
    return (
        f"the first open {evidence['open']:.12g} is {step:.3g} % away from the last close {evidence['close_before']:.12g} "
        f"of the day before; up to {allowed:.3g} % is usual"
    )


CHECK = SeamCheck(
    name="price_step",
    columns=("timeframe", "open", "close"),
    severity=Severity.WARN,
    description="The first open is near the last close of the day before.",
    applies=_days_touch,
    judge=price_step,
    words=words,
)
