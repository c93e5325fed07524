"""Funding: the payments between holders of perpetual contracts at fixed hours."""

from __future__ import annotations

import pyarrow as pa

from crypto_assets.datasets.types import DECIMAL, INSTANT, UTC_US
from crypto_assets.model import Column, Dataset

DATASET = Dataset(
    table="funding_rates",
    description="Funding events of perpetual contracts as the exchange publishes them.",
    row="funding event",
    columns=(
        Column(
            name="funding_time",
            type=INSTANT,
            unit=UTC_US,
            doc="instant of the event as published, some milliseconds after the hour",
        ),
        # ±100 % an event is far beyond the cap of any exchange.
        Column(
            name="funding_rate",
            type=DECIMAL,
            at_least=-1,
            at_most=1,
            doc="share of the position's value; longs pay shorts if positive",
        ),
        Column(
            name="funding_interval_hours",
            type=pa.int16(),
            unit="hours",
            at_least=1,
            at_most=24,
            doc="time between this event and the one before",
        ),
    ),
    time_column="funding_time",
    key=("funding_time",),
    leaf="year",
    to_warehouse=True,
)
