"""Asks an exchange about a symbol's life: whether it trades, and the times of its first and latest rows.

It is asked where files alone would only suggest that a symbol was delisted, not listed yet, or unlisted for a while. Each
question is asked once per run, within the limits of all other requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from crypto_assets import sources
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.errors import OF_THIS_PROCESS, CryptoAssetsError, PermanentError
from crypto_assets.model import Partition, Series
from crypto_assets.rows.row_ends import step_of
from crypto_assets.sources import Call, QueryFeed

NOT_KNOWN = "the exchange does not know the symbol"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Latest:
    """The state of a symbol in the exchange's own word, and its latest row.

    `ended`: it does not trade and will not resume by itself. `time` is the beginning of its latest row and `until` its end,
    None if the exchange has no row. A symbol with neither state nor row is unknown, not ended: it looks the same if another
    site was asked, or if the symbol was renamed.
    """

    status: str
    ended: bool
    time: datetime | None
    until: datetime | None

    @property
    def is_known(self) -> bool:
        return self.status != NOT_KNOWN or self.time is not None


class Reported:
    """Asks the exchange about symbols and caches the answers; safe to use from many threads."""

    def __init__(self, feed: RestFeed) -> None:
        self._feed = feed
        self._lock = threading.Lock()
        self._answers: dict[tuple[Any, ...], Any] = {}
        self._locks: dict[tuple[Any, ...], threading.Lock] = {}

    def serves(self, series: Series, symbol: str) -> bool:
        """Return whether the exchange may be asked about a symbol, by collection.yaml."""
        return self._feed.serves(series, symbol)

    def first(self, series: Series, symbol: str) -> datetime | None:
        """Return the time of the exchange's earliest row; None if it has none or does not know the symbol any more.

        Raises:
            HostUnreachable, HostRefused, CircuitOpen, PermanentError: it does not answer.
        """
        feed = _feed(series)
        return self._once(
            ("first", series, symbol), lambda: self._row_time(series, symbol, feed, feed.first_row(symbol))
        )

    def latest(self, series: Series, symbol: str) -> Latest:
        """Return whether a symbol trades, and its latest row; raises as `first`."""
        return self._once(("latest", series, symbol), lambda: self._latest(series, symbol))

    def has_rows(self, series: Series, symbol: str, first: date, last: date) -> bool | None:
        """Return whether there is any row in the days from first to last, both included; raises as `first`.

        None if the exchange does not know the symbol any more: that says nothing about the time when it traded.
        """
        feed = _feed(series)
        call = feed.any_row(symbol, Partition(symbol, first).start, Partition(symbol, last).end)
        if call is None:
            return None
        start, end = Partition(symbol, first).start, Partition(symbol, last).end

        def ask() -> bool | None:
            try:
                found = feed.row_time(symbol, self._feed.ask(series, call))
            except PermanentError as error:
                if error.evidence.get("unknown_symbol"):
                    return None
                raise
            return found is not None and start <= found < end

        return self._once(("rows", series, symbol, first, last), ask)

    def _latest(self, series: Series, symbol: str) -> Latest:
        feed = _feed(series)
        status: str | None = None
        call = feed.status(symbol)
        if call is not None:
            of_call = (series.exchange, series.market_type, call.method, call.path, *sorted(call.params.items()))
            try:
                status = feed.status_of(symbol, self._once(of_call, lambda: self._feed.ask(series, call)))
            except PermanentError as error:
                if not error.evidence.get("unknown_symbol"):
                    raise
        time = self._row_time(series, symbol, feed, feed.latest_row(symbol))
        until = None if time is None else time + _row_length(series)
        has_ended = call is not None and feed.has_ended(status) and (status is not None or time is not None)
        return Latest(status or NOT_KNOWN, has_ended, time, until)

    def _row_time(self, series: Series, symbol: str, feed: QueryFeed, call: Call | None) -> datetime | None:
        """Return the time of the row in an answer; None also if the exchange does not know the symbol, or does not tell."""
        if call is None:
            return None
        try:
            return feed.row_time(symbol, self._feed.ask(series, call))
        except PermanentError as error:
            if error.evidence.get("unknown_symbol"):
                return None
            raise

    def _once(self, question: tuple[Any, ...], ask: Callable[[], _T]) -> _T:
        """Return the answer to a question; a thread with the same question waits for it. A failure is an answer too."""
        with self._lock:
            lock = self._locks.setdefault(question, threading.Lock())
        with lock:
            if question not in self._answers:
                try:
                    self._answers[question] = ask()
                except OF_THIS_PROCESS:
                    raise
                except CryptoAssetsError as error:
                    self._answers[question] = error
            answer = self._answers[question]
        if isinstance(answer, CryptoAssetsError):
            raise answer
        found: _T = answer
        return found


def _feed(series: Series) -> QueryFeed:
    feed = sources.query(series)
    if feed is None:
        raise PermanentError(f"{series}: {series.exchange} does not give it over REST")
    return feed


def _row_length(series: Series) -> timedelta:
    """Return the length of the row of `Reported.latest`: a bar's own length; for trades, the minute that shows them."""
    match series.table:
        case "ohlcv":
            return step_of(series) or timedelta(days=1)
        case "funding_rates":
            return timedelta(microseconds=1)
    return timedelta(minutes=1)
