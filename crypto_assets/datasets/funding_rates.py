"""Funding: what holders of perpetual contracts pay each other at fixed hours."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, columns
from crypto_assets.model import Dataset

if TYPE_CHECKING:
    import pandera.pandas as pandera


@cache
def contract() -> pandera.DataFrameSchema:
    """Return what holds for every single funding event."""
    import pandera.pandas as pandera

    return pandera.DataFrameSchema(
        {
            "funding_time": pandera.Column("datetime64[us, UTC]"),
            # A rate of ±100 % an event is far outside what any exchange caps it to.
            "funding_rate": pandera.Column(float, pandera.Check.in_range(-1, 1)),
            "funding_interval_hours": pandera.Column("int16", pandera.Check.in_range(1, 24)),
        },
        strict=True,
        ordered=True,
    )


DATASET = Dataset(
    table="funding_rates",
    description="Funding events as the exchange publishes them.",
    schema=columns(
        ("funding_time", INSTANT),
        ("funding_rate", DECIMAL),
        ("funding_interval_hours", pa.int16()),
    ),
    time_column="funding_time",
    key=("funding_time",),
    contract=contract,
    to_warehouse=True,
    column_docs={
        "funding_time": "instant of the event as published, some milliseconds after the hour, UTC, microseconds",
        "funding_rate": "share of the position's value; longs pay shorts where it is positive",
        "funding_interval_hours": "hours between this event and the one before",
    },
)
