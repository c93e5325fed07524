"""Checks many days of one series at once, or one day of millions of rows in pieces.

The contract is checked once over the rows of all days, first without Pandera. Only if some rows do not clearly meet it,
Pandera looks at the rows and collects all failures; they are attributed to days, so that one bad day does not condemn the
others. The other checks are cheap numpy and run for each day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from crypto_assets.causes.excuses import unexplained_part
from crypto_assets.checks import checks_of, of_kind, rules_of
from crypto_assets.checks.contract import CHECK as CONTRACT
from crypto_assets.checks.contract import describe, violations
from crypto_assets.engine.publication.neighbour_days import Near
from crypto_assets.engine.publication.profile_fold import ProfileFold, profile_of
from crypto_assets.engine.publication.standing import made_of
from crypto_assets.model import NOT_JUDGED, Finding, HistoryCheck, Partition, Profile, Rule, Series, Severity
from crypto_assets.rows.day_frames import days_of
from crypto_assets.rows.frames import to_check_frame
from crypto_assets.sources.published import unpublished

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for the rows of a day: the findings of their checks and, if they can be stored, their profile.

    `made_of` names what the findings of storable rows depend on (`standing.py`).
    """

    findings: Mapping[str, Finding]
    profile: Profile | None = None
    made_of: str = ""


def validate(series: Series, days: Sequence[tuple[Partition, pa.Table]], near: Near | None = None) -> list[Verdict]:
    """Return the verdict on each day, in the order of `days`.

    A day without rows passes nothing: every check of it fails with that evidence.

    Args:
        near: the earlier weeks, for the checks that need them; without it they are not judged. The profiles of good days are
            added to it as they are made, so that later days of the same call are compared with them.
    """
    checks = [check for check in checks_of(series) if check is not CONTRACT]
    near = near or Near()
    frame = to_check_frame(pa.concat_tables([table for _, table in days]), unpublished(series))
    bounds = np.cumsum([0, *(table.num_rows for _, table in days)])
    contract = _contract_by_day(frame, series, bounds)
    results: list[Verdict] = []
    for number, ((partition, table), rows) in enumerate(zip(days, days_of(frame, bounds), strict=True)):
        if table.num_rows == 0:
            results.append(Verdict({check.name: Finding(False, {"rows": 0}) for check in checks_of(series)}))
            continue
        findings = {CONTRACT.name: contract[number]}
        for check in checks:
            findings[check.name] = check.run(rows, partition, series)
        if blocking(series, findings):
            results.append(Verdict(findings))
            continue
        weeks = weeks_before(series, partition, near)
        for history in of_kind(series, HistoryCheck):
            findings[history.name] = history.run(rows, partition, series, weeks)
        profile = profile_of(series, partition, rows)
        near.add(profile)
        results.append(Verdict(findings, profile, made_of(weeks)))
    return results


def weeks_before(series: Series, partition: Partition, near: Near) -> Sequence[Profile]:
    """Return the earlier weeks for the checks of a series that need them; empty if it has no such check."""
    return near.weeks_before(partition) if of_kind(series, HistoryCheck) else ()


def validate_pieces(series: Series, partition: Partition, pieces: Iterable[pa.Table]) -> Verdict:
    """Return the verdict on a day whose rows come in pieces, in order; memory follows the piece.

    Only for series whose checks all fold (`folds`).
    """
    at_work = {check.name: check.fold(partition, series) for check in checks_of(series) if check.fold}
    profile, rows = ProfileFold(series, partition), 0
    for piece in pieces:
        frame = to_check_frame(piece, unpublished(series))
        rows += len(frame)
        for fold in at_work.values():
            fold.add(frame)
        # A profile can be computed only from rows that meet the contract.
        if CONTRACT.name not in at_work or at_work[CONTRACT.name].finding().passed:
            profile.add(frame)
    if not rows:
        return Verdict({name: Finding(False, {"rows": 0}) for name in at_work})
    findings = {name: fold.finding() for name, fold in at_work.items()}
    if blocking(series, findings):
        return Verdict(findings)
    return Verdict(findings, profile.profile(), made_of(()))


def folds(series: Series) -> bool:
    """Return whether a day of the series can be checked in pieces."""
    return all(check.fold for check in checks_of(series)) and not of_kind(series, HistoryCheck)


def _contract_by_day(frame: pd.DataFrame, series: Series, bounds: np.ndarray) -> list[Finding]:
    cases = violations(frame, series)
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


def blocking(series: Series, findings: Mapping[str, Finding]) -> list[str]:
    """Return the names of failed checks that keep a day from being published."""
    return _failed(series, findings, Severity.BLOCK)


def degrading(series: Series, findings: Mapping[str, Finding]) -> list[str]:
    """Return the names of failed checks that mark a published day as degraded."""
    return _failed(series, findings, Severity.DEGRADE)


def in_words(series: Series, names: Iterable[str], findings: Mapping[str, Finding]) -> str:
    """Return the findings of some checks as sentences in one line: `3 of 1,440 bars are missing (08:34–08:36); …`."""
    rules = {rule.name: rule for rule in rules_of(series)}
    return "; ".join(sentence(rules.get(name), series, unexplained_part(findings[name])) for name in names)


def sentence(rule: Rule | None, series: Series, finding: Finding) -> str:
    """Return one finding as a sentence; for a check that no longer exists and for a file check, its evidence unchanged."""
    if not finding.judged:
        return str(finding.evidence[NOT_JUDGED])
    if finding.evidence.get("rows") == 0 and not finding.passed:
        return "there are no rows"
    if rule is None:
        return ", ".join(str(value) for value in finding.evidence.values())
    return rule.words(finding.evidence, series)


def _failed(series: Series, findings: Mapping[str, Finding], severity: Severity) -> list[str]:
    return [
        rule.name
        for rule in rules_of(series)
        if rule.severity is severity and rule.name in findings and not findings[rule.name].passed
    ]
