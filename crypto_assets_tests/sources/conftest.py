"""An archive of made-up files for the tests of sources."""

from __future__ import annotations

from datetime import date

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive


@pytest.fixture(scope="module")
def archive() -> SyntheticArchive:
    return SyntheticArchive(
        {"spot": ["BTCUSDT"], "linear": ["BTCUSDT", "BTCUSDT_250328"]},
        date(2024, 12, 1),
        date(2025, 1, 31),
        trades_per_day=2_000,
    )
