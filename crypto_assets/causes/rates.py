"""Count how often a symbol is silent, in minutes of its stored days."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_TRADED = 20
"""Steps with a trade that a symbol needs outside a silence: the silence of a symbol that hardly trades proves nothing."""

MOST_SILENT = 0.5
"""A symbol silent more often than this proves nothing either: its silences are not independent events."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a step is silent, and how often the next one is silent too; 1/2 without data (one of each is added).

    `share` is how often a step was silent, without that addition; 0 without data.
    """

    traded: int
    silent: float
    stays: float
    share: float = 0.0

    @classmethod
    def counted(cls, silent: int, seen: int, step: int) -> Rates:
        """Count the silent steps among the known ones: bits at the first minute of each step."""
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
