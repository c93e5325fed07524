"""Minutes of a day as numbers: their runs."""

from __future__ import annotations

import random

import pytest

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.ledger.minutes import edge_runs, long_runs, mask, runs


def of_runs(*some: tuple[int, int]) -> int:
    return sum(mask(first, end) for first, end in some)


def random_day(share: float, seed: int) -> int:
    """Return runs of up to 20 minutes, many of them beside one another."""
    dice, found, at = random.Random(seed), 0, 0
    while at < MINUTES:
        end = min(MINUTES, at + dice.choice((1, 1, 2, 3, 4, 5, 6, 20)))
        found |= mask(at, end) if dice.random() < share else 0
        at = end
    return found


DAYS = {
    "nothing": 0,
    "the whole day": mask(0, MINUTES),
    "the edges": of_runs((0, 1), (MINUTES - 1, MINUTES)),
    "just long enough, just too short": of_runs((0, 5), (6, 10), (11, 16), (MINUTES - 4, MINUTES)),
    **{
        f"{share:.0%} of the minutes, {seed}": random_day(share, seed)
        for share in (0.05, 0.5, 0.9)
        for seed in range(20)
    },
}


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_runs_are_chosen_by_their_length_and_by_the_edges_of_the_day(day: int) -> None:
    for shortest in (1, 2, 5, 9):
        wanted = [(first, end) for first, end in runs(day) if end - first >= shortest]
        assert list(runs(long_runs(day, shortest))) == wanted
    assert list(runs(edge_runs(day))) == [run for run in runs(day) if run[0] == 0 or run[1] == MINUTES]
