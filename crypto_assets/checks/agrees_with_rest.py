"""The day's rows are those that the exchange's REST API answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from crypto_assets.checks._differences import has_one_key, same_rows, whole_day
from crypto_assets.checks._words import differing
from crypto_assets.model import Comparison, Finding, Partition, Series, Severity


def agrees_with_rest(rows: pa.Table, answered: pa.Table, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """Both have the same rows by key, and these the same values, exactly.

    Args:
        rows: of the day, as stored.
        answered: the rows of the same symbol and day as REST answers now.
    """
    return same_rows(rows, answered, series, ("stored", "rest"))


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    """Return what was found as a sentence."""
    return differing(evidence, "the REST API")


CHECK = Comparison(
    name="agrees_with_rest",
    applies=has_one_key,
    severity=Severity.WARN,
    description="The day's rows are those that the exchange's REST API answers.",
    source="rest",
    counterparts=lambda series: (series,),
    gather=whole_day,
    run=agrees_with_rest,
    words=words,
)
