"""Collects the days that an archive does not have from the exchange's REST API: today, late days, gaps.

A day is requested from the end of the lake's rows; stored rows are never requested again. The exchange's clock decides
whether a bar is closed and a day is over. A day takes some minutes at most: a busy day is stored as far as it was received,
with the instant up to which it is complete, and continues from there the next time.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from pyarrow import csv

from crypto_assets import datasets, sources
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.engine.rest import cursors
from crypto_assets.engine.rest.ccxt_client import RestApi
from crypto_assets.errors import PermanentError, StoreUnavailable, TransientError
from crypto_assets.model import Partition, Series, SourceFile
from crypto_assets.rows.row_ends import step_of
from crypto_assets.sources import Call, Cursor, Rest
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
    out.
    """

    rows: pa.Table
    until: datetime
    ended: bool
    missing: str = ""
    missing_ids: int = 0


class RestFeed:
    """Requests days for one run; safe to use from many threads."""

    def __init__(self, client: Client, collection: Collection) -> None:
        self._client = client
        self._collection = collection
        self._lock = threading.Lock()
        self._clock_lock = threading.Lock()
        self._apis: dict[tuple[str, str], RestApi] = {}
        self._unknown: dict[tuple[str, str, str], PermanentError] = {}
        self._clocks: dict[tuple[str, str], tuple[float, datetime | None]] = {}

    def serves(self, series: Series, symbol: str) -> bool:
        """Return whether REST may be used for this symbol, by collection.yaml and by the exchange's endpoints."""
        entry = self._collection.entry_of(series, symbol)
        asked = entry is not None and self._collection.asks_rest(entry)
        return asked and sources.rest(series) is not None

    def ask(self, series: Series, call: Call) -> Any:
        """Return the answer to one call about a series, as `RestApi.ask` does."""
        return self._api(series, self._rest(series)).ask(call)

    def day(self, series: Series, partition: Partition, stored: pa.Table, until: datetime | None) -> RestRows:
        """Return the rows of a day, continuing `stored`, which is complete up to `until` (None: nothing is stored).

        Raises:
            HostUnreachable, HostRefused, CircuitOpen: no new rows; rows received before a failure are returned.
            PermanentError: the exchange cannot serve the day.
            InvalidRows, BadContent: the answers contradict each other, or differ from the exchange's documentation.
        """
        rest = self._rest(series)
        whole = until is not None and until >= partition.end
        if whole and not (rest.cursor is Cursor.BARS and self._spans(series, partition, stored, partition.end)):
            return RestRows(stored, partition.end, ended=True)
        now = self._now(series, rest, partition.end) - rest.settle
        if now <= partition.start:
            raise PermanentError(f"{partition}: by the exchange's clock, {now:%Y-%m-%d %H:%M} UTC, it has not begun")
        reached = cursors.Reached()
        received, stopped = self._walk(self._pages(series, rest, partition, stored, now, reached), reached)
        rows = cursors.merged(series, rest.source_key(partition.symbol), [stored, *received])
        rows = cursors.of_day(rows, series, partition)
        return self._judged(series, rest, partition, rows, now, reached, stopped)

    def _pages(
        self,
        series: Series,
        rest: Rest,
        partition: Partition,
        stored: pa.Table,
        now: datetime,
        reached: cursors.Reached,
    ) -> Iterator[pa.Table]:
        symbol, api = partition.symbol, self._api(series, rest)
        unknown = self._unknown.get((series.exchange, series.market_type, symbol))
        if unknown is not None:
            raise unknown

        def ask(call: Call) -> Any:
            try:
                return api.ask(call)
            except PermanentError as error:
                if error.evidence.get("unknown_symbol"):  # all its days get this answer, so it is remembered
                    self._unknown[series.exchange, series.market_type, symbol] = error
                raise

        if rest.cursor is Cursor.IDS:
            (id_column,) = datasets.get(series.table).key
            last_id = stored.column(id_column)[-1].as_py() if stored.num_rows else None
            return cursors.numbered(ask, rest, series, symbol, partition, last_id, now, reached)
        step = step_of(series) if rest.cursor is Cursor.BARS else None
        if step is None:
            return iter([cursors.events(ask, rest, series, symbol, partition, reached)])
        return cursors.bars(ask, rest, series, symbol, self._spans(series, partition, stored, now), step, reached)

    def _walk(self, pages: Iterator[pa.Table], reached: cursors.Reached) -> tuple[list[pa.Table], str]:
        """Return the received pages, and why the walk ended early, if it did."""
        received: list[pa.Table] = []
        deadline = time.monotonic() + VISIT_S
        try:
            for page in pages:
                received.append(page)
                if time.monotonic() > deadline and not reached.complete:
                    return received, f"{VISIT_S / 60:.0f} minutes were not enough, the next run continues"
        except StoreUnavailable:
            raise
        except TransientError as error:
            if not sum(page.num_rows for page in received):
                raise
            return received, str(error)
        return received, ""

    def _judged(
        self,
        series: Series,
        rest: Rest,
        partition: Partition,
        rows: pa.Table,
        now: datetime,
        reached: cursors.Reached,
        stopped: str,
    ) -> RestRows:
        ended = now >= partition.end
        last = cursors.last_time(rows, series, partition.start)
        if rest.cursor is Cursor.BARS:
            step = step_of(series)
            if step is None:
                return self._long_bar(series, partition, rows, now)
            until = min(_on_grid(partition.start, now, step), partition.end)
            if stopped:
                until = last + step if rows.num_rows else partition.start
        else:
            until = last if stopped else min(now, partition.end)
            if ended and not stopped and not reached.complete:
                stopped = f"it is not proven that there are no rows after {last:%H:%M:%S} UTC"
        missing = f"REST gave rows up to {last:%H:%M:%S} UTC: {stopped}" if stopped else ""
        return RestRows(rows, until, ended, missing, reached.missing_ids)

    def _long_bar(self, series: Series, partition: Partition, rows: pa.Table, now: datetime) -> RestRows:
        """Return the one bar of three days or more that opens on a day, if it is closed."""
        ended = now >= partition.end
        if rows.num_rows:
            end = cursors.bar_end(series, cursors.last_time(rows, series, partition.start))
            if end > now:
                return RestRows(
                    rows.slice(0, 0), now, ended, f"the bar that opens on this day closes on {end:%Y-%m-%d}"
                )
        return RestRows(rows, min(now, partition.end), ended)

    def _spans(
        self, series: Series, partition: Partition, stored: pa.Table, now: datetime
    ) -> list[tuple[datetime, datetime]]:
        step = step_of(series)
        if step is None:
            return []
        return cursors.missing_spans(
            stored, partition.start, min(_on_grid(partition.start, now, step), partition.end), step
        )

    def _rest(self, series: Series) -> Rest:
        rest = sources.rest(series)
        if rest is None:
            raise PermanentError(f"{series}: {series.exchange} does not give it over REST")
        return rest

    def _api(self, series: Series, rest: Rest) -> RestApi:
        key = series.exchange, series.market_type
        with self._lock:
            if key not in self._apis:
                url = self._collection.urls(series.exchange).rest_url
                self._apis[key] = RestApi(self._client, rest, url, settings().api_key(series.exchange))
            return self._apis[key]

    def _now(self, series: Series, rest: Rest, enough: datetime) -> datetime:
        """Return the exchange's latest known time: a recent one, or any after `enough`, as its clock does not go back."""
        key, api = (series.exchange, series.market_type), self._api(series, rest)
        with self._clock_lock:  # also during the request: the other threads need the same answer
            asked, reported = self._clocks.get(key, (0.0, None))
            if reported is None or (reported - rest.settle < enough and time.monotonic() - asked > _CLOCK_AGE_S):
                reported = rest.server_time(api.ask(rest.time()))
                self._clocks[key] = time.monotonic(), reported
            return reported


def source_of(series: Series, symbol: str, rows: pa.Table) -> tuple[SourceFile, bytes]:
    """Return the name and hash of rows from REST, and their text if it is not large.

    The text is CSV without a header: times in microseconds, decimals with 18 digits. So equal rows are one source, however
    many requests returned them.
    """
    rest = sources.rest(series)
    assert rest is not None  # noqa: S101  rows came from it; tells the type checker
    digest, size, kept = hashlib.sha256(), 0, bytearray()
    for batch in rows.to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = [
            (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).cast(pa.string())
            for column in batch.columns
        ]
        buffer = pa.BufferOutputStream()
        csv.write_csv(
            pa.table(columns, names=batch.schema.names),
            buffer,
            csv.WriteOptions(include_header=False, quoting_style="none"),
        )
        text = buffer.getvalue()
        digest.update(text)
        size += len(text)
        if size <= _KEPT_BYTES:
            kept += text
    content = bytes(kept) if size <= _KEPT_BYTES else b""
    return SourceFile(rest.source_key(symbol), size, "", digest.hexdigest(), source="rest"), content


def _on_grid(start: datetime, now: datetime, step: timedelta) -> datetime:
    return start + (now - start) // step * step
