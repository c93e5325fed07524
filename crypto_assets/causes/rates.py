"""How often a symbol is silent, counted in minutes of its stored days."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_TRADED = 20
"""Steps that a symbol must have traded in, outside a silence: one that hardly ever trades tells nothing by being silent."""

MOST_SILENT = 0.5
"""A symbol that is silent more often than not tells nothing either: such silences are no chain of coincidences."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a step is silent, and a step after a silent one; of nothing seen a half (one of each is added).

    `share` is how often a step was silent, without that addition; 0 where none was seen.
    """

    traded: int
    silent: float
    stays: float
    share: float = 0.0

    @classmethod
    def counted(cls, silent: int, seen: int, step: int) -> Rates:
        """Count the silent ones among the steps that are seen: bits at the first minute of each step."""
        steps = seen.bit_count()
        silences = (silent & seen).bit_count()
        pairs = silent & seen & (seen << step)
        stayed = (pairs & (silent << step)).bit_count()
        return cls(
            steps - silences,
            (silences + 1) / (steps + 2),
            (stayed + 1) / (pairs.bit_count() + 2),
            silences / steps if steps else 0.0,
        )
