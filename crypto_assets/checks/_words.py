"""Words for findings: counts, durations, shortened lists. The sentence itself belongs to each check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crypto_assets import datasets

_SPANS = 5


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 bar`, `1,440 bars`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def verb(number: int, one: str = "is", many: str = "are") -> str:
    """Return the verb that goes with a number."""
    return one if number == 1 else many


def row_of(table: str) -> str:
    """Return what a row of a table is called: `bar`, `trade`."""
    return datasets.get(table).row


def lasting(seconds: float) -> str:
    """Return a duration in its two largest units: `2 h 5 min`, `14.789 s`."""
    if seconds < 60:
        return f"{seconds:.6g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def listed(texts: Sequence[str], most: int = _SPANS) -> str:
    """Return the first texts in one line, and the number of the others."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


def wrong_rows(evidence: Mapping[str, Any], what: str, noun: str = "row", count: str = "rows") -> str:
    """Return `3 rows <what>; the first: …` for a finding that counts rows and gives the first."""
    return f"{counted(evidence.get(count, 0), noun)} {what}; the first: {evidence.get('first', '')}"


def differing(evidence: Mapping[str, Any], others: str, noun: str = "row") -> str:
    """Return how many rows of a comparison differ, and in which columns (`crypto_assets.checks._differences`)."""
    only_here, only_there = evidence.get("only_here", 0), evidence.get("only_there", 0)
    parts = []
    if changed := evidence.get("changed", 0):
        columns = f" ({', '.join(evidence['columns'])})" if evidence.get("columns") else ""
        parts.append(f"{counted(changed, noun)} {verb(changed, 'has', 'have')} different values{columns}")
    if only_here:
        parts.append(f"{counted(only_here, noun)} {verb(only_here)} only in this day")
    if only_there:
        parts.append(f"{counted(only_there, noun)} {verb(only_there)} only there")
    compared = evidence.get("compared", 0)
    if not parts:
        return f"the same as {others}: {counted(compared, noun)} compared"
    return f"differs from {others}: {', '.join(parts)} ({compared:,} compared)"
