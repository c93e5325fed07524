"""What archives list of a whole market: the names of its symbols, and the first and last day of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.engine.archive.files import first_listed_day, names_listed
from crypto_assets.engine.archive.probing import files_around
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.model import Series, Track
from crypto_assets.transport.client import Client

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection


@dataclass(frozen=True, slots=True)
class ReadNames:
    """The names of an archive as symbols.

    `symbols`: the exchange's own name of each symbol. `unread`: names that are no symbols of the market type, or stand for a
    symbol that has another name. `undecided`: names that can be read in several ways, each with its readings.
    """

    symbols: Mapping[str, str]
    unread: tuple[str, ...] = ()
    undecided: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_names(names: Iterable[str], named: Mapping[str, str], ways: Callable[[str], tuple[str, ...]]) -> ReadNames:
    """Return the symbols of an archive's names.

    A name that an instrument has is its symbol. Another one is read as its source can: if there are several ways, the one
    whose base is an asset of the exchange counts, if no other way's base is one: of an instrument, or of a name that can be
    read in one way only. Else the name is undecided.

    Args:
        named: the symbols of the instruments by the exchange's own name.
        ways: returns the symbols that a name can stand for.
    """
    read = {name: (named[name],) if name in named else ways(name) for name in sorted(names)}
    assets = {_base(symbol) for symbol in named.values()}
    assets |= {_base(symbols[0]) for symbols in read.values() if len(symbols) == 1}
    of_instruments = {symbol: name for name, symbol in named.items()}
    symbols: dict[str, str] = {}
    unread: list[str] = []
    undecided: dict[str, tuple[str, ...]] = {}
    for name, found in read.items():
        likely = [symbol for symbol in found if _base(symbol) in assets] if len(found) > 1 else list(found)
        if len(likely) == 1 and of_instruments.get(likely[0], name) == name:
            symbols[likely[0]] = name
        elif len(found) > 1:
            undecided[name] = found
        else:
            unread.append(name)
    return ReadNames(symbols, tuple(unread), undecided)


def _base(symbol: str) -> str:
    return symbol.partition("/")[0]


def names_of_market(client: Client, collection: Collection, market: Iterable[Series]) -> set[str]:
    """Return the exchange's own names of all symbols that any feed of some series lists; empty if no listing shows them.

    Delisted symbols may be in one feed only: after a time Binance has monthly files alone. Bars of all timeframes are below
    one prefix, which is listed once.

    Raises:
        ListingError, HostUnreachable, HostRefused, CircuitOpen: a listing could not be read.
    """
    feeds = {
        (feed.universe, site.listing_url): (site, feed)
        for series in market
        for site in (ArchiveSite.of(client, collection, series),)
        for feed in sources.archives(series)
        if feed.universe is not None
    }
    return {name for site, feed in feeds.values() for name in names_listed(site, feed) or ()}


def life_in_archive(
    client: Client, collection: Collection, track: Track, now: datetime
) -> tuple[date | None, date | None]:
    """Return the first and last day of a symbol with a file, None if there is none; raises as `names_of_market`.

    The first day is also None if only the beginning of the whole archive is known: it says nothing about the symbol.
    """
    site = ArchiveSite.of(client, collection, track.series)
    name = sources.name_of(*track)
    firsts = {feed.name: day for feed in sources.archives(track.series) if (day := first_listed_day(site, feed, name))}
    if not firsts:
        return None, None
    last, _ = files_around(site, track, now.date() + timedelta(days=1), min(firsts.values()), now)
    of_symbol = [
        firsts[feed.name] for feed in sources.archives(track.series) if feed.name in firsts and feed.since is None
    ]
    return min(of_symbol, default=None), last
