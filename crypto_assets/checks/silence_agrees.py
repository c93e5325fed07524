"""The trade count and the volumes of a bar agree: no trades means no volume and one price.

A bar without trades is no defect: thin markets have many (ALGO/USDT:USDT 446 in 2024-09, all flat and empty), and an outage
gives them to every symbol at once (19 minutes from 2023-09-12 08:34). A bar whose columns contradict each other is a
defect, though a rare one: none in 129,600 published bars of three symbols (2023-09, 2024-09). It is stored as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets.checks._columns import BAR
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import SHOWN_ROWS, Check, Finding, Partition, Series, Severity
from crypto_assets.rows.day_frames import array_of

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trade_count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
)


_ALL = 1 + 1e-14
"""Float values may be off by some units in the last place, and by more in a column with negative numbers."""


def silence_agrees(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """Trades, volume and quote volume are zero together; takers bought at most the volume; a silent bar is flat.

    Columns that the exchange does not publish are not compared.

    A zero quote volume alone is correct if the amount traded was too small for the exchange's rounding.
    """
    columns = {name: array_of(frame, name) for name in _SHOWN if name in frame}
    values = {name: column for name, column in columns.items() if not _is_null(column)}
    volume = values["volume"]
    silent, empty = values["trade_count"] == 0, volume == 0
    none = np.zeros(len(volume), dtype=bool)
    bought_more = values["taker_buy_volume"] > volume * _ALL if "taker_buy_volume" in values else none
    quote_volume = values.get("quote_volume")
    bought_more_quote = none
    if quote_volume is not None and "taker_buy_quote_volume" in values:
        bought_more_quote = values["taker_buy_quote_volume"] > quote_volume * _ALL
    if not (silent.any() or empty.any() or bought_more.any() or bought_more_quote.any()):
        return Finding(True)
    flat = (values["high"] == values["low"]) & (values["open"] == values["close"]) & (values["open"] == values["high"])
    broken = {
        "trade_count and volume are zero together": silent != empty,
        "no volume, no quote_volume": none if quote_volume is None else empty & (quote_volume != 0),
        "taker_buy_volume ≤ volume": bought_more,
        "taker_buy_quote_volume ≤ quote_volume": bought_more_quote,
        "no trades, one price": silent & ~flat,
    }
    wrong = np.logical_or.reduce(list(broken.values()))
    if not wrong.any():
        return Finding(True)
    places = np.flatnonzero(wrong)
    times = frame["open_time"].iloc[places[:SHOWN_ROWS]]
    examples: list[dict[str, Any]] = [
        {"open_time": str(time), **{name: _shown(value[place]) for name, value in values.items()}}
        for time, place in zip(times, places, strict=False)
    ]
    rules = {rule: int(rows.sum()) for rule, rows in broken.items() if rows.any()}
    first = next(rule for rule, rows in broken.items() if rows[places[0]])
    return Finding(
        False,
        {
            "rows": len(places),
            "rules": rules,
            "first": f"{examples[0]['open_time']}: expected {first}, found "
            + ", ".join(f"{name} {examples[0][name]:.12g}" for name in values),
            "examples": examples,
        },
    )


def _is_null(column: np.ndarray) -> bool:
    """Return whether a column has rows, and no value in any of them."""
    if not len(column) or column.dtype.kind in "iu":
        return False
    if column.dtype.kind == "f":
        return bool(np.isnan(column[0]) and np.isnan(column).all())
    from pandas import isna  # of integers with nulls

    return bool(isna(column).all())


def _shown(value: np.generic) -> float:
    """Return a number without the last digits, which differ from the published ones."""
    return int(value) if isinstance(value, np.integer) else float(f"{value:.15g}")


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if "rows" not in evidence:
        return "volumes and trade counts agree in every bar"
    return wrong_rows(evidence, "with volumes and trade counts that contradict each other", "bar")


CHECK = Check(
    name="silence_agrees",
    columns=(*BAR, "trade_count"),
    severity=Severity.WARN,
    counts_wrong_rows=True,
    description="Trade count and volumes are zero together, a bar without trades is flat, takers bought at most the volume.",
    run=silence_agrees,
    words=words,
)
