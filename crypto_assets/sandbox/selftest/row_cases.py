"""Cases of files with wrong, missing, repeated, unordered or mistimed rows.

Wrong rows are never stored. If rows are missing, the others are stored and the day reports the loss. Rows with one right
order are sorted; equal repeated rows are stored once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from crypto_assets.sandbox.selftest.case import AVAILABLE, BAD, DEGRADED, FILE, MISSING, Case, one_of
from crypto_assets.sandbox.selftest.scenes import AGGREGATES, FUNDING, FUTURES, LONG_BARS

KLINES, TRADES = f"*klines*-{BAD}.zip", f"*trades*-{BAD}.zip"


def _tidied(name: str, pattern: str, mark: str, *datasets: str, **case: Any) -> Case:
    """Unordered or repeated rows: stored in order and once, and the day reports it."""
    fault = name.rpartition("stored, then ")[2].partition(",")[0]
    return Case(
        name,
        (f"{fault}:{pattern}",),
        one_of(AVAILABLE),
        marks=frozenset({mark}),
        publishes=fault,
        in_order=True,
        datasets=datasets,
        **case,
    )


def _lost_bar(timeframe: str, day: date) -> Case:
    """A bar missing from a monthly file, on a day when a bar opens."""
    dataset = f"ohlcv_{timeframe}"
    return Case(
        f"missing-bar, {timeframe}",
        (f"missing-bar:*-{timeframe}-{day:%Y-%m}.zip",),
        one_of(MISSING),
        ("bar", "rows"),
        first=day,
        last=day,
        fill=True,
        publishes="missing-bar",
        datasets=(dataset,),
        scene=replace(LONG_BARS, datasets=(dataset,)),
    )


ROWS = (
    Case(
        "missing-minutes",
        (f"missing-minutes:{KLINES}",),
        one_of(DEGRADED),
        ("3 of 1,440 bars are missing",),
        publishes="missing-minutes",
        datasets=("ohlcv_1m",),
    ),
    Case(
        "missing-minutes, trades",  # their ids continue, so a hole is a loss
        (f"missing-minutes:{TRADES}",),
        one_of(DEGRADED),
        ("ids",),
        publishes="missing-minutes",
        datasets=("trades",),
    ),
    _lost_bar("3d", date(2024, 1, 21)),
    _lost_bar("1w", date(2024, 1, 22)),
    _lost_bar("1mo", date(2024, 2, 1)),
    Case(
        "inconsistent-values",
        (f"inconsistent-values:{FILE}",),
        one_of(MISSING),
        ("outside low and high", "not allowed"),
    ),
    Case("conflicting-rows", (f"conflicting-rows:{FILE}",), one_of(MISSING), ("with the key of another row",)),
    _tidied("duplicate-rows", FILE, "duplicate_rows"),
    _tidied("descending-rows", FILE, "file_order"),
    _tidied("shuffled-rows", FILE, "file_order"),
    _tidied("swapped-rows", TRADES, "file_order", "trades"),
    _tidied("swapped-rows, futures", "*rades-2024-01-02.zip", "file_order", "trades", "agg_trades", scene=FUTURES),
    _tidied("stored, then shuffled-rows", FILE, "file_order", stored=True),
    _tidied(
        "descending-rows, files of months",
        "*-2024-02.zip",
        "file_order",
        scene=FUNDING,
        first=date(2024, 2, 1),
        last=date(2024, 2, 29),
    ),
    _tidied(
        "duplicate-rows, files of months",
        "*-2024-02.zip",
        "duplicate_rows",
        scene=FUNDING,
        first=date(2024, 2, 15),
        last=date(2024, 2, 15),
    ),
    Case(
        "off-grid-bars",
        (f"off-grid-bars:{KLINES}",),
        one_of(AVAILABLE),
        marks=frozenset({"on_grid"}),
        publishes="off-grid-bars",
        datasets=("ohlcv_1m",),
    ),
    Case("header", (f"header:{FILE}",), one_of(AVAILABLE), publishes="header"),
    Case(
        "header, futures",
        ("header:*",),
        one_of(AVAILABLE),
        publishes="header",
        first=FUTURES.first,
        scene=FUTURES,
    ),
    Case(
        "repeated-id",
        (f"repeated-id:*-{BAD}.zip", f"repeated-id:*-{AGGREGATES.last}.zip"),
        one_of(AVAILABLE),
        publishes="repeated-id",
        first=BAD,
        scene=AGGREGATES,
    ),
)
