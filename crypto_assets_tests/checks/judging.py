"""Rows with a defect, and what checks say of them; at once and in pieces, which is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa

from crypto_assets.checks import checks_of
from crypto_assets.engine.publication.validation import validate
from crypto_assets.model import Check, Finding, Partition
from crypto_assets.rows.day_frames import days_of
from crypto_assets.rows.frames import to_check_frame
from crypto_assets_tests.synthetic import series_of

DAY_ONE = date(2024, 3, 1)
Rows = list[dict[str, object]]
Edit = Callable[[Rows], Rows]


def edited(table: pa.Table, edit: Edit) -> pa.Table:
    return pa.Table.from_pylist(edit(table.to_pylist()), schema=table.schema)


def setting(place: int, **values: object) -> Edit:
    return lambda rows: [row | values if number == place else row for number, row in enumerate(rows)]


def without(*places: int) -> Edit:
    return lambda rows: [row for place, row in enumerate(rows) if place not in places]


def at(minute: float, **more: float) -> datetime:
    return datetime(2024, 3, 1, tzinfo=UTC) + timedelta(minutes=minute, **more)


def findings_of(
    dataset: str, table: pa.Table, partition: Partition, market_type: str = "spot"
) -> Mapping[str, Finding]:
    """Return what all checks find in one day that stands alone."""
    (verdict,) = validate(series_of(dataset, market_type), [(partition, table)])
    for finding in verdict.findings.values():
        json.dumps(dict(finding.evidence))  # goes to the ledger
    return verdict.findings


def failed(findings: Mapping[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if not finding.passed}


def in_pieces(check: Check, frame: pd.DataFrame, cuts: Iterable[int], dataset: str, market_type: str) -> Finding:
    """Return what the check finds in rows that come cut before some places."""
    assert check.fold is not None
    fold = check.fold(Partition("BTC/USDT", DAY_ONE), series_of(dataset, market_type))
    bounds = [0, *sorted(cuts), len(frame)]
    for first, after in pairwise(bounds):
        fold.add(frame.iloc[first:after])
    return fold.finding()


def finding_of(check: Check, dataset: str, table: pa.Table, market_type: str = "spot") -> Finding:
    """Return what the check finds; the same for a frame that carries its columns, in thirds and row by row at the ends.

    The evidence is JSON.
    """
    assert check in checks_of(series_of(dataset, market_type))
    frame = to_check_frame(table)
    before = frame.copy(deep=True)
    finding = check.run(frame, Partition("BTC/USDT", DAY_ONE), series_of(dataset, market_type))
    json.dumps(dict(finding.evidence))  # goes to the ledger
    pd.testing.assert_frame_equal(frame, before)
    (carrying,) = days_of(frame, np.array([0, len(frame)]))
    assert repr(check.run(carrying, Partition("BTC/USDT", DAY_ONE), series_of(dataset, market_type))) == repr(finding)
    if check.fold:
        rows = len(frame)
        for cuts in ((rows // 3, 2 * rows // 3), (0, 1, 2, rows - 1, rows)):
            assert in_pieces(check, frame, (min(max(cut, 0), rows) for cut in cuts), dataset, market_type) == finding
    return finding
