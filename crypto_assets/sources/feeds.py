"""The feeds of a series: the ways in which an exchange publishes its rows, in order of preference. Types only.

An archive feed publishes files, a query feed answers requests; a stream feed will have its place beside them. Feeds are pure:
requests and answers are values. The engine does all input and output, limits and retries.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from crypto_assets.model import Partition, Span
from crypto_assets.sources.limits import Endpoint
from crypto_assets.sources.listings import Listing
from crypto_assets.sources.listings.folder import Folder

if TYPE_CHECKING:
    import pyarrow as pa

    from crypto_assets.model import Instrument
    from crypto_assets.sources.packing import Packing, Text

__all__ = ["ArchiveFeed", "Call", "Digest", "Page", "QueryFeed", "Questions", "Timing", "UserFilesFeed", "Walk"]


@dataclass(frozen=True, slots=True)
class Timing:
    """When a file appears, counted from the end of the span that it covers: at the earliest usually, by when mostly, and the
    time after which it counts as missing.
    """

    earliest: timedelta
    mostly_by: timedelta
    missing_after: timedelta


@dataclass(frozen=True, slots=True)
class Digest:
    """A published digest of a file: its text stands under `key`, or is the file's ETag if `key` is None."""

    algorithm: Literal["sha256", "md5"]
    key: str | None


class ArchiveFeed(Protocol):
    """Files of one series. `name` in the methods is the exchange's own name of a symbol (`BTCUSDT`), as `exchange_symbol`
    returns it or as the archive lists it.
    """

    @property
    def name(self) -> str:
        """The word for the feed: `daily`, `monthly`."""

    @property
    def final(self) -> bool:
        """Whether days from it are `available`; else they are `provisional` until a final feed has them."""

    @property
    def bundles(self) -> bool:
        """Whether a file holds the rows of many symbols."""

    @property
    def timing(self) -> Timing: ...

    @property
    def listing(self) -> Listing | None:
        """How files are listed; None: nothing lists them, and predicted names are asked for by HEAD."""

    @property
    def since(self) -> date | None:
        """The first day of the archive, where no listing of a symbol can be read from its beginning; else None."""

    @property
    def universe(self) -> str | None:
        """The prefix whose child prefixes are the names of all symbols; None if no listing shows them."""

    def prefix(self, name: str) -> str:
        """Return the prefix under which the files of one symbol are listed."""

    def keys(self, name: str, day: date) -> tuple[str, ...]:
        """Return the keys of the files that hold one UTC day together, in order of time, whether they exist or not."""

    def covers(self, key: str) -> Span:
        """Return the span of instants that a file covers; raises ValueError for a key that is not a data file of the feed."""

    def digest(self, key: str) -> Digest | None:
        """Return where the digest of a file is published; None: it is not."""

    @property
    def packing(self) -> Packing:
        """How the text of a file is packed."""

    @property
    def whole(self) -> bool:
        """Whether a row may depend on the rows beside it: then `parse` gets the whole text of a file, however long."""

    def parse(self, symbol: str, key: str, text: Text, instrument: Instrument | None = None) -> pa.Table:
        """Return all rows of one symbol in a text, in the columns of the dataset and in file order, amounts in base.

        A piece must give the rows that it gives within its file. So no row may depend on the rows beside it, as an interval
        between two rows does; a feed with such rows is `whole`. What the first lines of a file decide may hold for all
        of it: they stand before every piece (`sources/file_pieces.py`).

        Args:
            symbol: unified.
            text: of a file; of a long one that is not `whole` a piece, with whole lines and the first lines of the file.
            instrument: given if the series' facts say that amounts are in contracts.

        Raises:
            MalformedFile: the text does not match the key.
        """


class UserFilesFeed(ArchiveFeed, Protocol):
    """Files that a person downloaded; a series has it beside a feed that is asked. The days that they have are preferred."""

    @property
    def folder(self) -> Folder:
        """The names of the files, and where their times stand."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an exchange's API, with its weight.

    `method` is ccxt's name of the endpoint (`publicGetV5MarketKline`): ccxt gives its URL and reads its errors. Without one,
    `path` is sent below the feed's `url` as it is; one that begins with https:// is a whole address, and below a `rest_url`
    of collection.yaml its host is the first folder. `json`: the answer is JSON (numbers with a fraction stay text), else
    text.
    """

    method: str
    params: Mapping[str, str | int]
    endpoint: Endpoint
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    json: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a day. Every row of the day before `until` is now known; None: no more than before is proven.

    `missing_ids` counts ids between the rows that the exchange leaves out. `problem` says why the exchange does not have the
    rows before these, for people.
    """

    rows: pa.Table
    until: datetime | None = None
    missing_ids: int = 0
    problem: str = ""


Walk = Generator["Call | Page", Any, None]
"""The requests for a day: it yields a `Call` and is sent the answer, and yields a `Page` when rows are there.

It ends when the day is read as far as the feed has it. `sources/paging/` has the usual walks.
"""


class Questions(Protocol):
    """Questions about a symbol that an exchange answers: whether it trades, and when its first and latest rows were.

    A call may be None: the exchange has no answer to the question.
    """

    def status(self, symbol: str) -> Call | None:
        """Return the call that shows whether a symbol trades; calls for several symbols may be equal."""

    def status_of(self, symbol: str, answer: Any) -> str | None:
        """Return the exchange's own word for the state of a symbol, or None if it does not list the symbol."""

    def has_ended(self, status: str | None) -> bool:
        """Return whether a symbol in such a state does not trade and will not resume by itself."""

    def first_row(self, symbol: str) -> Call | None:
        """Return the call for the earliest row of a symbol, or for the bar that contains it."""

    def latest_row(self, symbol: str) -> Call | None:
        """Return the call for the latest row of a symbol, or for the bar that contains it."""

    def any_row(self, symbol: str, start: datetime, end: datetime) -> Call | None:
        """Return the call that shows whether there is a row in [start, end)."""

    def row_time(self, symbol: str, answer: Any) -> datetime | None:
        """Return the time of the first row in an answer to `first_row`, `latest_row` or `any_row`; None without rows.

        Raises:
            BadContent: the answer is not what the exchange documents, or names another symbol.
        """


class QueryFeed(Questions, Protocol):
    """Rows of one series that are asked for: REST, RSS. An answer is the JSON of a call, numbers with a fraction as text."""

    @property
    def name(self) -> str:
        """The word for the feed: `rest`."""

    @property
    def final(self) -> bool:
        """Whether days from it are `available`; else they are `provisional` until a final feed has them."""

    @property
    def settle(self) -> timedelta:
        """The time after an instant until answers up to it are final."""

    @property
    def ccxt_id(self) -> str:
        """ccxt's name of the exchange; empty if the feed's calls have paths of their own."""

    @property
    def key_advice(self) -> str:
        """What to do if the exchange answers that it needs a key."""

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        """Return ccxt's `urls['api']` for one host that serves every path of the exchange."""

    def source_key(self, symbol: str) -> str:
        """Return the name of the rows' source, like a key in an archive: `rest/api/v3/klines?symbol=…`."""

    def clock(self) -> Call | None:
        """Return the call that asks for the exchange's clock; None: ours is used."""

    def clock_time(self, answer: Any) -> datetime:
        """Return the exchange's clock."""

    def walk(
        self,
        partition: Partition,
        stored: pa.Table,
        until: datetime | None,
        now: datetime,
        instrument: Instrument | None = None,
    ) -> Walk:
        """Return the requests that complete a day.

        Args:
            stored: rows of the day that are known already; they need not be asked for again.
            until: every row before it is among `stored`; None: nothing is stored.
            now: the exchange's clock, less `settle`.
            instrument: given if the series' facts say that amounts are in contracts.

        Raises:
            PermanentError: the exchange cannot serve the day. BadContent: the answer is not what it documents.
        """
