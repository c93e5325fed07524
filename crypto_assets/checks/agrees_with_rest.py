"""The day's rows equal those of the exchange's REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from crypto_assets.checks._differences import has_one_key, same_rows, whole_day
from crypto_assets.checks._words import differing
from crypto_assets.model import Comparison, Finding, Partition, Series, Severity


def agrees_with_rest(rows: pa.Table, answered: pa.Table, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """Both have the same keys and, for each key, exactly the same values.

    Args:
        rows: the stored rows of the day.
        answered: the rows of the same symbol and day that REST returns now.
    """
    return same_rows(rows, answered, series, ("stored", "rest"))


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    return differing(evidence, "the REST API")


CHECK = Comparison(
    name="agrees_with_rest",
    applies=has_one_key,
    severity=Severity.WARN,
    description="The day's rows equal those of the exchange's REST API.",
    source="rest",
    counterparts=lambda series: (series,),
    gather=whole_day,
    run=agrees_with_rest,
    words=words,
)
