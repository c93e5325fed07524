"""Rules that give missing days and minutes a cause; no database. docs/concepts/incidents.md gives the reasons.

A day is judged by its outcome. The minutes inside a stored day are judged by the other datasets of the symbol, the other
symbols of the market and the neighbouring days. Nothing is filled in: a gap stays a gap, with a cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from crypto_assets import sources
from crypto_assets.causes.known_outages import KnownOutage
from crypto_assets.causes.outages import JointSilence
from crypto_assets.causes.silences import RareSilence, rare_silences
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.errors import BAD_FILES
from crypto_assets.ledger.minutes import StoredDay, bits, covered, long_runs, mask, moment, resolution, runs, whole_bars
from crypto_assets.model import DAY, STORED_FILE, Series, State
from crypto_assets.model.kinds import Kind
from crypto_assets.sources import Facts

_SILENT_EDGE = 60
"""Minutes without a trade at midnight that need no cause (the same as in crypto_assets/checks/complete.py)."""

_GONE = (404, 410)
"""Statuses of an answer that says that a file does not exist."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of missing data; `evidence` is JSON-serialisable."""

    kind: Kind
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MinuteSpan:
    """Minutes [start, end) of one symbol and dataset that are silent, or `missing`: their bar is missing.

    `only_silent`: no row is missing, because the exchange's own bars or the ids of the trades show that nothing traded.
    """

    symbol: str
    dataset: str
    start: datetime
    end: datetime
    missing: bool
    cause: Cause
    only_silent: bool = False

    @property
    def misses_rows(self) -> bool:
        """Whether rows are or may be missing: no row is missing in a silence of a market or a symbol."""
        return self.missing or not (self.only_silent or self.cause.kind in (Kind.EXCHANGE_OUTAGE, Kind.ILLIQUID))


# ---- days -------------------------------------------------------------------------------------------------------------


def cause_of_day(
    day: date,
    state: State | None,
    evidence: Mapping[str, Any],
    spans: Sequence[MinuteSpan] = (),
    known: Iterable[KnownOutage] = (),
    findings: Mapping[str, Any] | None = None,
) -> Cause:
    """Return why a day is not complete.

    Args:
        state: the state in its record, None if it was not collected yet.
        evidence: the evidence in its record.
        spans: the minutes missing inside a stored day.
        known: known outages of the market.
        findings: the findings in its record, for stored days.
    """
    error = evidence.get("error")
    damage = (findings or {}).get(STORED_FILE)
    if damage is not None:  # of our copy: not the exchange's failure
        return Cause(Kind.OUR_FAILURE, {"why": damage.get("problem", "its file was damaged or deleted")})
    if state is None:
        return Cause(Kind.NOT_COLLECTED)
    if state is State.PENDING:
        return Cause(Kind.NOT_YET_PUBLISHED, _some(evidence, "asked_by_name"))
    if state is State.NO_DATA:
        return _no_data(day, evidence)
    if state is State.DEGRADED:
        return _degraded(evidence, spans, findings or {})
    if error in BAD_FILES:
        return Cause(Kind.UPSTREAM_BAD_FILE, _some(evidence, "error", "quarantine", "key"))
    gone = "listed" in evidence and evidence.get("status") in _GONE
    if error in (None, "NotPublished", "UnknownSymbol") or gone:
        for one in known if not {"contradicted_by", "listed"} & evidence.keys() else ():
            if covered(one.start, one.end, day) == mask(0, MINUTES):
                return Cause(one.kind, of_known(one))
        if state is State.MISSING:
            return Cause(
                Kind.UPSTREAM_ABSENT_FILE,
                _some(evidence, "error", "listed", "status", "first_listed", "asked_by_name", "contradicted_by"),
            )
        return Cause(Kind.UNEXPLAINED, {"state": state.value})
    return Cause(Kind.OUR_FAILURE, _some(evidence, "error", "status", "quarantine", "key"))


_LIVES = {"before": Kind.BEFORE_LISTING, "after": Kind.DELISTED, "between": Kind.DELISTED}
"""Kinds of cause by the evidence about a symbol's lifetime (`crypto_assets/engine/archive`)."""


def _no_data(day: date, evidence: Mapping[str, Any]) -> Cause:
    if "outage" in evidence:
        return Cause(Kind.EXCHANGE_OUTAGE, evidence["outage"])
    if "ids" in evidence:
        return Cause(Kind.ILLIQUID, {"why": "the ids continue: nothing traded", **_some(evidence, "ids")})
    if "silent_bars" in evidence:
        return Cause(Kind.ILLIQUID, {"why": "all bars are silent: nothing traded", **_some(evidence, "silent_bars")})
    if "opens" in evidence:
        return Cause(Kind.ILLIQUID, {"why": "nothing is due on this day", **_some(evidence, "opens")})
    if (life := evidence.get("life")) in _LIVES:
        return Cause(
            _LIVES[life],
            _some(evidence, "first_listed", "listed_at", "last_listed", "expired", "inferred", "exchange_asked"),
        )
    if "last_listed" in evidence:
        return Cause(Kind.DELISTED, _some(evidence, "last_listed", "others_newest", "others"))
    if str(evidence.get("first_listed", "")) > day.isoformat():
        return Cause(Kind.BEFORE_LISTING, _some(evidence, "first_listed"))
    return Cause(Kind.ILLIQUID, {"why": "nothing is due on this day"})


_EXCUSES = frozenset({Kind.EXCHANGE_OUTAGE, Kind.ILLIQUID, Kind.DELISTED, Kind.BEFORE_LISTING})
"""Causes without a missing row: a partial day takes another cause if there is one."""


def _degraded(evidence: Mapping[str, Any], spans: Sequence[MinuteSpan], findings: Mapping[str, Any]) -> Cause:
    minutes: dict[Kind, int] = defaultdict(int)
    for span in spans:
        if span.misses_rows:
            minutes[span.cause.kind] += int((span.end - span.start).total_seconds()) // 60
    if minutes:
        most = max(minutes, key=lambda kind: (kind not in _EXCUSES, minutes[kind]))
        return Cause(most, {"minutes": {kind.value: count for kind, count in minutes.items()}})
    if evidence.get("missing"):
        return Cause(Kind.OUR_FAILURE, {"missing": evidence["missing"]})
    # Checks that degrade find missing rows, not wrong ones.
    failed = {name: finding for name, finding in findings.items() if not finding.get("passed", True)}
    return Cause(Kind.UPSTREAM_PARTIAL_FILE, {"failed_checks": failed})


def _some(evidence: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: evidence[name] for name in names if name in evidence}


# ---- a whole market ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MarketIncident:
    """A silence of all symbols of a market in [start, end); `reference` is the source of a known one."""

    start: datetime
    end: datetime
    cause: Cause
    symbols: tuple[str, ...] = ()
    reference: str | None = None


def of_known(one: KnownOutage) -> dict[str, Any]:
    """Return the evidence of a known outage."""
    span = {"start": one.start.isoformat(), "end": one.end.isoformat()}
    return {"known": one.what, "source": one.source, "precision": one.precision} | span


def of_market(found: Iterable[JointSilence], known: Iterable[KnownOutage]) -> list[MarketIncident]:
    """Return the outages of a market by time; joint silences are merged with a known outage that they touch.

    A joint silence that may be a cut of all files (`JointSilence.cut`) is an outage only if it is known.
    """
    left = list(found)
    made = []
    for one in sorted(known):
        touching = [silence for silence in left if silence.start <= one.end and one.start <= silence.end]
        left = [silence for silence in left if silence not in touching]
        evidence = of_known(one)
        if touching:
            evidence["silent"] = [
                {"start": silence.start.isoformat(), "end": silence.end.isoformat(), "chance": silence.chance}
                for silence in touching
            ]
        made.append(
            MarketIncident(
                min([one.start, *(silence.start for silence in touching)]),
                max([one.end, *(silence.end for silence in touching)]),
                Cause(one.kind, evidence),
                tuple(sorted({symbol for silence in touching for symbol in silence.symbols})),
                one.source,
            )
        )
    for silence in left:
        if not silence.cut:
            cause = Cause(Kind.EXCHANGE_OUTAGE, {"silent_symbols": len(silence.symbols), "chance": silence.chance})
            made.append(MarketIncident(silence.start, silence.end, cause, silence.symbols))
    return sorted(made, key=lambda incident: incident.start)


class Market:
    """The stored days of one exchange and market, with the causes of their silent and missing minutes."""

    def __init__(
        self,
        exchange: str,
        market_type: str,
        stored: Iterable[StoredDay],
        incidents: Sequence[MarketIncident] = (),
        cuts: Sequence[JointSilence] = (),
        unlisted: Collection[tuple[str, str, date]] = (),
    ) -> None:
        """Store the known facts.

        Args:
            incidents: of the whole market.
            cuts: joint silences that may be cuts of all files.
            unlisted: symbols, datasets and days known to have no data.
        """
        self._names = exchange, market_type
        self._stored = {(one.symbol, one.dataset, one.day): one for one in stored}
        self._of_day: dict[date, list[StoredDay]] = defaultdict(list)
        for one in self._stored.values():
            self._of_day[one.day].append(one)
        self._of_symbol: dict[str, list[StoredDay]] = defaultdict(list)
        for one in self._stored.values():
            self._of_symbol[one.symbol].append(one)
        self._rare: dict[str, Mapping[date, Sequence[RareSilence]]] = {}
        self._minutes_down: dict[date, int] = {}
        self._incidents = incidents
        self._cuts = cuts
        self._unlisted = unlisted

    def _facts(self, dataset: str) -> Facts:
        return sources.facts(Series.named(*self._names, dataset))

    def rare(self, symbol: str, day: date) -> Sequence[RareSilence]:
        """Return the silences of a symbol on a day that are rare by its own rates, whatever their cause."""
        if symbol not in self._rare:
            days = {one.day for one in self._of_symbol[symbol]}
            self._rare[symbol] = rare_silences(self._of_symbol[symbol], {day: self._down(day) for day in days})
        return self._rare[symbol].get(day, ())

    def spans(self, symbol: str, dataset: str, day: date, shortest: int = 1) -> list[MinuteSpan]:
        """Return the silent and missing minutes of a day with their causes, by time; empty for a day that is not stored.

        Args:
            shortest: minutes; spans that are shorter are left out. A thin market has hundreds of them in a day.
        """
        one = self._stored.get((symbol, dataset, day))
        step = resolution(dataset)
        if one is None or step is None:
            return []
        found: list[tuple[int, Cause]] = []
        quiet = 0
        left = one.untraded

        own = [other for other in self._of_day[day] if other.symbol == symbol and other.dataset != dataset]
        for other in sorted(own, key=lambda other: other.dataset):
            if (resolution(other.dataset) or MINUTES) > step:
                continue
            if both := left & whole_bars(other.traded, step):
                found.append((both, Cause(Kind.UPSTREAM_PARTIAL_FILE, {"traded_in": other.dataset})))
                left &= ~both
        for incident in self._incidents:
            inside = covered(incident.start, incident.end, day)
            if step > 1:
                inside = ~whole_bars(~inside & mask(0, MINUTES), step)
            if inside & left:
                found.append((inside & left, incident.cause))
                left &= ~inside
        absent = bits(one.absent)
        for first, end in runs(long_runs(left & absent, shortest)):
            found.append((mask(first, end), self._absent(one, step, first, end)))
        for first, end in runs(long_runs(left & ~absent, shortest)):
            cause = self._silent(one, step, first, end, own)
            if cause.kind is Kind.ILLIQUID:
                quiet |= mask(first, end)
                found += self._silences(one, step, first, end, cause)
            else:
                found.append((mask(first, end), cause))
        made = [
            MinuteSpan(
                symbol,
                dataset,
                moment(day, first),
                moment(day, end),
                bool(kind),
                cause,
                not kind and bool(some & quiet),
            )
            for minutes, cause in found
            for kind, some in ((1, minutes & absent), (0, minutes & ~absent))
            for first, end in runs(long_runs(some, shortest))
        ]
        return sorted(made, key=lambda span: span.start)

    def _absent(self, one: StoredDay, step: int, first: int, end: int) -> Cause:
        """Return the cause of missing bars that no outage explains."""
        if first == 0 and (one.symbol, one.dataset, one.day - DAY) in self._unlisted:
            return Cause(Kind.BEFORE_LISTING, {"first_day": str(one.day)})
        if end == MINUTES and (one.symbol, one.dataset, one.day + DAY) in self._unlisted:
            return Cause(Kind.DELISTED, {"last_day": str(one.day)})
        if others := self._trading(one, step, first, end):
            return Cause(Kind.UPSTREAM_PARTIAL_FILE, {"symbols_trading_meanwhile": others})
        start, until = moment(one.day, first), moment(one.day, end)
        for cut in self._cuts:
            if cut.start < until and start < cut.end:
                return Cause(Kind.UPSTREAM_PARTIAL_FILE, {"files_that_end_there_together": len(cut.symbols)})
        return Cause(Kind.UNEXPLAINED, {"symbols_trading_meanwhile": 0})

    def _silent(self, one: StoredDay, step: int, first: int, end: int, own: Sequence[StoredDay]) -> Cause:
        """Return the cause of minutes without trades that no outage explains."""
        if one.is_bars:
            return Cause(Kind.ILLIQUID, {"bars_without_trades": (end - first) // step})
        if any(other.is_bars and mask(first, end) & ~bits(other.silent) == 0 for other in own):
            return Cause(Kind.ILLIQUID, {"bars_without_trades": end - first})
        missing = one.missing_ids or 0
        if first == 0 or end == MINUTES:
            beside = self._stored.get((one.symbol, one.dataset, one.day + (-DAY if first == 0 else DAY)))
            seam = _ids_between(beside, one) if first == 0 else _ids_between(one, beside)
            if seam is None and end - first > _SILENT_EDGE:
                if others := self._trading(one, step, first, end):
                    return Cause(Kind.UPSTREAM_PARTIAL_FILE, {"symbols_trading_meanwhile": others})
                return Cause(Kind.UNEXPLAINED, {"silent_minutes_at_midnight": end - first})
            missing = seam or 0
            if missing > self._facts(one.dataset).hidden_ids:
                return Cause(Kind.UPSTREAM_PARTIAL_FILE, {"missing_ids": missing})
        elif missing and self._facts(one.dataset).contiguous:
            return Cause(Kind.UNEXPLAINED, {"missing_ids_of_the_day": missing})
        return Cause(Kind.ILLIQUID, {"missing_ids": missing})

    def _silences(self, one: StoredDay, step: int, first: int, end: int, ordinary: Cause) -> list[tuple[int, Cause]]:
        """Return minutes without trades with their causes: rare ones have an unknown cause."""
        found, left = [], mask(first, end)
        for rare in self.rare(one.symbol, one.day):
            minutes = mask(rare.first, rare.end) & left
            if minutes:
                evidence = {"chance": rare.chance, "once_in_days": rare.once_in_days}
                others = self._trading(one, step, rare.first, rare.end)
                found.append((minutes, Cause(Kind.UNEXPLAINED, {**evidence, "symbols_trading_meanwhile": others})))
                left &= ~minutes
        return found + [(mask(a, b), ordinary) for a, b in runs(left)]

    def _down(self, day: date) -> int:
        """Return the minutes of a day inside incidents of the whole market."""
        if day not in self._minutes_down:
            minutes = 0
            for incident in self._incidents:
                minutes |= covered(incident.start, incident.end, day)
            self._minutes_down[day] = minutes
        return self._minutes_down[day]

    def _trading(self, one: StoredDay, step: int, first: int, end: int) -> int:
        """Return how many other symbols traded in some minutes, by bars that are not longer."""
        span = mask(first, end)
        return len(
            {
                other.symbol
                for other in self._of_day[one.day]
                if other.symbol != one.symbol and (resolution(other.dataset) or MINUTES) <= step and other.traded & span
            }
        )


def _ids_between(before: StoredDay | None, after: StoredDay | None) -> int | None:
    """Return how many ids are missing between the last row of a day and the first of the next; None if one is unknown."""
    if before is None or after is None or before.last_id is None or after.first_id is None:
        return None
    return max(0, after.first_id - before.last_id - 1)
