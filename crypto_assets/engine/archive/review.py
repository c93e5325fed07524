"""Checks days again that are `no_data` by inference, or because an exchange said so.

Files may appear later, a symbol may be listed again, an archive may be completed backwards. A day that is no longer explained
becomes `missing` (or `pending`), and so a gap that `fill` collects. Each look costs about one page of a listing and one
question per symbol. In the evidence of a day, `looked_at` is the time of the last look. If the question could not be asked,
or only in part, `looked_at` stays, `tried_at` is the time of the attempt, and `look_problem` says why it failed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from crypto_assets import sources
from crypto_assets.causes.excuses import Excuses
from crypto_assets.causes.market_outages import read_outages
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.engine.archive.finder import Finder
from crypto_assets.engine.archive.holders import Files
from crypto_assets.engine.archive.lifetime import problem_of, says_more
from crypto_assets.engine.day_outcomes import Target
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.errors import HOST_PROBLEMS, OF_THIS_PROCESS, CryptoAssetsError
from crypto_assets.ledger.inferred_days import Inferred, inferred_days, lock_days, write_looks
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import ALL, Controls, of_exchange
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import DAY, Outcome, Partition, Series, State, Track
from crypto_assets.model.provenance import same_file
from crypto_assets.text.visible import visible
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import EGRESS, Guard

DAILY = timedelta(days=1)
"""`gaps` checks days again whose last look is older than this; `fill` always checks them."""

_AT_ONCE = 8
_NAMED = 3  # the most symbols named in a line


@dataclass(slots=True)
class Skipped:
    """Days that stay as they were because they could not be checked: how many, of which symbols, and why.

    `since` is the time of the oldest look at them, ISO 8601; empty if a day has no recorded look.
    """

    problem: str
    days: int = 0
    symbols: set[str] = field(default_factory=set)
    since: str | None = None

    def add(self, symbol: str, days: Sequence[Inferred]) -> None:
        self.days += len(days)
        self.symbols.add(symbol)
        looked = [one.looked_at for one in days] + ([] if self.since is None else [self.since])
        self.since = min(looked, default=None)


_OF_HOST, _OF_SYMBOLS, _OF_TIME = "host", "symbols", "time"
"""Why days were skipped: the host did not answer, single symbols failed, or time was up."""


@dataclass(slots=True)
class Review:
    """The result of a look: the number of checked days, the days that are no longer explained, and the skipped ones.

    `skipped` holds the days that could not be checked, by exchange and kind of reason.
    """

    looked_at: int = 0
    reopened: list[Outcome] = field(default_factory=list)
    skipped: dict[tuple[str, str], Skipped] = field(default_factory=dict)

    def in_words(self) -> list[str]:
        """Return lines for people; empty if there is nothing to report."""
        lines = []
        if self.reopened:
            days = len(self.reopened)
            lines.append(
                "1 day of no data is no longer explained; it is a gap now"
                if days == 1
                else f"{days} days of no data are no longer explained; they are gaps now"
            )
        for (exchange, kind), one in sorted(self.skipped.items()):
            since = f" at {one.since[:16].replace('T', ' ')} UTC" if one.since else " not recorded"
            what = f"{one.days} days of no data that was inferred, or reported by the exchange"
            of = f" ({_names(one.symbols)})" if kind == _OF_SYMBOLS else ""
            lines.append(f"{exchange}: could not look again at {what}{of}; the last look was{since}: {one.problem}")
        return [visible(line) for line in lines]


def _names(symbols: set[str]) -> str:
    named = sorted(symbols)[:_NAMED]
    more = len(symbols) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def review(
    collection: Collection,
    ledger: Ledger,
    selected: Iterable[tuple[SeriesEntry, Sequence[Track]]],
    *,
    now: datetime | None = None,
    older_than: timedelta = timedelta(0),
    timeout_s: float = 15.0,
    budget_s: float = float("inf"),
    egress: str = EGRESS,
) -> Review:
    """Check the inferred days of some series and symbols again, record the changes, and return the result.

    Args:
        selected: entries, each with the tracks to check.
        older_than: days with a younger last look are left alone; if all are younger, nothing is requested.
        timeout_s: of each request; each is made once.
        budget_s: after this time no further symbol is begun; symbols with the oldest last look come first.

    Raises:
        PostgresUnavailable: the server does not answer.
    """
    at = now or datetime.now(UTC)
    paused = {one.scope for one in Controls(ledger).read() if one.action == "pause"}
    work = []
    for entry, of_entry in selected:
        if paused & {ALL, of_exchange(entry.exchange)}:
            continue
        last = entry.until(at.date() - DAY)
        for series in sorted({series for series, _ in of_entry}):
            symbols = [symbol for one, symbol in of_entry if one == series]
            with ledger.transaction() as connection:
                found = _inferred(connection, series, symbols, entry.start, last, at - older_than)
            work += [(series, symbol, days) for symbol, days in found.items()]
    result = Review()
    if not work:
        return result
    work.sort(key=lambda one: min(day.tried_at for day in one[2]))
    deadline = time.monotonic() + budget_s
    with (
        Guard(ledger.url, collection, egress=egress, patience_s=timeout_s) as guard,
        Client(guard, _AT_ONCE, timeout_s=timeout_s, attempts=1) as client,
        DaemonPool(_AT_ONCE, "review") as pool,
    ):
        finder = Finder(client, collection, ledger, RestFeed(client, collection), lambda: at)
        reviewer = _Reviewer(finder, ledger, result, at, deadline, budget_s)
        list(pool.map(lambda one: reviewer.look(*one), work))
    return result


def _inferred(
    connection: psycopg.Connection[Any],
    series: Series,
    symbols: Sequence[str],
    first: date,
    last: date,
    before: datetime,
) -> dict[str, list[Inferred]]:
    """Return the days to check, by symbol; if one day of a symbol is due, all its days."""
    found: dict[str, list[Inferred]] = {}
    for one in inferred_days(connection, series, symbols, first, last):
        found.setdefault(one.symbol, []).append(one)
    last_look = before.isoformat()
    return {symbol: days for symbol, days in found.items() if min(one.is_settled_since for one in days) <= last_look}


class _Reviewer:
    """Checks one symbol after the other; `look` may be called from many threads."""

    def __init__(
        self, finder: Finder, ledger: Ledger, result: Review, now: datetime, deadline: float, budget_s: float
    ) -> None:
        self._finder = finder
        self._ledger = ledger
        self._result = result
        self._now = now
        self._deadline = deadline
        self._budget_s = budget_s
        self._lock = threading.Lock()

    def look(self, series: Series, symbol: str, days: Sequence[Inferred]) -> None:
        if time.monotonic() > self._deadline:
            self._skip(series, symbol, days, _OF_TIME, f"the {self._budget_s:g} s for it were over")
            return
        if (down := self._result.skipped.get((series.exchange, _OF_HOST))) is not None:
            self._skip(series, symbol, days, _OF_HOST, down.problem)  # the host failed a moment ago
            return
        if not sources.archives(series):
            self._ask_again(series, symbol, days)
            return
        target = Target(series, symbol, tuple(one.day for one in days))
        located = self._finder.find(target, target.days)
        held = {day: holder for holder in located.holders if isinstance(holder, Files) for day in holder.days}
        absent = {outcome.partition.day: outcome for outcome in located.absent}
        excuses = self._outages(series, days)
        looked = {"looked_at": self._now.isoformat()}
        tried = {"tried_at": self._now.isoformat()}
        same: list[tuple[Inferred, str, Mapping[str, Any]]] = []
        reopened: list[tuple[Inferred, Outcome]] = []
        for one in days:
            outcome = self._in_file(series, one, held[one.day]) if one.day in held else absent[one.day]
            outcome = outcome and excuses.whole_day(outcome, self._now)
            former = {name: value for name, value in one.evidence.items() if name not in ("tried_at", "look_problem")}
            if outcome is not None and (found := _problem(outcome)):
                kind, problem = found
                self._skip(series, symbol, [one], kind, problem)
                if kind == _OF_SYMBOLS:  # other symbols come first the next time
                    same.append((one, one.reason, former | tried | {"look_problem": problem}))
            elif outcome is None:
                same.append((one, one.reason, former | looked))
            elif outcome.state is State.NO_DATA:
                same.append((one, outcome.reason, {**outcome.evidence, **looked}))
            elif "exchange_asked" in one.evidence and not says_more(outcome):
                same.append((one, one.reason, former | tried))  # an exchange's answer stays valid
            else:
                reopened.append((one, outcome))
        self._record(series, symbol, same, reopened)

    def _ask_again(self, series: Series, symbol: str, days: Sequence[Inferred]) -> None:
        """Look at days of a series without an archive again: the exchange is asked whether it has rows of them now."""
        looked, asks = {"looked_at": self._now.isoformat()}, self._finder.asks(series, symbol)
        same: list[tuple[Inferred, str, Mapping[str, Any]]] = []
        reopened: list[tuple[Inferred, Outcome]] = []
        for one in days:
            try:
                has_rows = asks is not None and asks.has_rows(series, symbol, one.day, one.day)
            except OF_THIS_PROCESS:
                raise
            except CryptoAssetsError as error:
                self._skip(series, symbol, [one], _OF_SYMBOLS, str(error))
                continue
            if has_rows:
                found = f"{series.exchange} has rows of this day now; until now: {one.reason}"
                reason = f"{found}. `crypto-assets fill` collects it"
                partition = Partition(symbol, one.day)
                reopened.append((one, Outcome(series, partition, State.MISSING, reason, {"was": one.reason})))
            else:
                same.append((one, one.reason, {**one.evidence, **looked}))
        self._record(series, symbol, same, reopened)

    def _outages(self, series: Series, days: Sequence[Inferred]) -> Excuses:
        with self._ledger.transaction() as connection:
            outages = read_outages(connection, series.exchange, series.market_type, days[0].day, days[-1].day)
        return Excuses(series, outages)

    def _in_file(self, series: Series, one: Inferred, holder: Files) -> Outcome | None:
        """Return the new outcome of a day that a file covers; None if nothing has changed."""
        partition = Partition(one.symbol, one.day)
        obj = holder.obj
        if not same_file(obj, one.source_key, one.source_etag):
            since = one.looked_at[:10] or "it was looked at last"
            reason = f"{obj.key} has appeared since {since}; until then: {one.reason}. `crypto-assets fill` collects it"
            return Outcome(series, partition, State.MISSING, reason, {"appeared": obj.key, "was": one.reason})
        if "outage" in one.evidence:
            reason = f"{obj.key} has no rows of this day; until now: {one.reason}"
            return Outcome(series, partition, State.MISSING, reason, {"object": obj.key, "was": one.reason})
        if "edge" not in one.evidence and "object" in one.evidence:  # inside a monthly file, not at an edge
            outside = self._finder.outside(series, one.symbol, [one.day]).get(one.day)
            return None if outside is None or outside.state is State.NO_DATA else outside
        period = holder.period
        before = one.evidence.get("life") == "before"
        outside = self._finder.beside(series, one.symbol, period[0] - DAY if before else period[1] + DAY)
        if outside is not None and _problem(outside):
            return outside
        edge = one.evidence.get("edge")
        try:
            asks, contradicted = self._finder.asks(series, one.symbol), outside is None
            if asks is not None and edge and before:
                first = asks.first(series, one.symbol)
                contradicted |= first is not None and first < datetime.fromisoformat(edge)
            elif asks is not None and edge:
                latest = asks.latest(series, one.symbol)
                later = latest.time is not None and latest.time >= datetime.fromisoformat(edge)
                # A forgotten symbol is not an answer.
                contradicted |= latest.is_known and (not latest.ended or later)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            return Outcome(series, partition, State.NO_DATA, one.reason, problem_of("exchange", error))
        if not contradicted:
            return None
        where = "before" if before else "after"
        reason = (
            f"{obj.key} has no rows of this day, and the symbol has files or rows {where} it; until now: {one.reason}"
        )
        return Outcome(series, partition, State.MISSING, reason, {"object": obj.key, "was": one.reason})

    def _skip(self, series: Series, symbol: str, days: Sequence[Inferred], kind: str, problem: str) -> None:
        with self._lock:
            self._result.skipped.setdefault((series.exchange, kind), Skipped(problem)).add(symbol, days)

    def _record(
        self,
        series: Series,
        symbol: str,
        same: Sequence[tuple[Inferred, str, Mapping[str, Any]]],
        reopened: Sequence[tuple[Inferred, Outcome]],
    ) -> None:
        """Record the days as they are now, except days that a run has recorded in the meantime."""
        days = {one.day: one.updated_at for one in [*(one for one, *_ in same), *(one for one, _ in reopened)]}
        with self._ledger.transaction() as connection:
            updated = lock_days(connection, series, symbol, days)
            current = {day for day, updated_at in updated.items() if updated_at == days[day]}
            looks = [(one.day, reason, evidence) for one, reason, evidence in same if one.day in current]
            write_looks(connection, series, symbol, looks)
            opened = [outcome for one, outcome in reopened if one.day in current]
            self._ledger.record_outcomes(opened, connection=connection)
        with self._lock:
            looked = [one for one, _, evidence in same if "look_problem" not in evidence]
            self._result.looked_at += len(looked) + len(reopened)
            self._result.reopened += opened


def _problem(outcome: Outcome) -> tuple[str, str] | None:
    """Return why an outcome is not an answer, and whether the host or the symbol failed; None if it is an answer."""
    evidence = outcome.evidence
    if error := evidence.get("error"):
        reason = f"{error}: {outcome.reason}" if error == "ListingError" else outcome.reason
        return (_OF_HOST if error in HOST_PROBLEMS else _OF_SYMBOLS), reason
    for whom in ("exchange", "listing"):
        if problem := evidence.get(f"{whom}_problem"):
            return (_OF_HOST if evidence.get(f"{whom}_error") in HOST_PROBLEMS else _OF_SYMBOLS), str(problem)
    return None
