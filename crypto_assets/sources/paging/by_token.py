"""A walk by the exchange's own token, upwards: each answer names the token of the next page (Kraken's `last`).

A token may point into the middle of rows of one instant, so rows are told apart by their number, never by their time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets.errors import PermanentError
from crypto_assets.model import Partition
from crypto_assets.model.epoch import at_microseconds, microseconds
from crypto_assets.sources.feeds import Call, Page, Walk
from crypto_assets.sources.paging.rows_of_pages import ints


@dataclass(frozen=True, slots=True)
class TokenPage:
    """The rows of an answer, ascending by number, and the token of the page after it."""

    rows: pa.Table
    token: int


@dataclass(frozen=True, slots=True)
class TokenPages:
    """The requests of a feed whose pages have tokens. Tokens are instants in nanoseconds; a page has rows after its token.

    `newest` asks for the newest row of all.
    """

    source_key: str
    id_column: str
    time_column: str
    call: Callable[[int], Call]
    read: Callable[[Any], TokenPage]
    newest: Call


def by_token(pages: TokenPages, partition: Partition, stored: pa.Table, now: datetime) -> Walk:
    """Ask for the rows of a day from its beginning, or from the last stored row, to its end or to now.

    The day is complete when a row at or after its end (or after now) was seen, or when an answer has no newer row and, for a
    day that is over, the newest row of all says the same: an empty answer alone proves nothing. If a
    number is missing between two pages, the page is asked for again from one nanosecond earlier: rows of one instant may
    have been cut apart. What is missing then is missing at the exchange, and is counted.

    Raises:
        PermanentError: the pages do not advance, or an answer is empty although newer rows exist.
    """
    enough = min(now, partition.end)
    last_id, token = _start(pages, partition, stored)
    while True:
        page = yield from _page(pages, token, last_id)
        rows = page.rows
        ids, times = ints(rows, pages.id_column), ints(rows, pages.time_column)
        new = _new(ids, last_id)
        if not new.any() and (not len(ids) or page.token <= token):
            if now >= partition.end:
                yield from _nothing_newer(pages, partition, last_id)
            yield Page(rows.slice(0, 0), enough)
            return
        if new.any():
            inside = new & (times >= microseconds(partition.start)) & (times < microseconds(partition.end))
            complete = bool(times.max() >= microseconds(enough))
            until = enough if complete else at_microseconds(int(times.max()))
            yield Page(rows.filter(pa.array(inside)), until, _missing(ids, times, last_id, partition))
            if complete:
                return
            last_id = int(ids.max())
        if page.token <= token:
            raise PermanentError(
                f"{pages.source_key}: expected a token after {token}, found {page.token}; the pages do not advance"
            )
        token = page.token


def _page(pages: TokenPages, token: int, last_id: int | None) -> Generator[Call | Page, Any, TokenPage]:
    """Return the page after a token; asked for again from one nanosecond earlier if numbers are missing before it."""
    page = pages.read((yield pages.call(token)))
    ids = ints(page.rows, pages.id_column)
    new = _new(ids, last_id)
    if last_id is None or not new.any() or int(ids[new].min()) == last_id + 1:
        return page
    earlier = pages.read((yield pages.call(token - 1)))
    return earlier if _new(ints(earlier.rows, pages.id_column), last_id).any() else page


def _nothing_newer(pages: TokenPages, partition: Partition, last_id: int | None) -> Generator[Call | Page, Any, None]:
    """Ask for the newest row of all; raises PermanentError if it comes after the last known one, and so should have come."""
    newest = pages.read((yield pages.newest)).rows
    ids, times = ints(newest, pages.id_column), ints(newest, pages.time_column)
    after = _new(ids, last_id) & (times >= microseconds(partition.start))
    if after.any():
        raise PermanentError(
            f"{pages.source_key}: expected the rows from {partition.start:%Y-%m-%d %H:%M} UTC on, found an empty answer, "
            f"although number {int(ids[after].max())} exists; try again later"
        )


def _start(pages: TokenPages, partition: Partition, stored: pa.Table) -> tuple[int | None, int]:
    """Return the last stored number, and the token just before the first instant to ask for.

    Stored times are whole microseconds: rows of the last stored one are asked for again.
    """
    if stored.num_rows == 0:
        return None, microseconds(partition.start) * 1000 - 1
    ids, times = ints(stored, pages.id_column), ints(stored, pages.time_column)
    return int(ids.max()), int(times.max()) * 1000 - 1


def _new(ids: np.ndarray, last_id: int | None) -> np.ndarray:
    return ids > (-1 if last_id is None else last_id)


def _missing(ids: np.ndarray, times: np.ndarray, last_id: int | None, partition: Partition) -> int:
    """Return how many numbers are left out up to the last new row of the day."""
    of_day = np.unique(
        ids[_new(ids, last_id) & (times >= microseconds(partition.start)) & (times < microseconds(partition.end))]
    )
    if not len(of_day):
        return 0
    before = int(of_day[0]) - 1 if last_id is None else last_id
    return int(of_day[-1]) - before - len(of_day)
