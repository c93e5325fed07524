"""Compute the scores of one symbol over one day: accuracy, completeness, timeliness, agreement with other sources.

Every score is from 0 to 1, None if nothing can be judged; docs/concepts/quality.md explains each with examples. Nothing here
uses a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np

from crypto_assets.checks import rules_of
from crypto_assets.checks._minutes import MINUTES, from_bits
from crypto_assets.errors import BAD_FILES
from crypto_assets.ledger.scores import SCORES, Scores
from crypto_assets.model import (
    DAY,
    NOT_JUDGED,
    STORED_STATES,
    Comparison,
    SeamCheck,
    Series,
    Severity,
    State,
    bar_length,
)

_EDGE_S, _EDGE_TIMES = 3_600, 3
"""`complete` allows an hour of silence at the ends of a day, or three times the longest silence inside."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about one symbol and day that are scored.

    `state` is None for a day that was never collected. `error` is the kind of error of the last outcome. `profiled`:
    `absent` (minutes whose bar is missing, see `model.Profile`) belongs to the stored file. `delay` is the time from the end
    of the period to the publication of a file that was seen to appear, `allowed` the time to the exchange's deadline,
    `overdue` whether the deadline has passed.
    """

    series: Series
    symbol: str
    day: date
    state: State | None = None
    rows: int = 0
    findings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: str | None = None
    profiled: bool = False
    absent: bytes | None = None
    delay: timedelta | None = None
    allowed: timedelta = timedelta(days=1)
    overdue: bool = True


def score(facts: Facts, weights: Mapping[str, float], outage: np.ndarray | None = None) -> Scores:
    """Return the scores of one day.

    Args:
        weights: weight of each of `SCORES`, not negative; a score without a weight does not count.
        outage: 1,440 booleans, the minutes in which the exchange was down: nothing is expected in them.
    """
    found = Scores(accuracy(facts), completeness(facts, outage), timeliness(facts), agreement(facts))
    return replace(found, total=total({name: getattr(found, name) for name in SCORES}, weights))


def total(scores: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Return the weighted mean of the judged scores; None if none was judged, or all have weight 0."""
    judged = [(weights.get(name, 0.0), value) for name, value in scores.items() if value is not None]
    weight = sum(share for share, _ in judged)
    if not weight:
        return None
    # If every score is 1 the total must be 1, not 1 - 1e-16.
    return min(1.0, 1.0 - sum(share * (1.0 - value) for share, value in judged) / weight)


# ---- accuracy ---------------------------------------------------------------------------------------------------------


def accuracy(facts: Facts) -> float | None:
    """Return 1 - rows with wrong values / rows; 0 for a refused file, None if no row was checked."""
    if facts.error in BAD_FILES:
        return 0.0
    if facts.state not in STORED_STATES or not facts.findings or not facts.rows:
        return None
    kinds = _kinds(facts.series)
    failed = {name: finding for name, finding in facts.findings.items() if not finding.get("passed", True)}
    if kinds.blocking & failed.keys():  # stored before the rule existed or became this strict
        return 0.0
    wrong = sum(max(1, _count(finding, "rows")) for name, finding in failed.items() if name in kinds.counting)
    return 1.0 - min(wrong, facts.rows) / facts.rows


# ---- completeness -----------------------------------------------------------------------------------------------------


def completeness(facts: Facts, outage: np.ndarray | None = None) -> float | None:
    """Return the share of the expected data that is stored; None if nothing is expected, or not yet."""
    down = np.zeros(MINUTES, dtype=bool) if outage is None else outage
    if facts.state in STORED_STATES:
        finding = facts.findings.get("complete")
        if not finding or NOT_JUDGED in finding:
            return None
        match facts.series.table:
            case "ohlcv":
                return _bars(facts, finding, down)
            case "trades" | "agg_trades":
                return _trades(facts, finding, down)
            case "funding_rates":
                return _events(finding)
        return 1.0 if finding.get("passed") else 0.0
    if facts.state is State.MISSING or (facts.state is None and facts.overdue):
        return None if down.all() else 0.0
    return None


def _bars(facts: Facts, finding: Mapping[str, Any], down: np.ndarray) -> float | None:
    expected, missing = _count(finding, "expected"), _count(finding, "missing")
    if finding.get("passed") or not expected:
        return 1.0 if expected else None
    length = bar_length(facts.series.timeframe or "") if facts.series.timeframe != "1mo" else DAY
    if length >= DAY:
        return min(1.0, _count(finding, "found") / expected)
    # For a day that is not over, only the minutes until now are expected.
    until = min(MINUTES, int(expected * length / timedelta(minutes=1)))
    if facts.profiled and length >= timedelta(minutes=1):
        return _share(from_bits(facts.absent)[:until], down[:until])
    # The missing bars are not all known; as many as the outage has minutes count as excused.
    excused = int(down[:until].sum() * timedelta(minutes=1) / length)
    return None if excused >= expected else 1.0 - max(0, missing - excused) / (expected - excused)


def _trades(facts: Facts, finding: Mapping[str, Any], down: np.ndarray) -> float | None:
    """Return the lesser of two shares: of the ids, and of the day between its first and its last trade."""
    names = {"complete", *_kinds(facts.series).seams} & facts.findings.keys()
    missing = sum(_missing_ids(facts.findings[name]) for name in names)
    ids = facts.rows / (facts.rows + missing) if facts.rows else None
    if finding.get("passed"):
        return ids
    before, after, inside = (
        float(finding.get(name) or 0.0) for name in ("silent_before_s", "silent_after_s", "longest_silence_inside_s")
    )
    allowed = max(_EDGE_S, _EDGE_TIMES * inside)
    lost = np.zeros(MINUTES, dtype=bool)
    if before > allowed:
        lost[: int(before // 60)] = True
    if after > allowed:
        lost[max(0, MINUTES - int(after // 60)) :] = True
    shares = [share for share in (ids, _share(lost, down)) if share is not None]
    return min(shares, default=None)


def _missing_ids(finding: Mapping[str, Any]) -> int:
    """Return how many ids are missing that no outage excuses."""
    excused = sum(_count(one, "rows") for one in finding.get("outages", ()))
    return max(0, _count(finding, "missing_ids") - excused)


def _events(finding: Mapping[str, Any]) -> float:
    """Return events / (events + places with a missing event), as `complete` found them."""
    events = _count(finding, "events")
    places = len(str(finding.get("missing", "")).split(", ")) if finding.get("missing") else 0
    if finding.get("passed"):
        return 1.0
    return events / (events + places) if places else 0.0


def _share(lost: np.ndarray, down: np.ndarray) -> float | None:
    """Return the share of the minutes outside an outage that is not lost; None if there are none."""
    expected = len(down) - int(down.sum())
    return 1.0 - int((lost & ~down).sum()) / expected if expected else None


# ---- timeliness and agreement -----------------------------------------------------------------------------------------


def timeliness(facts: Facts) -> float | None:
    """Return 1 for a file that appeared by the deadline, else allowed time / delay; None if none was seen to appear."""
    if facts.delay is None:
        return None
    return 1.0 if facts.delay <= facts.allowed else max(0.0, facts.allowed / facts.delay)


def agreement(facts: Facts) -> float | None:
    """Return equal rows / compared rows, the mean over the judged comparisons; None if none was judged."""
    if facts.state not in STORED_STATES:
        return None
    shares = []
    for name in sorted(_kinds(facts.series).comparisons & facts.findings.keys()):
        finding = facts.findings[name]
        compared = _count(finding, "compared")
        if NOT_JUDGED not in finding and compared:
            shares.append(_agreeing(finding, compared) / compared)
    return sum(shares) / len(shares) if shares else None


_DISAGREE = ("only_here", "only_there", "changed", "outside")
"""Counts of comparisons that do not count equal rows; a row is in one of them."""


def _agreeing(finding: Mapping[str, Any], compared: int) -> int:
    if "agree" in finding:
        return min(_count(finding, "agree"), compared)
    return max(0, compared - sum(_count(finding, name) for name in _DISAGREE))


# ---- rules ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Names of the checks of a series, by their effect on the scores."""

    blocking: frozenset[str]
    counting: frozenset[str]
    comparisons: frozenset[str]
    seams: frozenset[str]


@cache
def _kinds(series: Series) -> _Kinds:
    rules = rules_of(series)
    return _Kinds(
        frozenset(rule.name for rule in rules if rule.severity is Severity.BLOCK),
        frozenset(rule.name for rule in rules if rule.counts_wrong_rows),
        frozenset(rule.name for rule in rules if isinstance(rule, Comparison)),
        frozenset(rule.name for rule in rules if isinstance(rule, SeamCheck)),
    )


def _count(finding: Mapping[str, Any], name: str) -> int:
    """Return a number in an evidence; 0 if it is missing or not a number: older evidence stays readable."""
    value = finding.get(name)
    return max(0, int(value)) if isinstance(value, int | float) and not isinstance(value, bool) else 0
