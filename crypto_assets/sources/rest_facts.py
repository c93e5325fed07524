"""Describe an exchange's REST API: facts and texts only. `engine/rest/` makes the requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from crypto_assets.sources.limits import Endpoint

if TYPE_CHECKING:
    import pyarrow as pa


class Cursor(Enum):
    """The ways to request the next page."""

    BARS = "bars"  # by time, one row for each step of the timeframe
    EVENTS = "events"  # by time, rows at any time
    IDS = "ids"  # by the id of the row


@dataclass(frozen=True, slots=True)
class Call:
    """One request: ccxt's name of the endpoint, its parameters and headers, and its weight."""

    method: str
    params: Mapping[str, str | int]
    endpoint: Endpoint
    headers: Mapping[str, str] = field(default_factory=dict)


class Rest(Protocol):
    """Facts for requesting one series of an exchange. An answer is the JSON of a call, with numbers as written.

    `settle` is the time after an instant until answers up to it are final. A call of `by_time` and `find` asks for
    [start, end), a call of `by_id` for the rows from an id on, oldest first and at most `page_rows`.
    """

    # Declared as properties: an implementation may compute them.
    @property
    def ccxt_id(self) -> str: ...
    @property
    def cursor(self) -> Cursor: ...
    @property
    def page_rows(self) -> int: ...
    @property
    def settle(self) -> timedelta: ...
    @property
    def find_window(self) -> timedelta:
        """The longest span for `find`."""

    @property
    def contiguous_ids(self) -> bool:
        """Whether ids have no gaps."""

    @property
    def key_advice(self) -> str:
        """What to do if the exchange answers that it needs a key."""

    def urls(self, rest_url: str) -> dict[str, str]:
        """Return ccxt's `urls['api']` for one host that serves every path of the exchange."""

    def source_key(self, symbol: str) -> str:
        """Return the name of the rows' source, like a key in an archive: `rest/api/v3/klines?symbol=…`."""

    def time(self) -> Call:
        """Return the call that asks for the exchange's clock."""

    def server_time(self, answer: Any) -> datetime:
        """Return the exchange's clock."""

    def by_time(self, symbol: str, start: datetime, end: datetime, rows: int) -> Call:
        """Return the call for rows of [start, end), at most `rows`."""

    def by_id(self, symbol: str, first_id: int, day: datetime) -> Call:
        """Return the call for rows from an id on; `day` is their expected day."""

    def find(self, symbol: str, start: datetime, end: datetime) -> Call:
        """Return the call that finds the first id of [start, end)."""

    def found(self, answer: Any) -> int | None:
        """Return the first id in such an answer, or None if it has none."""

    def activity(self, symbol: str, start: datetime, end: datetime) -> Call:
        """Return the call that shows when in [start, end), at most a day, somebody traded."""

    def busy_from(self, answer: Any) -> datetime | None:
        """Return the start of the first hour with trades in such an answer, or None if it has none."""

    def status(self, symbol: str) -> Call:
        """Return the call that shows whether a symbol trades; calls for several symbols may be equal."""

    def status_of(self, symbol: str, answer: Any) -> str | None:
        """Return the exchange's own word for the state of a symbol, or None if it does not list the symbol."""

    def has_ended(self, status: str | None) -> bool:
        """Return whether a symbol in such a state does not trade and will not resume by itself."""

    def first_row(self, symbol: str) -> Call:
        """Return the call for the earliest row of a symbol, or for the bar that contains it."""

    def latest_row(self, symbol: str) -> Call:
        """Return the call for the latest row of a symbol, or for the bar that contains it."""

    def any_row(self, symbol: str, start: datetime, end: datetime) -> Call:
        """Return the call that shows whether there is a row in [start, end)."""

    def row_time(self, answer: Any) -> datetime | None:
        """Return the time of the row in an answer to one of these three, or None if it has none."""

    def rows(self, key: str, answer: Any) -> pa.Table:
        """Return the rows of an answer in the columns and the order of the dataset.

        Raises:
            BadContent: the answer is not what the exchange documents.
        """
