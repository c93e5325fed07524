"""The day's rows equal those in the monthly file.

Binance's monthly klines are known to differ from the daily ones and from the API, which agree with each other (398 rows of
2020-12-21 and 2021-09-29, binance-public-data #475), and to miss days that have a daily file (#140, #253).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from crypto_assets.checks._differences import has_one_key, same_rows, whole_day
from crypto_assets.checks._words import differing
from crypto_assets.model import DAY, Comparison, Finding, Partition, Series, Severity, bar_length


def agrees_with_monthly(rows: pa.Table, monthly: pa.Table, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """Both have the same keys and, for each key, exactly the same values.

    Args:
        rows: the stored rows of the day.
        monthly: the rows of the same symbol and day in the monthly file.
    """
    return same_rows(rows, monthly, series, ("daily", "monthly"))


def _has_daily_files(series: Series) -> bool:
    """Return whether days have their own files; the archive has funding in monthly files only."""
    if series.timeframe is None:
        return series.table != "funding_rates" and has_one_key(series)
    return series.timeframe != "1mo" and bar_length(series.timeframe) <= DAY


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    return differing(evidence, "the monthly file")


CHECK = Comparison(
    name="agrees_with_monthly",
    severity=Severity.WARN,
    description="The day's rows equal those in the monthly file.",
    applies=_has_daily_files,
    source="monthly",
    counterparts=lambda series: (series,),
    gather=whole_day,
    run=agrees_with_monthly,
    words=words,
)
