"""Find outages of a whole market: spans in which every stored symbol is silent, too long for a coincidence.

One silent symbol proves nothing (but see `silences`); many at once do. Each symbol counts by its finest bars or trades, and
only for minutes with data; hourly bars count too. Two rates are counted: how often a symbol is silent, and how often it
stays silent for another step. Both are counted over the day and its neighbours, and over the two hours on either side
(nights and weekends are quieter); the higher rate is used. The span itself and other outages are left out.

If symbols were silent independently of each other, a joint silence would begin, in a day of n steps, n * product over
symbols of P(silent) * P(stays)^(k-1) times, where k counts the steps of the symbol inside the silence. A span is an outage
if that is below `CHANCE`. A missing bar counts as silent.
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
"""Joint silences of that length a day by coincidence: one in 2,700 years of a market. An outage has a smaller number."""

_BESIDE = 120  # minutes on either side of a span with rates of their own

_TELLS = 0.1
"""A silent long bar counts as evidence only if the symbol has silent bars less often than this."""


@dataclass(frozen=True, slots=True)
class JointSilence:
    """A span [start, end) in which all `symbols` were silent; `chance` is how many such spans a day coincidence gives.

    `cut`: the span reaches midnight, no bar shows that the exchange was up, and the next day continues or is not stored.
    Files that were all cut at the same minute look the same.
    """

    start: datetime
    end: datetime
    symbols: tuple[str, ...]
    chance: float
    cut: bool = False


@dataclass(slots=True)
class _MarketDay:
    """The symbols of a day, each by its finest bars or trades: the silent minutes, and the minutes with data.

    `step` is the shortest length of all, in minutes. `joint` are minutes silent in every symbol that has data for them, in
    which no whole bar of another symbol traded. `shown` are minutes with a bar without trades.
    """

    step: int
    steps: dict[str, int]
    silent: dict[str, int]
    known: dict[str, int]
    joint: int = 0
    shown: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """A joint silence as pieces (day, first minute, one after the last) of consecutive days."""

    pieces: tuple[tuple[date, int, int], ...]
    symbols: tuple[str, ...]
    step: int

    @property
    def steps(self) -> int:
        return max(1, sum(end - first for _, first, end in self.pieces) // self.step)


def find_outages(stored: Iterable[StoredDay]) -> list[JointSilence]:
    """Return the joint silences of one market that are no coincidence, by time; spans across midnight are joined.

    Args:
        stored: days of one exchange and market, in any order. The first and last day have one neighbour only: give one
            more day on either side than needed.
    """
    days = _market_days(stored)
    held = _runs(days)
    while True:
        # Neighbouring outages must not make each other look ordinary. All candidates are left out of the rates first; those
        # that fail are counted again, until the result no longer changes.
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

    A bar that traded does not show that each of its minutes did: an hourly bar would hide an outage of twenty minutes. But
    a bar that is entirely inside a silence of the others, and traded, disproves it.
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
            # A symbol proves nothing about unknown minutes (of a day that is not over).
            made.joint &= made.silent[symbol] | ~made.known[symbol]
    if len(steps) < 2 or not any(silent & made.joint for silent in made.silent.values()):
        made.joint = 0
    longer = [step for step in steps.values() if step > made.step]
    if len(longer) == len(steps) - 1 and longer:
        # If one symbol alone has the finest bars, only a silence with a whole bar of another symbol has a witness.
        long = [mask(first, end) for first, end in runs(made.joint) if end - first >= min(longer)]
        made.joint = sum(long)
    for symbol, step in steps.items():
        if step > made.step and made.joint:
            made.joint &= ~_whole_traded(made.joint, made.known[symbol] & ~made.silent[symbol], step)
    return made


def _whole_traded(joint: int, traded: int, step: int) -> int:
    """Return the minutes of the bars that traded and are entirely inside a joint silence."""
    found = 0
    for first, end in runs(joint):
        found |= mask(-(-first // step) * step, end // step * step) & traded
    return found


def _runs(days: dict[date, _MarketDay]) -> list[_Run]:
    """Return every joint silence; joined across midnight if the same two or more symbols are stored on both sides."""
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
    """Return how many joint silences of this length a day coincidence gives, and the silent symbols.

    Infinite if fewer than two symbols give evidence.
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
        # If a symbol is stored in bars of several lengths, days with other bars than the span's prove nothing about it.
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
    """Return the minutes of the bars that are entirely inside a span of `length` minutes."""
    if step == 1:
        return span
    first, end = length - span.bit_length(), length - ((span & -span).bit_length() - 1)
    return mask(-(-first // step) * step, end // step * step, length)


def _is_cut(run: _Run, days: dict[date, _MarketDay]) -> bool:
    at_edge = run.pieces[0][1] == 0 or run.pieces[-1][2] == MINUTES
    shown = any(days[day].shown & mask(a, b) for day, a, b in run.pieces)
    return at_edge and not shown
