"""Collects the days that an archive does not have from the exchange's REST API: today, late days, gaps.

A day is requested from the end of the lake's rows; stored rows are never requested again. The exchange's clock decides
whether a bar is closed and a day is over. A day takes some minutes at most: a busy day is stored as far as it was received,
with the instant up to which it is complete, and continues from there the next time.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyarrow import csv

from crypto_assets import sources
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.engine.instruments import needs_instrument, no_instrument
from crypto_assets.engine.rest.ccxt_client import RestApi
from crypto_assets.engine.rest.merged_pages import merged
from crypto_assets.errors import PermanentError, StoreUnavailable, TransientError
from crypto_assets.model import Instrument, Partition, Series, SourceFile, Track, bar_length
from crypto_assets.rows.row_ends import step_of
from crypto_assets.sources import Call, Page, QueryFeed, Walk
from crypto_assets.sources.own_faults import own_faults
from crypto_assets.sources.paging.rows_of_pages import between, last_time, missing_spans
from crypto_assets.transport.client import Client

VISIT_S = 600.0
"""The most time for one day: 3 million spot trades take 12 minutes of Binance's whole limit."""

_CLOCK_AGE_S = 5.0

_KEPT_BYTES = 16 << 20
"""Up to this size the text of a day is kept for quarantine/, in case a check refuses its rows."""

_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class RestRows:
    """The rows of a day from REST, including stored rows.

    Every row before `until` is there; if the day is over and complete, `until` is its end. `missing` says why the walk ended
    before all available rows were read, or why there are none. `missing_ids` counts ids between rows that the exchange leaves
    out. `instrument` converted amounts in contracts.
    """

    rows: pa.Table
    until: datetime
    ended: bool
    missing: str = ""
    missing_ids: int = 0
    instrument: Instrument | None = None


InstrumentOf = Callable[[Track, date], Instrument | None]
"""Returns the instrument of a symbol whose amounts are contracts, as it was on a day."""


class RestFeed:
    """Requests days for one run; safe to use from many threads."""

    def __init__(
        self,
        client: Client,
        collection: Collection,
        instrument_of: InstrumentOf | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._clock = now
        self._collection = collection
        self._instrument_of = instrument_of
        self._lock = threading.Lock()
        self._clock_lock = threading.Lock()
        self._apis: dict[tuple[str, str], RestApi] = {}
        self._unknown: dict[tuple[str, str, str], PermanentError] = {}
        self._clocks: dict[tuple[str, str], tuple[float, datetime | None]] = {}

    def serves(self, series: Series, symbol: str) -> bool:
        """Return whether REST may be used for this symbol, by collection.yaml and by the exchange's endpoints."""
        entry = self._collection.entry_of(series, symbol)
        asked = entry is not None and (self._collection.asks_rest(entry) or not sources.archives(series))
        return asked and sources.query(series) is not None

    def is_final(self, series: Series) -> bool:
        """Return whether days from the feed need no archive to confirm them."""
        feed = sources.query(series)
        return feed is not None and feed.final

    def source_of(self, series: Series, symbol: str, rows: pa.Table) -> tuple[SourceFile, bytes]:
        """Return the name and hash of rows from the feed, and their text; see `source_of` of this module."""
        return source_of(series, symbol, rows, self._collection.urls(series.exchange).feeds)

    def ask(self, series: Series, call: Call) -> Any:
        """Return the answer to one call about a series, as `RestApi.ask` does."""
        return self._api(series, self._feed(series)).ask(call)

    def day(self, series: Series, partition: Partition, stored: pa.Table, until: datetime | None) -> RestRows:
        """Return the rows of a day, continuing `stored`, which is complete up to `until` (None: nothing is stored).

        Raises:
            HostUnreachable, HostRefused, CircuitOpen: no new rows; rows received before a failure are returned.
            PermanentError: the exchange cannot serve the day.
            InvalidRows, BadContent: the answers contradict each other, or differ from the exchange's documentation.
        """
        feed = self._feed(series)
        instrument = (
            self._instrument_of(Track(series, partition.symbol), partition.day) if self._instrument_of else None
        )
        if until is not None and until >= partition.end and not _missing_bars(series, partition, stored):
            return RestRows(stored, partition.end, ended=True, instrument=instrument)
        if instrument is None and self._instrument_of and needs_instrument(series):
            raise no_instrument(Track(series, partition.symbol))
        now = self._now(series, feed, partition.end) - feed.settle
        if now <= partition.start:
            raise PermanentError(f"{partition}: by the exchange's clock, {now:%Y-%m-%d %H:%M} UTC, it has not begun")
        walked = self._walk(series, feed, partition, feed.walk(partition, stored, until, now, instrument))
        rows = merged(series, feed.source_key(partition.symbol), [stored, *(page.rows for page in walked.pages)])
        rows = between(rows, series, partition.start, partition.end)
        return replace(_judged(series, partition, rows, until, now, walked), instrument=instrument)

    def _walk(self, series: Series, feed: QueryFeed, partition: Partition, walk: Walk) -> _Walked:
        """Follow the walk of a day; a failure, or the end of the time for a day, ends it early."""
        pages: list[Page] = []
        answer: Any = None
        deadline = time.monotonic() + VISIT_S
        what = feed.source_key(partition.symbol)
        try:
            while True:
                with own_faults(series.exchange, what):
                    step = _sent(walk, answer)
                if step is None:
                    return _Walked(pages, next((page.problem for page in pages if page.problem), ""))
                if isinstance(step, Page):
                    pages.append(step)
                    answer = None
                    complete = step.until is not None and step.until >= partition.end
                    if time.monotonic() > deadline and not complete:
                        return _Walked(pages, f"{VISIT_S / 60:.0f} minutes were not enough, the next run continues")
                else:
                    answer = self._answer(series, partition.symbol, step)
        except StoreUnavailable:
            raise
        except TransientError as error:
            if not sum(page.rows.num_rows for page in pages):
                raise
            return _Walked(pages, str(error))
        finally:
            walk.close()

    def _answer(self, series: Series, symbol: str, call: Call) -> Any:
        """Return the answer to a call about a symbol; a symbol that the exchange does not know is remembered."""
        name = series.exchange, series.market_type, symbol
        if (unknown := self._unknown.get(name)) is not None:
            raise unknown
        try:
            return self.ask(series, call)
        except PermanentError as error:
            if error.evidence.get("unknown_symbol"):
                self._unknown[name] = error
            raise

    def _feed(self, series: Series) -> QueryFeed:
        feed = sources.query(series, self._collection.urls(series.exchange).feeds)
        if feed is None:
            raise PermanentError(f"{series}: {series.exchange} does not give it over REST")
        return feed

    def _api(self, series: Series, feed: QueryFeed) -> RestApi:
        key = series.exchange, series.market_type
        with self._lock:
            if key not in self._apis:
                url = self._collection.urls(series.exchange).rest_url
                self._apis[key] = RestApi(self._client, feed, url, settings().api_key(series.exchange))
            return self._apis[key]

    def _now(self, series: Series, feed: QueryFeed, enough: datetime) -> datetime:
        """Return the exchange's latest known time: a recent one, or any after `enough`, as its clock does not go back.

        For a source without a clock it is ours.
        """
        call = feed.clock()
        if call is None:
            return self._clock().astimezone(UTC)
        key = series.exchange, series.market_type
        with self._clock_lock:  # also during the request: the other threads need the same answer
            asked, reported = self._clocks.get(key, (0.0, None))
            if reported is None or (reported - feed.settle < enough and time.monotonic() - asked > _CLOCK_AGE_S):
                reported = feed.clock_time(self.ask(series, call))
                self._clocks[key] = time.monotonic(), reported
            return reported


@dataclass(frozen=True, slots=True)
class _Walked:
    """The pages of a walk, and why it ended early, if it did."""

    pages: Sequence[Page]
    stopped: str = ""

    @property
    def until(self) -> datetime | None:
        """The last instant that a page has proven."""
        return max((page.until for page in self.pages if page.until is not None), default=None)


def _sent(walk: Walk, answer: Any) -> Call | Page | None:
    """Return the next step of a walk; None at its end. The first answer, and the one after a page, is None."""
    try:
        return walk.send(answer)
    except StopIteration:
        return None


def _missing_bars(series: Series, partition: Partition, stored: pa.Table) -> bool:
    step = step_of(series) if series.table == "ohlcv" else None
    return step is not None and bool(missing_spans(stored, partition.start, partition.end, step))


def _judged(
    series: Series,
    partition: Partition,
    rows: pa.Table,
    until: datetime | None,
    now: datetime,
    walked: _Walked,
) -> RestRows:
    """Return the rows of a day, up to which instant they are known to be complete, and why not to its end."""
    ended, enough = now >= partition.end, min(now, partition.end)
    if series.table == "ohlcv":
        step = step_of(series)
        if step is None:
            return _long_bar(series, partition, rows, now)
        enough = partition.start + (enough - partition.start) // step * step
    last = last_time(rows, series, partition.start)
    known = max((time for time in (walked.until, until) if time is not None), default=partition.start)
    stopped = walked.stopped
    if known < enough and not stopped:
        stopped = f"it is not proven that there are no rows after {last:%H:%M:%S} UTC"
    missing = f"REST gave rows up to {last:%H:%M:%S} UTC: {stopped}" if stopped else ""
    return RestRows(rows, known, ended, missing, sum(page.missing_ids for page in walked.pages))


def _long_bar(series: Series, partition: Partition, rows: pa.Table, now: datetime) -> RestRows:
    """Return the one bar of three days or more that opens on a day, if it is closed."""
    ended = now >= partition.end
    if rows.num_rows:
        end = bar_end(series, last_time(rows, series, partition.start))
        if end > now:
            return RestRows(rows.slice(0, 0), now, ended, f"the bar that opens on this day closes on {end:%Y-%m-%d}")
    return RestRows(rows, min(now, partition.end), ended)


def bar_end(series: Series, opens: datetime) -> datetime:
    """Return the first instant after a bar."""
    if series.timeframe == "1mo":
        return (opens.replace(day=28) + timedelta(days=4)).replace(day=1)
    return opens + bar_length(series.timeframe or "")


def source_of(
    series: Series, symbol: str, rows: pa.Table, addresses: Mapping[str, str] | None = None
) -> tuple[SourceFile, bytes]:
    """Return the name and hash of rows from REST, and their text if it is not large.

    The text is CSV without a header: times in microseconds, decimals with 18 digits. So equal rows are one source, however
    many requests returned them.
    """
    feed = sources.query(series, addresses)
    assert feed is not None  # noqa: S101  rows came from it; tells the type checker
    digest, size, kept = hashlib.sha256(), 0, bytearray()
    quoting: Any = "needed" if sources.facts(series).revised else "none"  # what people write has commas
    for batch in rows.to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = [
            (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).cast(pa.string())
            for column in batch.columns
        ]
        buffer = pa.BufferOutputStream()
        csv.write_csv(
            pa.table(columns, names=batch.schema.names),
            buffer,
            csv.WriteOptions(include_header=False, quoting_style=quoting),
        )
        text = buffer.getvalue()
        digest.update(text)
        size += len(text)
        if size <= _KEPT_BYTES:
            kept += text
    content = bytes(kept) if size <= _KEPT_BYTES else b""
    return SourceFile(feed.source_key(symbol), size, "", digest.hexdigest(), source="rest"), content
