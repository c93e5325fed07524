"""Finds where a symbol's life begins or ends inside a day or a file: at 04:00 of its first day, at 08:00 of its expiry.

A day that its rows fill needs no question. For another day, the day beside its open end decides. If `lifetime.py` knows that
nothing should be there either, the symbol begins with its first row or ends with its last one. If something should be there,
rows are missing. What was found about the days beside is remembered for the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.life_span import Edge, LifeSpan, edge_of
from crypto_assets.engine.archive.lifetime import LIFE, Asks
from crypto_assets.engine.archive.seen_days import SeenDays
from crypto_assets.errors import HOST_PROBLEMS, OF_THIS_PROCESS, CryptoAssetsError, ListingError
from crypto_assets.ledger.life_edges import LISTED_FROM, LISTED_UNTIL
from crypto_assets.model import DAY, Outcome, Partition, Series, State
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES
from crypto_assets.rows.row_ends import instant, is_open, microseconds, row_length, traded_before

_OVERDUE = timedelta(days=66)
"""This long after a month's end the next month's file is overdue: it ends 31 days later, and may be 35 days late."""

Beside = Callable[[Series, str, date, timedelta | None], Outcome | None]
"""Returns the outcome of a day without a file; None for a day that has one (`Finder.beside`)."""


@dataclass
class Edges:
    """Finds the edges of days and files for one run; safe to use from many threads."""

    beside: Beside
    reported: Callable[[Series, str], Asks | None]
    now: Callable[[], datetime]
    _known: dict[tuple[Series, str, bool], SeenDays] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def remember(
        self, series: Series, symbol: str, alone: Sequence[date], longer: Sequence[date], absent: Sequence[Outcome]
    ) -> None:
        """Remember what was found about some days; the memory does not grow with the number of days.

        Args:
            alone, longer: days with a file of their own, and days that only a longer file covers.
        """
        with self._lock:
            self._known.setdefault((series, symbol, True), SeenDays()).add(alone, absent)
            self._known.setdefault((series, symbol, False), SeenDays()).add([*alone, *longer], absent)

    def of(self, series: Series, symbol: str, period: tuple[date, date], rows: pa.Table) -> LifeSpan:
        """Return where a symbol begins and ends in the period of a file, from the file's rows."""
        ends = self._expiry(series, symbol, period)
        times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
        start, end = Partition(symbol, period[0]).start, Partition(symbol, period[1]).end
        # A file may contain rows of other days; the checks report them.
        times = times[(times >= microseconds(start)) & (times < microseconds(end))]
        if not len(times):
            return LifeSpan(None, ends)
        first, last = instant(times.min()), instant(times.max()) + row_length(series)
        begins = self._begins(series, symbol, period, first, rows) if is_open(series, start, first) else None
        if ends is None and is_open(series, last, end, rows):
            ends = self._ends(series, symbol, period, last)
        return LifeSpan(begins, ends)

    def again(
        self,
        series: Series,
        symbol: str,
        period: tuple[date, date],
        rows: pa.Table,
        was: Mapping[str, Any],
        reaches: tuple[bool, bool] = (True, True),
    ) -> LifeSpan:
        """Return the present edges of a file that was read before.

        An earlier answer of the exchange about an edge stays valid unless a file or the exchange contradicts it. No answer,
        or an exchange that may not be asked any more, is no contradiction.

        Args:
            rows: of the stored days; the first and the last ones are enough.
            was: the evidence of the stored days, with LISTED_FROM and LISTED_UNTIL if they have them.
            reaches: whether `rows` begin and end where the file does; if not, that edge stays as it was.
        """
        span = self.of(series, symbol, period, rows)
        before, after = edge_of(was.get(LISTED_FROM)), edge_of(was.get(LISTED_UNTIL))
        begins = self._kept(series, symbol, period, -DAY, before, span.begins) if reaches[0] else before
        if not reaches[1]:
            return LifeSpan(begins, after)
        ends = span.ends
        if ends is None or ends.evidence.get("source") != "name":
            ends = self._kept(series, symbol, period, DAY, after, ends)
        return LifeSpan(begins, ends)

    def _kept(
        self,
        series: Series,
        symbol: str,
        period: tuple[date, date],
        toward: timedelta,
        was: Edge | None,
        now: Edge | None,
    ) -> Edge | None:
        """Return an edge at one end of a period: the present one, or the earlier one if nothing is known about it now."""
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
            # No weekly bar opens on the day beside, so that day tells nothing; the exchange may know.
            asks = self.reported(series, symbol) if series.timeframe in LONG_TIMEFRAMES else None
            return self._told_begins(asks, series, symbol, first) if asks is not None else None
        said = outside.evidence.get("exchange_first")
        # A symbol that is listed again continues its numbers.
        if said is None and outside.evidence[LIFE] == "before" and traded_before(rows):
            return None
        # The exchange has rows before the file's first row: these are missing.
        since = min(first, datetime.fromisoformat(said)) if said else first
        return Edge(since, _source(outside.evidence))

    def _ends(self, series: Series, symbol: str, period: tuple[date, date], last: datetime) -> Edge | None:
        outside = self._beside(series, symbol, period, DAY)
        if outside is None:
            return None
        if outside.state is State.NO_DATA:
            # A weekly bar missing from the file looks like the end of a symbol; unless confirmed, that does not excuse it.
            guessed = series.timeframe in LONG_TIMEFRAMES and outside.evidence.get("inferred")
            if LIFE not in outside.evidence or guessed:
                asks = self.reported(series, symbol) if series.timeframe in LONG_TIMEFRAMES else None
                return self._told_ends(asks, series, symbol, last) if asks is not None else None
            said = outside.evidence.get("exchange_latest")
            if said and datetime.fromisoformat(said) >= last:
                last = datetime.fromisoformat(said) + row_length(series)
            return Edge(last, _source(outside.evidence))
        if "last_listed" not in outside.evidence or "exchange_status" in outside.evidence:
            return None
        asks = self.reported(series, symbol)
        if asks is not None and not self._has_forgotten(asks, series, symbol):
            return self._told_ends(asks, series, symbol, last)
        overdue = outside.state is State.MISSING and self.now().date() - period[1] >= _OVERDUE
        if overdue and period[0] != period[1] and series.timeframe not in LONG_TIMEFRAMES:
            # A monthly file that ends inside its month, and the next month's is overdue: delisted contracts look like this.
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
        """Return whether the exchange answers but no longer knows the symbol: that is not an answer about it."""
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
        """Return the outcome of the day before a period, or after it; None if it has a file."""
        day = (period[0] if toward < timedelta(0) else period[1]) + toward
        of_day = period[0] == period[1]
        with self._lock:
            known = self._known.setdefault((series, symbol, of_day), SeenDays())
            if day in known:
                return known.at(day)
        found = self.beside(series, symbol, day, toward if of_day else None)
        with self._lock:
            known.note(day, found)
        return found


_SAID = (
    *("first_listed", "listed_at", "last_listed", "listed_again"),
    *("exchange_first", "exchange_status", "exchange_latest", "exchange_asked", "inferred", "looked_at"),
)


def _source(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return who says that nothing should be there beside an edge: `exchange` or `archive`, with the evidence."""
    source = evidence.get("source") or ("exchange" if "exchange_asked" in evidence else "archive")
    return {"source": source} | {name: evidence[name] for name in _SAID if name in evidence}
