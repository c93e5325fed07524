"""Facts about a series that no file tells: how ids count, what is left out. Each source states them for its own series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

HIDDEN_SILENCE = timedelta(minutes=1)
"""Where ids have holes, missing ids count as missing rows only together with a silence of this length."""

Numbering = Literal["contiguous", "holes", "text", "none"]


@dataclass(frozen=True, slots=True)
class Facts:
    """How an exchange publishes one series.

    `numbering`: the ids of rows grow by 1 from row to row (`contiguous`), or some are left out although no row is missing
    (`holes`); or the exchange gives each row a text of its own (`text`), or nothing (`none`): then the key of a row is its
    time and its place among the rows of that time. `hidden_ids`: so many ids may be left out at one place; more of them are
    missing rows if trading is silent meanwhile. 0 without holes.

    `silent_bars`: bars without a trade are `published`, or `absent`: then a missing bar is no missing row.
    `amounts`: in `base`, or in `contracts` that the source converts by the instrument's contract size.
    `exponents`: whether numbers may be written as 1E+1; else such a number is a trace of a spreadsheet and is refused.
    `revised`: the source may change a row later, and the newest version counts; rows have texts as ids.
    `without`: the columns of the dataset that the exchange does not publish, each with the reason in words; they are null.
    Number, text and place of a trade follow from `numbering` and need not be named.
    """

    numbering: Numbering = "contiguous"
    hidden_ids: int = 0
    silent_bars: Literal["published", "absent"] = "published"
    amounts: Literal["base", "contracts"] = "base"
    exponents: bool = False
    without: Mapping[str, str] = field(default_factory=dict, hash=False)
    revised: bool = False

    def __post_init__(self) -> None:
        if (self.numbering == "holes") != (self.hidden_ids > 0):
            raise ValueError(f"expected hidden_ids above 0 with holes only, found {self}")

    @property
    def contiguous(self) -> bool:
        """Whether a missing id is a missing row."""
        return self.numbering == "contiguous"

    @property
    def numbered(self) -> bool:
        """Whether rows have numbers as ids."""
        return self.numbering in ("contiguous", "holes")
