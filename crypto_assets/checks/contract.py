"""The dataset's declared Pandera schema: types, positive prices, non-negative volumes, no nulls.

The schema is checked once over many days, because a call costs 6 to 12 ms whatever the size; failures are attributed to
days afterwards (`crypto_assets.collection.validation`). On one partition the same function serves as an ordinary check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crypto_assets import datasets
from crypto_assets.model import Check, Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


def violations(frame: pd.DataFrame, table: str) -> pd.DataFrame | None:
    """Return Pandera's failure cases (columns: column, check, failure_case, index), or None where the contract holds."""
    from pandera.errors import SchemaErrors

    try:
        datasets.get(table).contract().validate(frame, lazy=True, inplace=True)
    except SchemaErrors as error:
        return error.failure_cases
    return None


def contract_holds(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:  # noqa: ARG001
    """Every row is what the dataset's contract says."""
    return describe(violations(frame, series.table))


def describe(cases: pd.DataFrame | None) -> Finding:
    """Return the finding for some failure cases: how many, of which rules, and the first of them."""
    if cases is None or cases.empty:
        return Finding(True)
    first = cases.iloc[0]
    rules: dict[str, int] = {}
    for column, rule in zip(cases["column"], cases["check"], strict=True):
        rules[f"{column}: {rule}"] = rules.get(f"{column}: {rule}", 0) + 1
    return Finding(
        False,
        {
            "violations": len(cases),
            "rules": rules,
            "first": f"row {first['index']}: {first['column']} = {first['failure_case']}, expected {first['check']}",
        },
    )


CHECK = Check(
    name="contract",
    tables=("ohlcv", "trades", "agg_trades", "funding_rates"),
    severity=Severity.BLOCK,
    description="Types, positive prices, non-negative amounts: the dataset's Pandera schema.",
    run=contract_holds,
)
