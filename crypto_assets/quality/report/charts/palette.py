"""The colours of every picture and of the report page, for light and dark surroundings.

The states have different lightness, which keeps them distinct in grey print and for every kind of colour vision (tested
with simulated protanopia, deuteranopia and tritanopia). Harmless states are calm: a day without data is nearly the
background, a stored day a quiet blue. Missing days have the strongest contrast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crypto_assets.model import State

NEVER = "not collected yet"
"""A day within collection.yaml without a record in the ledger."""

STATES = (
    State.NO_DATA.value,
    State.AVAILABLE.value,
    State.PROVISIONAL.value,
    State.PENDING.value,
    State.CORRECTED.value,
    State.DEGRADED.value,
    NEVER,
    State.MISSING.value,
)
"""From harmless to alarming. If several days share a cell, the last of these states is shown."""

STATE_TITLES: Mapping[str, str] = {
    "no_data": "no data: nothing traded or not listed",
    "available": "available",
    "provisional": "provisional: from REST until the archive has it",
    "pending": "not published yet",
    "corrected": "corrected: republished, not yet taken",
    "degraded": "partial: stored, some rows are missing",
    NEVER: "not collected yet",
    "missing": "missing",
}

KIND_STATES: Mapping[str, str] = {
    "before_listing": "no_data",
    "delisted": "no_data",
    "illiquid": "no_data",
    "not_yet_published": "pending",
    "exchange_outage": "corrected",
    "upstream_partial_file": "degraded",
    "upstream_absent_file": "degraded",
    "upstream_bad_file": "degraded",
    "unexplained": "missing",
    "our_failure": "missing",
    "not_collected": NEVER,
}
"""Kinds of incidents (`collection.incidents`), in the order of STATES, each with the state that gives its colour."""


@dataclass(frozen=True, slots=True)
class Theme:
    """One set of colours, `#rrggbb`; `states` by the names of STATES."""

    name: str
    background: str
    text: str
    muted: str
    grid: str
    rise: str
    fall: str
    states: Mapping[str, str]

    def colour(self, name: str) -> str:
        """Return the colour of a state, or of a kind of incident; raises KeyError for another name."""
        return self.states[KIND_STATES.get(name, name)]


LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#1c2430",
    muted="#5b6675",
    grid="#e3e7ec",
    rise="#23805b",
    fall="#c9503c",
    states={
        "no_data": "#dadee4",
        "degraded": "#f3c63f",
        "provisional": "#8cc0e6",
        "pending": "#a3a0bd",
        "available": "#3f8fc6",
        "corrected": "#8a5cc4",
        "missing": "#b5001f",
        NEVER: "#ffffff",
    },
)

DARK = Theme(
    name="dark",
    background="#171b21",
    text="#e8ebef",
    muted="#a2acb9",
    grid="#2c323b",
    rise="#4cc08f",
    fall="#ef7b66",
    states={
        "no_data": "#3b414b",
        "pending": "#5d5a7d",
        "available": "#2f77b0",
        "corrected": "#a56fe6",
        "missing": "#ff5a5f",
        "provisional": "#9fd0f3",
        "degraded": "#ffe07a",
        NEVER: "#171b21",
    },
)
