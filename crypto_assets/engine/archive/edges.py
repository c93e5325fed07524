"""Where a symbol's life begins or ends inside a day or a file: at 04:00 of its first day, at 08:00 of its expiry.

A day whose rows fill it asks nothing. Another one looks at the days beside its rows: where nothing should be there either,
by what `lifetime.py` knows, the symbol begins with its first row or ends with its last one. Where something should be there,
rows are missing. What the days beside are is remembered for a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.lifetime import FEW_TRADES, LIFE, NUMBERED, Asks
from crypto_assets.engine.rest.cursors import step_of
from crypto_assets.errors import HOST_PROBLEMS, OF_THIS_PROCESS, CryptoAssetsError, ListingError
from crypto_assets.ledger.life_edges import LISTED_FROM, LISTED_UNTIL
from crypto_assets.model import DAY, Outcome, Partition, Series, State, days_between
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES, due

_MICROSECOND = timedelta(microseconds=1)
_EDGE = timedelta(hours=1)
"""Trades may be silent so long at midnight without a question (as crypto_assets/checks/complete.py has it)."""

_OVERDUE = timedelta(days=66)
"""So long after the end of a month the file of the next one is overdue: it ends 31 days later, and may be 35 days late."""

Beside = Callable[[Series, str, date, timedelta | None], Outcome | None]
"""Returns what is known of a day without a file; None for a day that has one (`Finder.beside`)."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An end of a symbol's life, and the evidence of it: `source` (archive, exchange, name) and what that says."""

    time: datetime
    evidence: Mapping[str, Any]

    def as_evidence(self) -> dict[str, Any]:
        return {"time": self.time.isoformat(), **self.evidence}


@dataclass(frozen=True, slots=True)
class Span:
    """Where the life of a symbol begins and ends in the period of one file; None where it goes on beyond the period."""

    begins: Edge | None = None
    ends: Edge | None = None

    def cut(self, partition: Partition) -> tuple[Partition, dict[str, Any]]:
        """Return the partition with the edges that lie in its day, and their evidence."""
        since = self.begins if self.begins and partition.start < self.begins.time < partition.end else None
        until = self.ends if self.ends and partition.start < self.ends.time < partition.end else None
        evidence = {LISTED_FROM: since.as_evidence()} if since else {}
        evidence |= {LISTED_UNTIL: until.as_evidence()} if until else {}
        return (
            Partition(partition.symbol, partition.day, until.time if until else None, since.time if since else None),
            evidence,
        )


WHOLE = Span()


@dataclass(slots=True)
class _Days:
    """What was found of the days of a symbol: spans of days with a file, and the first and last of days without one.

    Only a day beside one with rows is ever asked for, so the days inside a span without files are not kept.
    """

    held: list[tuple[date, date]] = field(default_factory=list)
    absent: dict[date, Outcome] = field(default_factory=dict)

    def add(self, held: Sequence[date], absent: Sequence[Outcome]) -> None:
        for day in sorted(held):
            self.absent.pop(day, None)
            if self.held and self.held[-1][1] in (day - DAY, day):
                self.held[-1] = self.held[-1][0], day
            elif not self._holds(day):
                self.held.append((day, day))
        days = {outcome.partition.day for outcome in absent}
        self.absent |= {
            outcome.partition.day: outcome
            for outcome in absent
            if not {outcome.partition.day - DAY, outcome.partition.day + DAY} <= days
        }

    def note(self, day: date, found: Outcome | None) -> None:
        """Know what was found of a day: None where it has a file."""
        if found is None:
            self.add([day], [])
        else:
            self.absent[day] = found

    def _holds(self, day: date) -> bool:
        return any(first <= day <= last for first, last in self.held)

    def __contains__(self, day: date) -> bool:
        return day in self.absent or self._holds(day)

    def at(self, day: date) -> Outcome | None:
        """Return what is known of a day without a file, None for one that has a file; the day is known."""
        return self.absent.get(day)


def edges_in(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return LISTED_FROM and LISTED_UNTIL by the evidence of a day in a file: of a stored one, or of one without rows."""
    found = {name: evidence[name] for name in (LISTED_FROM, LISTED_UNTIL) if name in evidence}
    if "edge" in evidence and evidence.get(LIFE) in _SIDES:
        said = {name: value for name, value in evidence.items() if name not in (LIFE, "edge", "object")}
        found[_SIDES[evidence[LIFE]]] = {**said, "time": evidence["edge"]}
    return found


_SIDES = {"before": LISTED_FROM, "after": LISTED_UNTIL}


def _edge(evidence: Mapping[str, Any] | None) -> Edge | None:
    if not evidence:
        return None
    said = {name: value for name, value in evidence.items() if name != "time"}
    return Edge(datetime.fromisoformat(evidence["time"]), said)


@dataclass
class Edges:
    """Finds the edges of days and files for one run; safe to use from many threads."""

    beside: Beside
    reported: Callable[[Series, str], Asks | None]
    now: Callable[[], datetime]
    _known: dict[tuple[Series, str, bool], _Days] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def remember(
        self, series: Series, symbol: str, alone: Sequence[date], longer: Sequence[date], absent: Sequence[Outcome]
    ) -> None:
        """Know what was found of some days, so that it is not asked again; what is kept does not grow with the days.

        Args:
            alone, longer: days with a file of their own, and days that only a longer file covers.
        """
        with self._lock:
            self._known.setdefault((series, symbol, True), _Days()).add(alone, absent)
            self._known.setdefault((series, symbol, False), _Days()).add([*alone, *longer], absent)

    def fills(self, series: Series, partition: Partition, rows: pa.Table) -> bool:
        """Return whether rows go from one end of a day to the other, so that no edge of a life can be in it."""
        times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
        if not len(times):
            return False
        first, last = _instant(times.min()), _instant(times.max()) + _length(series)
        return not _open(series, partition.start, first) and not _open(series, last, partition.end, rows)

    def of(self, series: Series, symbol: str, period: tuple[date, date], rows: pa.Table) -> Span:
        """Return where a symbol begins and ends in the period of a file, by the file's rows."""
        ends = self._expiry(series, symbol, period)
        times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
        start, end = Partition(symbol, period[0]).start, Partition(symbol, period[1]).end
        # Rows of other days may stand in a file; the checks say so.
        times = times[(times >= _us(start)) & (times < _us(end))]
        if not len(times):
            return Span(None, ends)
        first, last = _instant(times.min()), _instant(times.max()) + _length(series)
        begins = self._begins(series, symbol, period, first, rows) if _open(series, start, first) else None
        if ends is None and _open(series, last, end, rows):
            ends = self._ends(series, symbol, period, last)
        return Span(begins, ends)

    def again(
        self,
        series: Series,
        symbol: str,
        period: tuple[date, date],
        rows: pa.Table,
        was: Mapping[str, Any],
        reaches: tuple[bool, bool] = (True, True),
    ) -> Span:
        """Return the edges of a file that was read before, as they are known now.

        What an exchange said of an edge before stays, unless a file or the exchange contradicts it: that nobody answers, or
        may be asked any more, is no contradiction.

        Args:
            rows: of the stored days; the first ones and the last ones are enough.
            was: the evidence of the stored days, with LISTED_FROM and LISTED_UNTIL where they have these.
            reaches: whether `rows` begin and end where the file does; else its edge there is as it was.
        """
        span = self.of(series, symbol, period, rows)
        before, after = _edge(was.get(LISTED_FROM)), _edge(was.get(LISTED_UNTIL))
        begins = self._kept(series, symbol, period, -DAY, before, span.begins) if reaches[0] else before
        if not reaches[1]:
            return Span(begins, after)
        ends = span.ends
        if ends is None or ends.evidence.get("source") != "name":
            ends = self._kept(series, symbol, period, DAY, after, ends)
        return Span(begins, ends)

    def _kept(
        self,
        series: Series,
        symbol: str,
        period: tuple[date, date],
        toward: timedelta,
        was: Edge | None,
        now: Edge | None,
    ) -> Edge | None:
        """Return an edge at one end of a period: as it is known now, or as it was where nobody says anything of it now."""
        if was is None or was.evidence.get("source") == "name":
            return now
        outside = self._beside(series, symbol, period, toward)
        if outside is None or "exchange_asked" in outside.evidence:
            return now
        unanswered = outside.evidence.get("error") in (*HOST_PROBLEMS, ListingError.__name__)
        if unanswered or "listing_problem" in outside.evidence:
            return was
        is_outside_files = any(name in outside.evidence for name in (LIFE, "last_listed", "listed_again"))
        if "exchange_asked" not in was.evidence or not is_outside_files:
            return now
        asks = self.reported(series, symbol)
        if toward > timedelta(0) and asks is not None:
            try:
                latest = asks.latest(series, symbol)
            except OF_THIS_PROCESS:
                raise
            except CryptoAssetsError:
                return was
            return now if latest.is_known else was
        return was

    def _expiry(self, series: Series, symbol: str, period: tuple[date, date]) -> Edge | None:
        at = sources.get(series.exchange).expires_at(symbol)
        if at is None or series.timeframe in LONG_TIMEFRAMES or not period[0] <= at.date() <= period[1]:
            return None
        return Edge(at, {"source": "name"})

    def _begins(
        self, series: Series, symbol: str, period: tuple[date, date], first: datetime, rows: pa.Table
    ) -> Edge | None:
        outside = self._beside(series, symbol, period, -DAY)
        if outside is None or outside.state is not State.NO_DATA:
            return None
        if LIFE not in outside.evidence:
            # No bar of a week opens on the day beside, so that it tells nothing; the exchange may.
            asks = self.reported(series, symbol) if series.timeframe in LONG_TIMEFRAMES else None
            return self._told_begins(asks, series, symbol, first) if asks is not None else None
        said = outside.evidence.get("exchange_first")
        # One that is listed again counts on.
        if said is None and outside.evidence[LIFE] == "before" and _traded_before(rows):
            return None
        # The exchange has rows before the file's first one: these are missing.
        since = min(first, datetime.fromisoformat(said)) if said else first
        return Edge(since, _source(outside.evidence))

    def _ends(self, series: Series, symbol: str, period: tuple[date, date], last: datetime) -> Edge | None:
        outside = self._beside(series, symbol, period, DAY)
        if outside is None:
            return None
        if outside.state is State.NO_DATA:
            # A bar of a week that its file lost looks like the end of a symbol: that nobody confirmed does not excuse it.
            guessed = series.timeframe in LONG_TIMEFRAMES and outside.evidence.get("inferred")
            if LIFE not in outside.evidence or guessed:
                asks = self.reported(series, symbol) if series.timeframe in LONG_TIMEFRAMES else None
                return self._told_ends(asks, series, symbol, last) if asks is not None else None
            said = outside.evidence.get("exchange_latest")
            if said and datetime.fromisoformat(said) >= last:
                last = datetime.fromisoformat(said) + _length(series)
            return Edge(last, _source(outside.evidence))
        if "last_listed" not in outside.evidence or "exchange_status" in outside.evidence:
            return None
        asks = self.reported(series, symbol)
        if asks is not None and not self._has_forgotten(asks, series, symbol):
            return self._told_ends(asks, series, symbol, last)
        overdue = outside.state is State.MISSING and self.now().date() - period[1] >= _OVERDUE
        if overdue and period[0] != period[1] and series.timeframe not in LONG_TIMEFRAMES:
            # A file of a month that ends inside it, and the next month's is overdue: so delisted contracts look.
            evidence = {"source": "archive", "inferred": True, "looked_at": self.now().isoformat()}
            return Edge(last, evidence | {"overdue": str(period[1] + DAY)})
        return None

    def _told_begins(self, asks: Asks, series: Series, symbol: str, first: datetime) -> Edge | None:
        try:
            said = asks.first(series, symbol)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError:
            return None
        if said is None:
            return None
        asked = self.now().isoformat()
        evidence = {
            "source": "exchange",
            "exchange_first": said.isoformat(),
            "exchange_asked": asked,
            "looked_at": asked,
        }
        return Edge(min(first, said), evidence)

    def _has_forgotten(self, asks: Asks, series: Series, symbol: str) -> bool:
        """Return whether the exchange answers and does not know the symbol any more: that is no answer."""
        try:
            return not asks.latest(series, symbol).is_known
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError:
            return False

    def _told_ends(self, asks: Asks, series: Series, symbol: str, last: datetime) -> Edge | None:
        try:
            latest = asks.latest(series, symbol)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError:
            return None
        if not latest.ended:
            return None
        until = max(last, latest.until) if latest.until else last
        asked = self.now().isoformat()
        evidence = {"source": "exchange", "exchange_status": latest.status, "exchange_asked": asked, "looked_at": asked}
        return Edge(until, evidence)

    def _beside(self, series: Series, symbol: str, period: tuple[date, date], toward: timedelta) -> Outcome | None:
        """Return what is known of the day before a period, or after it."""
        day = (period[0] if toward < timedelta(0) else period[1]) + toward
        of_day = period[0] == period[1]
        with self._lock:
            known = self._known.setdefault((series, symbol, of_day), _Days())
            if day in known:
                return known.at(day)
        found = self.beside(series, symbol, day, toward if of_day else None)
        with self._lock:
            known.note(day, found)
        return found


def of_rest(
    asks: Asks, series: Series, partition: Partition, rows: pa.Table, now: datetime, *, may_begin: bool
) -> Span:
    """Return where a symbol begins and ends in a day that has ended and came from REST; only the exchange is asked.

    Args:
        may_begin: whether it is not known that the symbol is older than the day.

    Raises:
        CryptoAssetsError: it does not say.
    """
    symbol = partition.symbol
    times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
    expires_at = sources.get(series.exchange).expires_at(symbol)
    ends = Edge(expires_at, {"source": "name"}) if expires_at and expires_at.date() == partition.day else None
    if not len(times) or series.timeframe in LONG_TIMEFRAMES:
        return Span(None, ends)
    first, last = _instant(times.min()), _instant(times.max()) + _length(series)
    asked = {"source": "exchange", "exchange_asked": now.isoformat(), "looked_at": now.isoformat()}
    begins = None
    if may_begin and _open(series, partition.start, first):
        said = asks.first(series, symbol)
        if said is not None and partition.start <= said < partition.end:
            begins = Edge(min(first, said), {**asked, "exchange_first": said.isoformat()})
    if ends is None and _open(series, last, partition.end, rows):
        latest = asks.latest(series, symbol)
        if latest.ended and latest.until is not None and partition.start < latest.until < partition.end:
            ends = Edge(max(last, latest.until), {**asked, "exchange_status": latest.status})
    return Span(begins, ends)


_SAID = (
    *("first_listed", "last_listed", "listed_again", "exchange_first", "exchange_status", "exchange_latest"),
    *("exchange_asked", "inferred", "looked_at"),
)


def _source(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return who says that nothing should be there beside an edge."""
    source = evidence.get("source") or ("exchange" if "exchange_asked" in evidence else "archive")
    return {"source": source} | {name: evidence[name] for name in _SAID if name in evidence}


def _length(series: Series) -> timedelta:
    """Return how long a row lasts: a bar its length, another row a moment."""
    if series.table != "ohlcv":
        return _MICROSECOND
    return step_of(series) or DAY


def _open(series: Series, begin: datetime, end: datetime, rows_before: pa.Table | None = None) -> bool:
    """Return whether rows should be in [begin, end), at an end of a period; `rows_before` where it is the latter one."""
    if series.timeframe in LONG_TIMEFRAMES:
        days = days_between(begin.date(), (end - _MICROSECOND).date()) if begin < end else []
        return any(due(series.timeframe or "", day).opens is not False for day in days)
    slack = step_of(series) or DAY if series.table == "ohlcv" else _EDGE
    if series.table == "funding_rates" and rows_before is not None:
        # The last event of a day stands one interval before midnight.
        slack = timedelta(hours=rows_before.column("funding_interval_hours")[-1].as_py(), seconds=1)
    return end - begin >= slack


def _traded_before(rows: pa.Table) -> bool:
    """Return whether the smallest number of trades shows that many came before: an exchange counts a symbol's from 0 or 1."""
    name = next((name for name in NUMBERED.values() if name in rows.column_names), None)
    return name is not None and rows.num_rows > 0 and pc.min(rows.column(name)).as_py() > FEW_TRADES


def _us(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000


def _instant(us: np.int64) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(us))
