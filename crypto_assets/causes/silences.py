"""Find silences of one symbol that are rare by its own rates: too long for thin trading, without another symbol to compare.

Two rates are counted: how often the symbol is silent, and how often it stays silent for another step. They are counted over
the days around a silence, over the two hours on either side, and over the same hours of the other days, because nights are
quieter; the highest is used. All long silences are left out of the counts together: otherwise one of 74 minutes would make
one of 14 look ordinary. A pause at the same hours on most other days is a habit of the symbol and never rare.

A silence of k steps then begins n * P(silent) * P(stays)^(k-1) times in a day of n steps. Below `RARE` it is rare.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from crypto_assets.causes.rates import LEAST_TRADED, MOST_SILENT, Rates
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.ledger.minutes import StoredDay, edge_runs, every, joined, long_runs, mask, resolution, runs
from crypto_assets.model import DAY

RARE = 1e-3
"""Silences of that length expected a day by the symbol's own rates: one in a thousand days. A rare one has less."""

DAYS_BESIDE = 2
"""Days on either side of a silence that are counted, if they are stored."""

_SHORTEST = 5  # minutes; shorter silences are never rare
_BESIDE = 120  # minutes on either side with rates of their own
_SAME_HOURS = 30  # minutes compared on other days, beyond the silence on either side
_BUSY = 0.1
"""With one stored day the nights are unknown: the symbol must be silent less often than this."""

_EDGE = 30
"""Minutes around an outage that belong to it: its times are exact to 15 minutes, and trading resumes slowly."""

_ONCE_AT_MOST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RareSilence:
    """Minutes [first, end) of a day; `chance` is the expected number of silences of this length a day."""

    first: int
    end: int
    chance: float

    @property
    def once_in_days(self) -> int:
        """The number of days in which one such silence is expected."""
        return min(_ONCE_AT_MOST, round(1 / self.chance)) if self.chance > 0 else _ONCE_AT_MOST


@dataclass(frozen=True, slots=True)
class _Run:
    """A silence as pieces (day, first minute, one after the last) of consecutive days."""

    pieces: tuple[tuple[date, int, int], ...]

    @property
    def minutes(self) -> int:
        return sum(end - first for _, first, end in self.pieces)


class _Symbol:
    """The stored days of one symbol, by its finest bars or trades."""

    def __init__(self, stored: Iterable[StoredDay], down: Mapping[date, int]) -> None:
        by_day: dict[date, list[StoredDay]] = defaultdict(list)
        for one in stored:
            if resolution(one.dataset) is not None:
                by_day[one.day].append(one)
        self.step = min((resolution(one.dataset) or MINUTES for ones in by_day.values() for one in ones), default=1)
        self.silent: dict[date, int] = {}
        self.known: dict[date, int] = {}
        for day, ones in by_day.items():
            finest = [one for one in ones if resolution(one.dataset) == self.step]
            if finest:
                silent, traded = mask(0, MINUTES), 0
                for one in finest:
                    silent &= one.untraded
                    traded |= one.traded
                silent &= ~traded
                out = _with_edges(down.get(day, 0), silent)
                self.silent[day] = silent & ~out
                self.known[day] = self.silent[day] | (traded & ~out)

    def runs(self, shortest: int) -> list[_Run]:
        """Return the silences of at least that many minutes; joined across midnight."""
        found: list[_Run] = []
        for day in sorted(self.silent):
            silent = self.silent[day]  # shorter ones count if they continue over midnight
            for first, end in runs(long_runs(silent, shortest) | edge_runs(silent)):
                before = found[-1].pieces[-1] if first == 0 and found else None
                if before and before[0] == day - DAY and before[2] == MINUTES:
                    found[-1] = _Run((*found[-1].pieces, (day, first, end)))
                else:
                    found.append(_Run(((day, first, end),)))
        return [run for run in found if run.minutes >= shortest]


def _with_edges(down: int, silent: int) -> int:
    """Return the minutes of outages, and of short silences that touch one."""
    found = down
    for first, end in runs(silent & ~down) if down else ():
        touched = mask(max(0, first - 1), min(MINUTES, end + 1)) & down
        if touched and end - first <= _EDGE:
            found |= mask(first, end)
    return found


def rare_silences(stored: Iterable[StoredDay], down: Mapping[date, int]) -> dict[date, list[RareSilence]]:
    """Return the rare silences of one symbol by day; those across midnight are on both days.

    Args:
        stored: its days in all datasets, in any order, with `DAYS_BESIDE` more on either side than needed.
        down: minutes in which the exchange was down; they prove nothing, and are not part of a silence.
    """
    symbol = _Symbol(stored, down)
    held = _candidates(symbol)
    long: dict[date, list[tuple[int, int]]] = defaultdict(list)
    for run in held:
        for day, first, end in run.pieces:
            long[day].append((first, end))
    while held:
        left_out: dict[date, int] = defaultdict(int)
        for run in held:
            for day, first, end in run.pieces:
                left_out[day] |= mask(first, end)
        chances = {run: _chance(symbol, run, left_out, long) for run in held}
        still = [run for run in held if chances[run] < RARE]
        if len(still) == len(held):
            break
        held = still
    found: dict[date, list[RareSilence]] = defaultdict(list)
    for run in held:
        for day, first, end in run.pieces:
            found[day].append(RareSilence(first, end, chances[run]))
    return dict(found)


def _candidates(symbol: _Symbol) -> list[_Run]:
    """Return the silences that may be rare: by rates without any silence of five minutes, the lowest possible."""
    long = symbol.runs(_SHORTEST)
    if not long:
        return []
    without: dict[date, int] = defaultdict(int)
    for run in long:
        for day, first, end in run.pieces:
            without[day] |= mask(first, end)
    days = sorted(symbol.silent)
    counts = joined([every(symbol.step)] * len(days))
    seen = joined([symbol.known[day] & ~without[day] for day in days]) & counts
    rates = Rates.counted(joined([symbol.silent[day] for day in days]), seen, symbol.step)
    return [run for run in long if _expected(symbol.step, run, rates.silent, rates.stays) < RARE]


def _expected(step: int, run: _Run, silent: float, stays: float) -> float:
    steps = max(1, run.minutes // step)
    logarithm = math.log(MINUTES // step) + math.log(silent) + (steps - 1) * math.log(stays)
    return math.exp(max(logarithm, -700.0))


def _chance(
    symbol: _Symbol, run: _Run, left_out: Mapping[date, int], long: Mapping[date, Sequence[tuple[int, int]]]
) -> float:
    """Return how many silences of this length are expected a day; infinite if the symbol gives no evidence."""
    first_day, last_day = run.pieces[0][0], run.pieces[-1][0]
    window = [first_day + n * DAY for n in range(-DAYS_BESIDE, (last_day - first_day).days + DAYS_BESIDE + 1)]
    own = {day for day, _, _ in run.pieces}
    others = [day for day in window if day not in own and day in symbol.known]
    silent = joined([symbol.silent.get(day, 0) for day in window])
    counts = joined([every(symbol.step)] * len(window))
    seen = joined([symbol.known.get(day, 0) & ~left_out.get(day, 0) for day in window]) & counts
    wide = Rates.counted(silent, seen, symbol.step)
    if wide.traded < LEAST_TRADED or wide.silent > (MOST_SILENT if others else _BUSY):
        return math.inf
    if _is_habit(run, others, long):
        return math.inf
    length = len(window) * MINUTES
    start = DAYS_BESIDE * MINUTES + run.pieces[0][1]
    end = start + run.minutes
    near = seen & mask(max(0, start - _BESIDE), min(length, end + _BESIDE), length)
    same = seen & joined([_same_hours(run) if day in others else 0 for day in window])
    rates = [Rates.counted(silent, near, symbol.step), Rates.counted(silent, same, symbol.step)]
    return _expected(
        symbol.step,
        run,
        max(wide.silent, *(one.share for one in rates)),
        max(wide.stays, *(one.stays for one in rates)),
    )


def _same_hours(run: _Run) -> int:
    hours = 0
    for _, first, end in run.pieces:
        hours |= mask(max(0, first - _SAME_HOURS), min(MINUTES, end + _SAME_HOURS))
    return hours


def _is_habit(run: _Run, others: Sequence[date], long: Mapping[date, Sequence[tuple[int, int]]]) -> bool:
    """Return whether most other days have a silence at the same hours that is at least half as long.

    The lengths of such pauses are not independent events: by their own rates each of them would be rare.
    """
    hours = _same_hours(run)
    alike = 0
    for day in others:
        alike += any(2 * (end - first) >= run.minutes and mask(first, end) & hours for first, end in long.get(day, ()))
    return alike > 0 and 2 * alike >= len(others)
