"""Outages of a whole market: spans in which every stored symbol is silent, too long to be a coincidence.

A symbol alone that does not trade is no news; many at once are. How often a symbol is silent, and how often it stays so for
another minute, is counted in the day before, the day and the day after, and in the two hours on either side (nights and
weekends are quieter), whichever is more; the span itself and other outages are left out. If symbols were silent
independently of each other, a joint silence of k steps would begin, in a day of n steps, n * product over the symbols of
P(silent) * P(stays)^(k-1) times. A span is an outage where that is below `CHANCE`. A bar that is not there counts as silent.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.model import DAY
from crypto_assets.quality.minutes import StoredDay, bits, mask, moment, resolution, runs

CHANCE = 1e-6
"""Joint silences that long in a day by coincidence: one in 2,700 years of a market. Fewer is an outage."""

_BESIDE = 120  # minutes on either side of a span whose rates count on their own

LEAST_TRADED = 20
"""Steps that a symbol must have traded in, outside the span: one that hardly ever trades tells nothing by being silent."""

_MOST_SILENT = 0.5
"""A symbol that is silent more often than not tells nothing either: such silences are no chain of coincidences."""


@dataclass(frozen=True, slots=True)
class JointSilence:
    """A span [start, end) in which all `symbols` were silent; `chance` is how many such there are a day by coincidence.

    `cut`: it reaches a midnight, no bar shows that the exchange was there, and the next day goes on or is not stored: files
    that were cut at the same minute look the same.
    """

    start: datetime
    end: datetime
    symbols: tuple[str, ...]
    chance: float
    cut: bool = False


@dataclass(slots=True)
class _MarketDay:
    """The symbols of a day that can be compared minute by minute, and what was silent in all of them.

    `step` is the length in minutes of the coarsest bars among them. `shown` are minutes in which a bar without trades is
    there, in some symbol.
    """

    step: int
    symbols: dict[str, int]
    joint: int = 0
    shown: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """A joint silence as pieces (day, first minute, one after the last), the days one after the other."""

    pieces: tuple[tuple[date, int, int], ...]
    symbols: tuple[str, ...]
    step: int

    @property
    def steps(self) -> int:
        return max(1, sum(end - first for _, first, end in self.pieces) // self.step)


def find_outages(stored: Iterable[StoredDay]) -> list[JointSilence]:
    """Return the joint silences of one market that are no coincidence, by time; spans over midnight are one.

    Args:
        stored: days of one exchange and market, in any order. The first and last day lack a neighbour to be counted by:
            give one day more on either side than is asked about.
    """
    days = _market_days(stored)
    held = _runs(days)
    while True:
        # Outages near each other must not make each other look ordinary: all that may be one is left out of the counts, and
        # what does not hold comes back into them, until what is left holds together.
        left_out: dict[date, int] = defaultdict(int)
        for run in held:
            for day, first, end in run.pieces:
                left_out[day] |= mask(first, end)
        chances = {run: _chance(run, days, left_out) for run in held}
        still = [run for run in held if chances[run] < CHANCE]
        if len(still) == len(held):
            break
        held = still
    found = []
    for run in held:
        (first_day, first, _), (last_day, _, end) = run.pieces[0], run.pieces[-1]
        start, until = moment(first_day, first), moment(last_day, end)
        found.append(JointSilence(start, until, run.symbols, chances[run], _is_cut(run, days)))
    return sorted(found, key=lambda one: one.start)


def _market_days(stored: Iterable[StoredDay]) -> dict[date, _MarketDay]:
    by_day: dict[date, dict[str, list[StoredDay]]] = defaultdict(lambda: defaultdict(list))
    for one in stored:
        by_day[one.day][one.symbol].append(one)
    return {day: made for day, symbols in by_day.items() if (made := _market_day(symbols)) is not None}


def _market_day(by_symbol: dict[str, list[StoredDay]]) -> _MarketDay | None:
    """Return the day of the symbols with the finest minutes: at least two, and all others that are no coarser than these.

    A bar that traded says nothing of each of its minutes, so an hourly bar would hide an outage of twenty minutes.
    """
    finest = {symbol: min(resolution(one.dataset) or MINUTES for one in ones) for symbol, ones in by_symbol.items()}
    if len(finest) < 2:
        return None
    step = sorted(finest.values())[1]
    made = _MarketDay(step, {}, joint=mask(0, MINUTES))
    for symbol, ones in by_symbol.items():
        if finest[symbol] > step:
            continue
        untraded = mask(0, MINUTES)
        for one in ones:
            if resolution(one.dataset) == finest[symbol]:
                untraded &= one.untraded
                if one.is_bars:
                    made.shown |= bits(one.silent)
        made.symbols[symbol] = untraded
        made.joint &= untraded
    return made


def _runs(days: dict[date, _MarketDay]) -> list[_Run]:
    """Return every joint silence; over midnight as one where the same two symbols and more are stored on both sides."""
    found: list[_Run] = []
    for day in sorted(days):
        market = days[day]
        for first, end in runs(market.joint):
            run = _Run(((day, first, end),), tuple(sorted(market.symbols)), market.step)
            before = found[-1] if first == 0 and found else None
            if before and before.pieces[-1][0] == day - DAY and before.pieces[-1][2] == MINUTES:
                both = tuple(symbol for symbol in before.symbols if symbol in market.symbols)
                if len(both) > 1:
                    found[-1] = _Run((*before.pieces, *run.pieces), both, max(before.step, run.step))
                    continue
            found.append(run)
    return found


def _chance(run: _Run, days: dict[date, _MarketDay], left_out: dict[date, int]) -> float:
    """Return how many joint silences as long as this one a day would have by coincidence; infinite if few tell."""
    first_day, last_day = run.pieces[0][0] - DAY, run.pieces[-1][0] + DAY
    window = [first_day + n * DAY for n in range((last_day - first_day).days + 1)]
    length = len(window) * MINUTES
    span = _joined([sum(mask(a, b) for day, a, b in run.pieces if day == one) for one in window])
    others = _joined([left_out.get(one, 0) for one in window])
    start = length - span.bit_length()
    end = start + run.steps * run.step
    beside = mask(max(0, start - _BESIDE), min(length, end + _BESIDE), length)
    counts = _joined([every(run.step)] * len(window))
    logarithm, telling = math.log(MINUTES // run.step), 0
    for symbol in run.symbols:
        markets = [days[day].symbols.get(symbol) if day in days else None for day in window]
        silent = _joined([untraded or 0 for untraded in markets])
        seen = _joined([0 if untraded is None else mask(0, MINUTES) for untraded in markets]) & counts & ~span
        usual = Rates.counted(silent, seen, run.step)
        if usual.traded < LEAST_TRADED or usual.silent > _MOST_SILENT:
            continue
        seen &= ~others
        rates = Rates.counted(silent, seen, run.step)
        near = Rates.counted(silent, seen & beside, run.step)
        telling += 1
        logarithm += math.log(max(rates.silent, near.silent))
        logarithm += (run.steps - 1) * math.log(max(rates.stays, near.stays))
    return math.exp(max(logarithm, -700.0)) if telling > 1 else math.inf


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a step is silent, and a step after a silent one; of nothing seen a half (one of each is added)."""

    traded: int
    silent: float
    stays: float

    @classmethod
    def counted(cls, silent: int, seen: int, step: int) -> Rates:
        """Count the silent ones among the steps that are seen: bits at the first minute of each step."""
        steps = seen.bit_count()
        silences = (silent & seen).bit_count()
        pairs = silent & seen & (seen << step)
        stayed = (pairs & (silent << step)).bit_count()
        return cls(steps - silences, (silences + 1) / (steps + 2), (stayed + 1) / (pairs.bit_count() + 2))


def _joined(days: Sequence[int]) -> int:
    """Return the minutes of days one after the other."""
    joined = 0
    for minutes in days:
        joined = joined << MINUTES | minutes
    return joined


def every(step: int) -> int:
    """Return every step-th minute of a day, the first included."""
    return int(("1" + "0" * (step - 1)) * (MINUTES // step), 2)


def _is_cut(run: _Run, days: dict[date, _MarketDay]) -> bool:
    at_edge = run.pieces[0][1] == 0 or run.pieces[-1][2] == MINUTES
    shown = any(days[day].shown & mask(a, b) for day, a, b in run.pieces)
    return at_edge and not shown
