"""The scores of one symbol over one day: how right, how complete, how punctual, and what other sources say.

Every score is from 0 to 1, None where nothing can be judged; docs/quality.md explains each with examples. Nothing here asks
a database.
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
from crypto_assets.errors import REFUSALS
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
"""`complete` lets the ends of a day be silent for an hour, or three times as long as the longest silence inside."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one symbol and day, as far as it is scored.

    `state` is None for a day that was never collected. `error` is the kind of error that the last outcome names. `profiled`
    says that `absent` (minutes whose bar is not there, see `model.Profile`) is of the stored file. `delay` is from the end of
    the period to the publication of an object that was seen to appear, `allowed` from there to the exchange's deadline,
    `overdue` whether that has passed.
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
        weights: how much each of `SCORES` counts, not negative; one that is not there does not count.
        outage: 1,440 booleans, the minutes in which the exchange was down: nothing is expected in them.
    """
    found = Scores(accuracy(facts), completeness(facts, outage), timeliness(facts), agreement(facts))
    return replace(found, total=total({name: getattr(found, name) for name in SCORES}, weights))


def total(scores: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Return the weighted mean of the scores that were judged; None where none was, or only such as do not count."""
    judged = [(weights.get(name, 0.0), value) for name, value in scores.items() if value is not None]
    weight = sum(share for share, _ in judged)
    if not weight:
        return None
    # A day whose every score is 1 is worth 1, not 1 - 1e-16.
    return min(1.0, 1.0 - sum(share * (1.0 - value) for share, value in judged) / weight)


# ---- accuracy ---------------------------------------------------------------------------------------------------------


def accuracy(facts: Facts) -> float | None:
    """Return 1 - rows with wrong values / rows; 0 for a file that was refused, None where no row was checked."""
    if facts.error in REFUSALS:
        return 0.0
    if facts.state not in STORED_STATES or not facts.findings or not facts.rows:
        return None
    kinds = _kinds(facts.series)
    failed = {name: finding for name, finding in facts.findings.items() if not finding.get("passed", True)}
    if kinds.blocking & failed.keys():  # stored before the rule was there, or was so strict
        return 0.0
    wrong = sum(max(1, _count(finding, "rows")) for name, finding in failed.items() if name in kinds.counting)
    return 1.0 - min(wrong, facts.rows) / facts.rows


# ---- completeness -----------------------------------------------------------------------------------------------------


def completeness(facts: Facts, outage: np.ndarray | None = None) -> float | None:
    """Return how much of what is expected of the day is there; None where nothing is expected, or not yet."""
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
    # Of a day that is not over only the minutes until now are expected.
    until = min(MINUTES, int(expected * length / timedelta(minutes=1)))
    if facts.profiled and length >= timedelta(minutes=1):
        return _share(from_bits(facts.absent)[:until], down[:until])
    # Which bars lack is not known in full; as many as the outage has count as its own.
    excused = int(down[:until].sum() * timedelta(minutes=1) / length)
    return None if excused >= expected else 1.0 - max(0, missing - excused) / (expected - excused)


def _trades(facts: Facts, finding: Mapping[str, Any], down: np.ndarray) -> float | None:
    """Return the lesser of two shares: of the ids, and of the day that does not lie before or after all trades."""
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
    """Return events / (events + places at which at least one lacks), as `complete` found them."""
    events = _count(finding, "events")
    places = len(str(finding.get("missing", "")).split(", ")) if finding.get("missing") else 0
    if finding.get("passed"):
        return 1.0
    return events / (events + places) if places else 0.0


def _share(lost: np.ndarray, down: np.ndarray) -> float | None:
    """Return the share of the minutes outside an outage that is not lost; None where there are none."""
    expected = len(down) - int(down.sum())
    return 1.0 - int((lost & ~down).sum()) / expected if expected else None


# ---- timeliness and agreement -----------------------------------------------------------------------------------------


def timeliness(facts: Facts) -> float | None:
    """Return 1 for an object that appeared by the deadline, else allowed time / its delay; None where none was seen to."""
    if facts.delay is None:
        return None
    return 1.0 if facts.delay <= facts.allowed else max(0.0, facts.allowed / facts.delay)


def agreement(facts: Facts) -> float | None:
    """Return rows that agree / rows compared, the mean over the comparisons that were judged; None where none was."""
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
"""What comparisons count that do not count what agrees; a row is in one of them."""


def _agreeing(finding: Mapping[str, Any], compared: int) -> int:
    if "agree" in finding:
        return min(_count(finding, "agree"), compared)
    return max(0, compared - sum(_count(finding, name) for name in _DISAGREE))


# ---- rules ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Names of the checks of a series, by what they mean for its scores."""

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
    """Return a number of an evidence; 0 where it is not there or is none: evidences of former versions stay readable."""
    value = finding.get(name)
    return max(0, int(value)) if isinstance(value, int | float) and not isinstance(value, bool) else 0
