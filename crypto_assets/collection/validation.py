"""Checking many days of one symbol at once.

Pandera's contract runs once over all days; the other checks are cheap numpy and run per day. A batch that breaks the
contract is reported lazily and its failures are attributed to days, so that one bad day does not condemn the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from crypto_assets.checks import checks_of
from crypto_assets.checks.contract import CHECK as CONTRACT
from crypto_assets.checks.contract import describe, violations
from crypto_assets.collection.frames import to_check_frame
from crypto_assets.model import Finding, Partition, Series, Severity

if TYPE_CHECKING:
    import pandas as pd


def validate(series: Series, days: Sequence[tuple[Partition, pa.Table]]) -> list[Mapping[str, Finding]]:
    """Return the findings of every check for each day, in the order of `days`.

    A day without rows passes nothing: every check of it fails with that evidence.
    """
    checks = [check for check in checks_of(series.table) if check is not CONTRACT]
    frame = to_check_frame(pa.concat_tables([table for _, table in days]))
    bounds = np.cumsum([0, *(table.num_rows for _, table in days)])
    contract = _contract_by_day(frame, series, bounds)
    results: list[Mapping[str, Finding]] = []
    for number, (partition, table) in enumerate(days):
        if table.num_rows == 0:
            results.append({check.name: Finding(False, {"rows": 0}) for check in checks_of(series.table)})
            continue
        rows = frame.iloc[bounds[number] : bounds[number + 1]]
        findings = {CONTRACT.name: contract[number]}
        for check in checks:
            findings[check.name] = check.run(rows, partition, series)
        results.append(findings)
    return results


def _contract_by_day(frame: pd.DataFrame, series: Series, bounds: np.ndarray) -> list[Finding]:
    cases = violations(frame, series.table)
    if cases is None:
        return [Finding(True)] * (len(bounds) - 1)
    whole = cases[cases["index"].isna()]  # a wrong type or column concerns every day
    rows = cases[cases["index"].notna()]
    day_of_row = np.searchsorted(bounds, rows["index"].to_numpy(dtype=np.int64), side="right") - 1
    findings = []
    for number in range(len(bounds) - 1):
        mine = rows[day_of_row == number].copy()
        mine["index"] = mine["index"].astype("int64") - int(bounds[number])
        findings.append(describe(whole if len(whole) else mine))
    return findings


def blocking(table: str, findings: Mapping[str, Finding]) -> list[str]:
    """Return the names of failed checks that keep a day from being published."""
    return _failed(table, findings, Severity.BLOCK)


def degrading(table: str, findings: Mapping[str, Finding]) -> list[str]:
    """Return the names of failed checks that mark a published day as degraded."""
    return _failed(table, findings, Severity.DEGRADE)


def _failed(table: str, findings: Mapping[str, Finding], severity: Severity) -> list[str]:
    return [
        check.name
        for check in checks_of(table)
        if check.severity is severity and check.name in findings and not findings[check.name].passed
    ]
