"""When an asset counts as stale: from the hours in which its archive publishes. Dagster's daemon evaluates it.

Dagster looks at the time of the newest materialisation of any day. Which days are missing says the check
`all_days_complete`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg

from crypto_assets import sources
from crypto_assets.config.collection import SeriesEntry
from crypto_assets.model import Series
from crypto_assets.sources.publication import publication


def freshness(series: Series) -> dg.FreshnessPolicy:
    """Return the policy of a series that goes on.

    It warns if nothing was stored for a whole period and the time in which most files appear (daily files: 36 hours), and
    fails once the next file counts as missing (4 days).
    """
    when = publication(series)
    return dg.FreshnessPolicy.time_window(
        fail_window=when.longest_period + when.missing_after, warn_window=when.longest_period + when.mostly_by
    )


def freshness_of_table(feeders: Iterable[Series]) -> dg.FreshnessPolicy | None:
    """Return the policy of a table: that of the feeder which is published most often; None without feeders."""
    found = list(feeders)
    return freshness(min(found, key=lambda series: publication(series).longest_period)) if found else None


def goes_on(entry: SeriesEntry, symbol: str, now: datetime | None = None) -> bool:
    """Return whether new days of a symbol are expected: neither its entry nor its contract has ended."""
    at = now or datetime.now(UTC)
    expires_at = sources.get(entry.exchange).expires_at(symbol)
    return entry.until(at.date()) == at.date() and (expires_at is None or expires_at > at)
