"""Outages of a whole market: spans in which every stored symbol is silent, too long to be a coincidence.

A symbol alone that does not trade is no news (`silences` says when it is); many at once are. Each symbol counts by the finest
bars or trades that it has, and only for minutes of which anything is known: hourly bars are witnesses too. How often a symbol
is silent, and how often it stays so for another step, is counted in the day before, the day and the day after, and in the two
hours on either side (nights and weekends are quieter), whichever is more; the span itself and other outages are left out. If
symbols were silent independently of each other, a joint silence would begin, in a day of n steps, n * product over symbols of
P(silent) * P(stays)^(k-1) times, where k counts the steps of the symbol that lie in the silence. A span is an outage where
that is below `CHANCE`. A bar that is missing counts as silent.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from crypto_assets.causes.rates import LEAST_TRADED, MOST_SILENT, Rates
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.ledger.minutes import StoredDay, bits, every, joined, mask, moment, resolution, runs
from crypto_assets.model import DAY

CHANCE = 1e-6
"""Joint silences that long in a day by coincidence: one in 2,700 years of a market. Fewer is an outage."""

_BESIDE = 120  # minutes on either side of a span whose rates count on their own

_TELLS = 0.1
"""A symbol of which only longer bars are stored tells something by a silent bar where it has such less often than that."""


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
    """The symbols of a day, each by its finest bars or trades: which minutes are silent, and of which anything is known.

    `step` is the length in minutes of the finest of all; `joint` are minutes that are silent in every symbol that has
    these, and in which no whole bar of another one traded. `shown` are minutes in which a bar without trades is there.
    """

    step: int
    steps: dict[str, int]
    silent: dict[str, int]
    known: dict[str, int]
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
        judged = {run: _chance(run, days, left_out) for run in held}
        still = [run for run in held if judged[run][0] < CHANCE]
        if len(still) == len(held):
            break
        held = still
    found = []
    for run in held:
        (first_day, first, _), (last_day, _, end) = run.pieces[0], run.pieces[-1]
        start, until = moment(first_day, first), moment(last_day, end)
        chance, symbols = judged[run]
        found.append(JointSilence(start, until, symbols, chance, _is_cut(run, days)))
    return sorted(found, key=lambda one: one.start)


def _market_days(stored: Iterable[StoredDay]) -> dict[date, _MarketDay]:
    by_day: dict[date, dict[str, list[StoredDay]]] = defaultdict(lambda: defaultdict(list))
    for one in stored:
        by_day[one.day][one.symbol].append(one)
    return {day: _market_day(symbols) for day, symbols in by_day.items()}


def _market_day(by_symbol: dict[str, list[StoredDay]]) -> _MarketDay:
    """Return the day of some symbols.

    A bar that traded says nothing of each of its minutes, so an hourly bar would hide an outage of twenty minutes; one that
    lies wholly in a silence of the others, and traded, refutes it all the same.
    """
    steps = {symbol: min(resolution(one.dataset) or MINUTES for one in ones) for symbol, ones in by_symbol.items()}
    made = _MarketDay(min(steps.values()), steps, {}, {}, joint=mask(0, MINUTES))
    for symbol, ones in by_symbol.items():
        silent, traded = mask(0, MINUTES), 0
        for one in ones:
            if resolution(one.dataset) == steps[symbol]:
                silent &= one.untraded
                traded |= one.traded
                if one.is_bars and steps[symbol] == made.step:
                    made.shown |= bits(one.silent)
        made.silent[symbol] = silent & ~traded
        made.known[symbol] = made.silent[symbol] | traded
        if steps[symbol] == made.step:
            # Of minutes that are not known (a day that is not over) a symbol says nothing.
            made.joint &= made.silent[symbol] | ~made.known[symbol]
    if len(steps) < 2 or not any(silent & made.joint for silent in made.silent.values()):
        made.joint = 0
    longer = [step for step in steps.values() if step > made.step]
    if len(longer) == len(steps) - 1 and longer:
        # One symbol alone has the finest bars: only a silence that holds a whole bar of another one has a witness.
        long = [mask(first, end) for first, end in runs(made.joint) if end - first >= min(longer)]
        made.joint = sum(long)
    for symbol, step in steps.items():
        if step > made.step and made.joint:
            made.joint &= ~_whole_traded(made.joint, made.known[symbol] & ~made.silent[symbol], step)
    return made


def _whole_traded(joint: int, traded: int, step: int) -> int:
    """Return the minutes of the bars that traded and lie wholly in a joint silence."""
    found = 0
    for first, end in runs(joint):
        found |= mask(-(-first // step) * step, end // step * step) & traded
    return found


def _runs(days: dict[date, _MarketDay]) -> list[_Run]:
    """Return every joint silence; over midnight as one where the same two symbols and more are stored on both sides."""
    found: list[_Run] = []
    for day in sorted(days):
        market = days[day]
        for first, end in runs(market.joint):
            run = _Run(((day, first, end),), tuple(sorted(market.silent)), market.step)
            before = found[-1] if first == 0 and found else None
            if before and before.pieces[-1][0] == day - DAY and before.pieces[-1][2] == MINUTES:
                both = tuple(symbol for symbol in before.symbols if symbol in market.silent)
                if len(both) > 1:
                    found[-1] = _Run((*before.pieces, *run.pieces), both, max(before.step, run.step))
                    continue
            found.append(run)
    return found


def _chance(run: _Run, days: dict[date, _MarketDay], left_out: dict[date, int]) -> tuple[float, tuple[str, ...]]:
    """Return how many joint silences as long as this one a day would have by coincidence, and the symbols that are silent.

    Infinite where fewer than two symbols tell anything.
    """
    first_day, last_day = run.pieces[0][0] - DAY, run.pieces[-1][0] + DAY
    window = [first_day + n * DAY for n in range((last_day - first_day).days + 1)]
    length = len(window) * MINUTES
    span = joined([sum(mask(a, b) for day, a, b in run.pieces if day == one) for one in window])
    others = joined([left_out.get(one, 0) for one in window])
    start = length - span.bit_length()
    beside = mask(max(0, start - _BESIDE), min(length, start + run.steps * run.step + _BESIDE), length)
    logarithm, telling, silent_ones = math.log(MINUTES // run.step), 0, []
    for symbol in run.symbols:
        markets = [days[day] if day in days and symbol in days[day].silent else None for day in window]
        # Where a symbol is stored in bars of several lengths, days of other bars than in the span tell nothing of it.
        step = max(days[day].steps[symbol] for day, _, _ in run.pieces if symbol in days[day].steps)
        silent = joined([0 if market is None else market.silent[symbol] for market in markets])
        known = [0 if m is None or m.steps[symbol] != step else m.known[symbol] for m in markets]
        counts = joined([every(step)] * len(window))
        seen = joined(known) & counts & ~span
        usual = Rates.counted(silent, seen, step)
        steps = (_whole(span, step, length) & silent & counts).bit_count()
        most = _TELLS if step > run.step else MOST_SILENT
        if not steps:
            continue
        silent_ones.append(symbol)
        if usual.traded < LEAST_TRADED or usual.silent > most:
            continue
        seen &= ~others
        rates = Rates.counted(silent, seen, step)
        near = Rates.counted(silent, seen & beside, step)
        telling += 1
        logarithm += math.log(max(rates.silent, near.silent))
        logarithm += (steps - 1) * math.log(max(rates.stays, near.stays))
    return (math.exp(max(logarithm, -700.0)) if telling > 1 else math.inf), tuple(silent_ones)


def _whole(span: int, step: int, length: int) -> int:
    """Return the minutes of the bars that lie wholly in a span of `length` minutes."""
    if step == 1:
        return span
    first, end = length - span.bit_length(), length - ((span & -span).bit_length() - 1)
    return mask(-(-first // step) * step, end // step * step, length)


def _is_cut(run: _Run, days: dict[date, _MarketDay]) -> bool:
    at_edge = run.pieces[0][1] == 0 or run.pieces[-1][2] == MINUTES
    shown = any(days[day].shown & mask(a, b) for day, a, b in run.pieces)
    return at_edge and not shown
