"""The dataset's declared Pandera schema: types, positive prices, non-negative volumes, known words, no nulls.

Columns that the exchange of a series does not publish are null throughout; else every row has a value.

Rows that clearly meet it are found without Pandera (`Dataset.is_met`); Pandera says what is wrong with the others. Both look
at many days at once, because a call of Pandera costs 6 to 12 ms whatever the size; failures are then attributed to days
(`crypto_assets.engine.publication.validation`). On one partition the same function is an ordinary check.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crypto_assets.checks._folds import NO_ROWS, at_once
from crypto_assets.checks._words import wrong_rows
from crypto_assets.model import Check, Finding, Partition, Series, Severity
from crypto_assets.sources.published import dataset_of, unpublished

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera
    from pandera.errors import SchemaErrors


def violations(frame: pd.DataFrame, series: Series) -> pd.DataFrame | None:
    """Return Pandera's failure cases (columns: column, check, failure_case, index), or None if the contract is met.

    The index is the row's place in the frame, from 0.
    Columns that the exchange does not publish must be null throughout; the others must have a value in every row.
    """
    empty = [name for name in unpublished(series) if name in frame and frame[name].isna().all()]
    frame = frame.drop(columns=empty) if empty else frame
    if dataset_of(series).is_met(frame):
        return None
    contract, broken = _loaded(series)
    try:
        contract.validate(frame.reset_index(drop=True), lazy=True, inplace=True)
    except broken as error:
        return error.failure_cases
    return None


_LOADING = threading.Lock()


def _loaded(series: Series) -> tuple[pandera.DataFrameSchema, type[SchemaErrors]]:
    """Return a dataset's contract and the exception it raises.

    Pandera is imported late because it costs half a second, and under a lock: two threads that import parts of one package
    wait for each other, and Python breaks the deadlock with an error in one of them (CPython issue 83065).
    """
    with _LOADING:
        import pandera.pandas  # noqa: F401
        from pandera.errors import SchemaErrors

        return dataset_of(series).contract(), SchemaErrors


class ContractHolds:
    """Counts how often each rule is broken, and keeps the first case."""

    def __init__(self, partition: Partition, series: Series) -> None:  # noqa: ARG002
        self._series = series
        self._rows = 0
        self._broken: Counter[str] = Counter()
        self._first = ""
        self._whole: pd.DataFrame | None = None

    def add(self, rows: pd.DataFrame) -> None:
        cases = violations(rows, self._series)
        if cases is not None and self._whole is None:
            whole = cases[cases["index"].isna()]  # a wrong type or column concerns every row
            if len(whole):
                self._whole = whole
            else:
                self._broken += _rules(cases)
                self._first = self._first or _first(cases, self._rows)
        self._rows += len(rows)

    def finding(self) -> Finding:
        if self._whole is not None:
            return describe(self._whole)
        if self._rows == 0:
            return NO_ROWS
        return _broken(self._broken, self._first) if self._broken else Finding(True)


def contract_holds(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every row meets the dataset's contract."""
    return at_once(ContractHolds(partition, series), frame)


def describe(cases: pd.DataFrame | None) -> Finding:
    """Return the finding for some failure cases: the count, the broken rules and the first case."""
    if cases is None or cases.empty:
        return Finding(True)
    return _broken(_rules(cases), _first(cases))


def _broken(rules: Counter[str], first: str) -> Finding:
    return Finding(False, {"violations": rules.total(), "rules": dict(sorted(rules.items())), "first": first})


def _rules(cases: pd.DataFrame) -> Counter[str]:
    pairs = Counter(zip(cases["column"], cases["check"], strict=True))
    return Counter({f"{column}: {rule}": count for (column, rule), count in pairs.items()})


def _first(cases: pd.DataFrame, rows_before: int = 0) -> str:
    """Describe the case of the earliest row; of several cases, the one Pandera lists first."""
    first = cases.iloc[0]
    if cases["index"].notna().all():
        first = cases.iloc[int(cases["index"].to_numpy(dtype="int64").argmin())]
        return f"row {first['index'] + rows_before}: {first['column']} = {first['failure_case']}, expected {first['check']}"
    return f"row {first['index']}: {first['column']} = {first['failure_case']}, expected {first['check']}"


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    if "violations" not in evidence:
        return "every value has its type and is in its range"
    return wrong_rows(evidence, "not allowed", "value", "violations")


CHECK = Check(
    name="contract",
    severity=Severity.BLOCK,
    description="Types, positive prices, non-negative amounts: the dataset's Pandera schema.",
    run=contract_holds,
    fold=ContractHolds,
    words=words,
)
