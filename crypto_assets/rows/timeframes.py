"""The timeframes of bars that are built from 1m bars; the bars are built in `crypto_assets.rows.derive`."""

from __future__ import annotations

from collections.abc import Mapping

BUILT_FROM: Mapping[str, str] = {
    "3m": "1m",
    "5m": "1m",
    "15m": "5m",
    "30m": "15m",
    "1h": "30m",
    "2h": "1h",
    "4h": "1h",
    "6h": "1h",
    "8h": "4h",
    "12h": "4h",
    "1d": "4h",
}
"""Every timeframe that can be built, ascending, and the one that it is built from: a multiple of 1m that divides a day.

Each is built from the one before: 1.3 times the rows of the day in total; building each from 1m is six times.
"""

DERIVED_TIMEFRAMES = ("5m", "15m", "30m", "1h", "4h", "1d")
"""The timeframes that an entry without `derived_timeframes` builds."""
