"""Bars built from shorter bars equal the published bars.

A shorter bar without trades repeats the close before it; it is ignored in a longer bar that has trades
(`crypto_assets.rows.derive`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets.checks._columns import BAR
from crypto_assets.checks._differences import differences, whole_day
from crypto_assets.checks._words import differing
from crypto_assets.checks.agrees_with_bars import BARS, both_publish
from crypto_assets.model import (
    DAY,
    TIMEFRAME_LENGTHS,
    Comparison,
    Finding,
    Partition,
    Series,
    Severity,
    bar_length,
    not_judged,
)
from crypto_assets.rows.derive import merge_bars
from crypto_assets.rows.row_keys import numbers

_MINUTE = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)


def agrees_with_shorter(bars: pa.Table, shorter: pa.Table, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """Every bar equals the bar built from its parts, in every field that is published, if all parts are stored.

    Evidence: bars `compared`; bars `not_whole`, not compared because a part is missing or opens off the grid (`off_grid`
    counts such bars of both timeframes); how the compared bars differ, and the first differing values.
    """
    step, length = _length_of(shorter), bar_length(series.timeframe or "")
    if not step or step >= length or length % step:
        return not_judged("there are no shorter bars next to these")
    built = merge_bars(shorter, step, length)
    whole = np.isin(numbers(bars.column("open_time")), numbers(built.column("open_time")))
    found = differences(bars.filter(pa.array(whole)), built, BARS, both_publish(bars, built))
    evidence = found.counts()
    if not evidence["compared"]:
        return not_judged("no bar has all its parts")
    evidence["not_whole"] = int((~whole).sum())
    if beside := off_grid(bars, length) + off_grid(shorter, step):
        evidence["off_grid"] = beside
    return Finding(found.equal, evidence if found.equal else evidence | {"differences": found.shown("bars", "shorter")})


def off_grid(bars: pa.Table, length: timedelta) -> int:
    """Return how many bars open off the grid of their length."""
    return int(np.count_nonzero(numbers(bars.column("open_time")) % (length // _MICROSECOND)))


def _length_of(bars: pa.Table) -> timedelta | None:
    """Return the length of bars of one timeframe: the smallest distance between two bars that is a known timeframe.

    Other distances occur where bars leave the grid or return to it.
    """
    steps = np.diff(numbers(bars.column("open_time")))
    return min(
        (length for length in TIMEFRAME_LENGTHS.values() if (steps == length // _MICROSECOND).any()), default=None
    )


def _shorter(series: Series) -> tuple[Series, ...]:
    """Return the bar series whose length divides that of the series, longest first: these need the fewest rows."""
    length = bar_length(series.timeframe or "")
    parts = [name for name, part in TIMEFRAME_LENGTHS.items() if _MINUTE <= part < length and not length % part]
    return tuple(replace(series, timeframe=name) for name in reversed(parts))


def _has_parts(series: Series) -> bool:
    return series.timeframe != "1mo" and _MINUTE < bar_length(series.timeframe or "") <= DAY


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    return differing(evidence, "the bars built from the shorter ones", "bar")


CHECK = Comparison(
    name="agrees_with_shorter",
    columns=("timeframe", *BAR),
    severity=Severity.WARN,
    description="Bars built from shorter bars equal the published ones, in every field that the exchange publishes.",
    applies=_has_parts,
    source="lake",
    counterparts=_shorter,
    gather=whole_day,
    run=agrees_with_shorter,
    words=words,
)
