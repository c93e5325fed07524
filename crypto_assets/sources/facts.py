"""Facts about a series that no file tells: whether its ids have holes. Each source states them for its own series."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

HIDDEN_SILENCE = timedelta(minutes=1)
"""Where ids have holes, missing ids count as missing rows only together with a silence of this length."""


@dataclass(frozen=True, slots=True)
class Facts:
    """How an exchange publishes one series.

    `numbering`: the ids of rows grow by 1 from row to row (`contiguous`), or some are left out although no row is missing
    (`holes`). `hidden_ids`: so many ids may be left out at one place; more of them are missing rows if trading is silent
    meanwhile. 0 where ids are contiguous.
    """

    numbering: Literal["contiguous", "holes"] = "contiguous"
    hidden_ids: int = 0

    def __post_init__(self) -> None:
        if (self.numbering == "holes") != (self.hidden_ids > 0):
            raise ValueError(f"expected hidden_ids above 0 with holes only, found {self}")

    @property
    def contiguous(self) -> bool:
        """Whether a missing id is a missing row."""
        return self.numbering == "contiguous"
