"""The file was published by the exchange's own deadline, and not much later than similar files.

Only a file that we saw appear has a known publication time: a file collected months later may have been published again
since, and its time is that of the last version. A file counts as seen to appear if it was first seen within 14 days of the
end of its period; its delay is then among the usual ones given to the check. A monthly file that replaces a daily one is
not judged: the deadline is for the daily file.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from crypto_assets import sources
from crypto_assets.checks._words import lasting
from crypto_assets.model import Finding, Partition, Series, Severity, SourceCheck, SourceFile, not_judged

if TYPE_CHECKING:
    pass

WATCHED = timedelta(days=14)
"""A file first seen within this time after the end of its period was seen to appear."""

USUAL = 20
"""Files that must have been seen before their delays define the usual."""

_TIMES, _BEYOND_S = 2, 6 * 3_600
"""Much later than usual: more than twice the 95th percentile, and more than 6 hours beyond it."""

_SAME_S = 1.0


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share (0 to 1) of the values does not exceed (nearest rank).

    Raises:
        IndexError: no values.
    """
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def published_in_time(source: SourceFile, partition: Partition, series: Series, usual: Sequence[float]) -> Finding:
    """The file's delay is within the exchange's deadline, and not far beyond the delays of similar files.

    Args:
        usual: delays of the files that were seen to appear, in seconds after the end of their period, ascending; includes
            this file.
    """
    if source.source != "archive":
        return not_judged("the rows are from REST, which publishes no file")
    if not sources.archives(series):
        return not_judged("the rows are from a file that a person downloaded, which has no deadline")
    if source.last_modified is None:
        return not_judged("the archive does not say when the file was published")
    preferred = sources.preferred_key(series, partition.symbol, partition.day)
    if source.key != preferred:
        return not_judged(f"another file replaces {preferred}, which has a deadline")
    end = sources.span_of(series, source.key).end
    delay_s = (source.last_modified - end).total_seconds()
    place = bisect_left(usual, delay_s - _SAME_S)
    if place == len(usual) or usual[place] > delay_s + _SAME_S:
        return not_judged("the file was not seen to appear: it was collected later, or published again since")
    allowed_s = (sources.expected_by(series, partition.day) - end).total_seconds()
    evidence = {"delay_s": round(delay_s), "deadline_s": round(allowed_s), "seen": len(usual)}
    late = ["after the exchange's deadline"] if delay_s > allowed_s else []
    if len(usual) > USUAL:  # includes this file
        p95_s = percentile(usual, 0.95)
        evidence["p95_s"] = round(p95_s)
        if delay_s > _TIMES * p95_s and delay_s > p95_s + _BEYOND_S:
            late.append("much later than usual")
    return Finding(not late, evidence | ({"late": "; ".join(late)} if late else {}))


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    text = f"the file appeared {lasting(evidence['delay_s'])} after the end of its period"
    return f"{text}, {evidence['late']}" if "late" in evidence else text


CHECK = SourceCheck(
    name="published_in_time",
    severity=Severity.WARN,
    description="The file appeared by the exchange's deadline, and not much later than usual.",
    judge=published_in_time,
    words=words,
)
