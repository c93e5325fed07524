"""The first and the last instant of a symbol's life, as the evidence of a stored day has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

LISTED_FROM, LISTED_UNTIL = "listed_from", "listed_until"
"""In the evidence of a stored day: since or until when its symbol was listed on it, and who says so."""


def cut_of(evidence: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return since and until when rows are expected of a stored day, by its evidence."""
    times = (evidence.get(name, {}).get("time") for name in (LISTED_FROM, LISTED_UNTIL))
    since, until = (datetime.fromisoformat(time) if time else None for time in times)
    return since, until
