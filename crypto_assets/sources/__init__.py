"""The sources, one file or folder each; every module here with a `SOURCE` is found automatically.

A source is pure: it states facts, builds requests and reads answers. The engine sends, limits and retries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import cache, lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Protocol, cast

from crypto_assets.model import Series, Span
from crypto_assets.model.provenance import keys_in, together
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.feeds import ArchiveFeed, Call, Page, QueryFeed, Timing, UserFilesFeed, Walk
from crypto_assets.sources.limits import Limit
from crypto_assets.sources.own_faults import Careful, own_faults

if TYPE_CHECKING:
    import pyarrow as pa

    from crypto_assets.model import Instrument
    from crypto_assets.model.content import Content
    from crypto_assets.sources.instruments import InstrumentQuery

__all__ = [
    "ArchiveFeed",
    "Call",
    "Facts",
    "Page",
    "QueryFeed",
    "Source",
    "Timing",
    "UserFilesFeed",
    "Walk",
    "archives",
    "covered",
    "expected_by",
    "facts",
    "feed_of",
    "fixed_names",
    "get",
    "name_of",
    "names",
    "pieces",
    "preferred_key",
    "query",
    "span_of",
    "user_files",
]


class Source(Protocol):
    """Facts about an exchange or another source, declared by a module of this folder. Nothing here uses the network."""

    name: str
    archive_url: str
    listing_url: str
    rest_url: str
    hosts: frozenset[str]
    """All hosts of the source: one may redirect a request to another one of these, and to no other host."""
    limits: Mapping[str, Sequence[Limit]]
    """Limits by budget, for one of our addresses; `archive` and `listing` are two budgets. None: unlimited."""
    bans: frozenset[int]
    """HTTP statuses of its API that mean a ban."""
    archive_bans: frozenset[int]
    """HTTP statuses of its archive that mean a ban; else a 403 refuses one file."""
    ban_words: tuple[str, ...]
    """Texts in its errors that mean a ban, also inside an answer with status 200. Spaces are ignored in the comparison."""
    passing_words: tuple[str, ...]
    """Texts in its errors that mean that the error passes, whatever ccxt makes of them; compared as `ban_words`, and a number
    at the end is whole."""
    first_ban_s: float
    """The seconds of a first ban, where an answer does not say how long; each further one counts as twice as long."""
    banned_together: frozenset[str]
    """Budgets of one host: a ban in one of them is a ban in all. The other budgets have hosts of their own.

    If collection.yaml has `archive` and `listing` on one of the source's hosts, these two are banned together as well.
    """
    withheld: frozenset[int]
    """HTTP statuses of its archive that mean "no such file", besides 404."""
    unknown_symbol_words: tuple[str, ...]
    """Words of its errors that mean an unknown symbol, besides those that ccxt knows."""

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        """Return the datasets of a market type as collection.yaml names them; empty for an unknown market type."""

    def facts(self, series: Series) -> Facts:
        """Return what no file of the series tells about it."""

    def feeds(self, series: Series) -> Sequence[ArchiveFeed | QueryFeed]:
        """Return the feeds of a series, the preferred one first; at most one of them is asked (`QueryFeed`)."""

    def exchange_symbol(self, market_type: str, symbol: str) -> str:
        """Return the exchange's own name of a unified symbol: `BTC/USDT:USDT` → `BTCUSDT`."""

    def symbols(self, market_type: str, name: str) -> tuple[str, ...]:
        """Return the unified symbols that the exchange's own name can stand for, each of which has exactly this name.

        Several, if the name does not say where its base ends (`AVAXUSD`: AVAX/USD or AVA/XUSD); none for a name that is no
        symbol of the market type.
        """

    def banned_with(self, budget: str) -> frozenset[str]:
        """Return all budgets that a ban of one budget pauses, itself included."""
        ...

    def expires_at(self, symbol: str) -> datetime | None:
        """Return the end of a contract from its name, or None if the name has no end."""

    def instruments(self, market_type: str) -> InstrumentQuery | None:
        """Return how to ask for the instruments of a market type; None if the source does not tell."""

    def counted_weight(self, budget: str, headers: Mapping[str, str]) -> tuple[int, float] | None:
        """Return the used weight in the calendar window, from an answer, and the window's seconds; None if not given."""


@cache
def _all() -> dict[str, Source]:
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return {module.SOURCE.name: module.SOURCE for module in modules if hasattr(module, "SOURCE")}


def names() -> tuple[str, ...]:
    """Return the names of all known sources; an exchange has its ccxt id."""
    return tuple(sorted(_all()))


def fixed_names() -> frozenset[str]:
    """Return the names that stand in the place of symbols where a source is no exchange: the names of its feeds."""
    return frozenset(one for source in _all().values() for one in getattr(source, "names", ()))


def get(name: str) -> Source:
    """Return one source; raises KeyError for an unknown name."""
    return _all()[name]


def facts(series: Series) -> Facts:
    """Return the facts of a series; raises KeyError for an unknown source."""
    return get(series.exchange).facts(series)


@cache
def _feeds(series: Series) -> tuple[ArchiveFeed | QueryFeed, ...]:
    return tuple(get(series.exchange).feeds(series))


@cache
def archives(series: Series) -> tuple[ArchiveFeed, ...]:
    """Return the archive feeds of a series, the preferred one first; raises KeyError for an unknown source."""
    return tuple(
        cast(ArchiveFeed, feed) for feed in _feeds(series) if hasattr(feed, "covers") and not hasattr(feed, "folder")
    )


@cache
def user_files(series: Series) -> UserFilesFeed | None:
    """Return the feed of files that a person downloaded into the folder of collection.yaml; None if there is none."""
    return next((cast(UserFilesFeed, feed) for feed in _feeds(series) if hasattr(feed, "folder")), None)


def query(series: Series, addresses: Mapping[str, str] | None = None) -> QueryFeed | None:
    """Return the feed of a series that is asked for rows; None if there is none.

    Its methods raise SourceFault where the source's module fails.

    Args:
        addresses: those of collection.yaml, for a source of news feeds.
    """
    return _query(series, tuple(sorted((addresses or {}).items())))


@cache
def _query(series: Series, addresses: tuple[tuple[str, str], ...]) -> QueryFeed | None:
    source: Any = get(series.exchange)
    feeds = source.with_addresses(dict(addresses)).feeds(series) if addresses else _feeds(series)
    found = next((feed for feed in feeds if hasattr(feed, "walk")), None)
    return None if found is None else cast(QueryFeed, Careful(found, series.exchange, f"REST of {series}"))


def name_of(series: Series, symbol: str) -> str:
    """Return the exchange's own name of a unified symbol."""
    return get(series.exchange).exchange_symbol(series.market_type, symbol)


def feed_of(series: Series, key: str) -> ArchiveFeed:
    """Return the archive feed that a file belongs to; raises ValueError for a key that is of none of them."""
    problem = f"{key}: {series} has no archive"
    own = user_files(series)
    for feed in (*archives(series), *([own] if own else [])):
        try:
            feed.covers(keys_in(key)[0])
        except ValueError as error:
            problem = str(error)
        else:
            return feed
    raise ValueError(problem)


def preferred_key(series: Series, symbol: str, day: date) -> str:
    """Return the key of the preferred file of a day, or the keys of its files together, whether they exist or not.

    Raises:
        LookupError: the series has no archive.
    """
    return together(archives(series)[0].keys(name_of(series, symbol), day))


@lru_cache(maxsize=10_000)
def span_of(series: Series, key: str) -> Span:
    """Return the span that a file covers, or the files of a day together.

    Raises:
        ValueError: the key is not of a data file of the series.
    """
    feed, keys = feed_of(series, key), keys_in(key)
    return Span(feed.covers(keys[0]).start, feed.covers(keys[-1]).end)


_SOME_SYMBOLS = {"spot": "BTC/USDT", "linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}


def covered(series: Series, day: date) -> Span:
    """Return the span of the last of the preferred feed's files that hold a day; it is the same for all symbols.

    Raises:
        LookupError: the series has no archive.
    """
    feed, name = archives(series)[0], name_of(series, _SOME_SYMBOLS[series.market_type])
    return feed.covers(feed.keys(name, day)[-1])


@lru_cache(maxsize=10_000)
def expected_by(series: Series, day: date) -> datetime:
    """Return the instant after which an unpublished day counts as missing instead of pending.

    That is for the files of the preferred feed; for a series without an archive, for its answers.
    """
    from crypto_assets.sources.publication import ANSWERED_BY  # it imports this module

    found = archives(series)
    if not found:
        return Span.of_days(day, day).end + ANSWERED_BY.missing_after
    return covered(series, day).end + found[0].timing.missing_after


def pieces(
    series: Series, symbol: str, key: str, content: Content, instrument: Instrument | None = None
) -> Iterator[pa.Table]:
    """Yield all rows of one symbol in an archive file, in file order: a long file in pieces, unless its feed is `whole`.

    A file that is cut or damaged may show that at its end only, after pieces of it.

    Raises:
        MalformedFile: the bytes do not match the key; SourceFault: the source's module failed on them.
    """
    from crypto_assets.sources.file_pieces import Pieces, one_piece  # it loads pyarrow, which many commands do without

    feed = feed_of(series, key)
    texts = feed.packing.texts(key, content)
    if feed.whole:
        texts = one_piece(key, texts)
    found = iter(Pieces(texts, lambda text: feed.parse(symbol, key, text, instrument)))
    while True:
        with own_faults(series.exchange, key):  # of each step, not of what is done with its rows
            rows = next(found, None)
        if rows is None:
            return
        yield rows
