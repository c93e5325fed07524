"""Finds the files of an archive feed: by its listing, or by their names where nothing lists them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

from crypto_assets.engine.archive.by_name import probe_all
from crypto_assets.engine.archive.holders import Files
from crypto_assets.engine.archive.listing import list_objects, list_prefixes
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.model import ArchiveObject, Span, days_between
from crypto_assets.sources import ArchiveFeed
from crypto_assets.sources.listings import Wanted

_FIRST_KEYS = 2
"""Keys on a page that looks for the first file only: a file, and perhaps its checksum."""


def objects_of(site: ArchiveSite, feed: ArchiveFeed, name: str, days: Sequence[date]) -> dict[str, ArchiveObject]:
    """Return the listed files of some days (ascending) of one symbol by the key that the feed expects, whole days or not.

    A listing may have a file in another folder: its own key is the right one, and the name of the file tells which it is.
    Where nothing lists them, each is requested by its name.

    Raises:
        ListingError, HostUnreachable, HostRefused: the listing, or a name, got no answer.
    """
    keys = {key for day in days for key in feed.keys(name, day)}
    if feed.listing is None:
        found, problem = probe_all(site, feed, sorted(keys))
        if problem is not None:
            raise problem
        return found
    listed = list_objects(site, feed.listing, wanted_between(feed, name, days[0], days[-1]))
    expected = {file_name(key): key for key in keys}
    return {expected[own]: obj for obj in listed if (own := file_name(obj.key)) in expected and span_of(feed, obj.key)}


def wanted_between(feed: ArchiveFeed, name: str, first: date, last: date) -> Wanted:
    """Return what to ask the listing of one symbol for, to see the files of some days."""
    firsts, lasts = feed.keys(name, first), feed.keys(name, last)
    span = Span(feed.covers(firsts[0]).start, feed.covers(lasts[-1]).end)
    if feed.since is not None:  # asked by time; a file may be in a folder that no order of keys expects
        return Wanted(feed.prefix(name), span=span)
    return Wanted(feed.prefix(name), after=just_before(firsts[0]), until=max(*firsts, *lasts), span=span)


def file_name(key: str) -> str:
    """Return the last part of a key."""
    return key.rpartition("/")[2]


def just_before(key: str) -> str:
    """Return a key before `key` and after every key of an earlier time: its beginning, without the ending of its name."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + name.partition(".")[0]


def shows_no_version(obj: ArchiveObject) -> bool:
    """Return whether a file that is published again would look the same: its listing shows neither etag nor time."""
    return any(not one.etag and one.last_modified is None for one in obj.parts or (obj,))


def holders_of(feed: ArchiveFeed, name: str, days: Iterable[date], objects: Mapping[str, ArchiveObject]) -> list[Files]:
    """Return the files that hold some days, in the order of the days; a day with one of its files missing has none."""
    found: dict[tuple[str, ...], list[date]] = {}
    for day in days:
        keys = feed.keys(name, day)
        if all(key in objects for key in keys):
            found.setdefault(keys, []).append(day)
    return [
        Files(feed, ArchiveObject.joined([objects[key] for key in keys]), tuple(days)) for keys, days in found.items()
    ]


def first_listed_day(site: ArchiveSite, feed: ArchiveFeed, name: str) -> date | None:
    """Return the first UTC day that a feed's first file touches; None if it lists none.

    Where a listing cannot be read from its beginning, it is the first day of the archive: the symbol may be younger.
    """
    if feed.listing is None or feed.since is not None:
        return feed.since
    for obj in list_objects(site, feed.listing, Wanted(feed.prefix(name), page=_FIRST_KEYS)):
        if (span := span_of(feed, obj.key)) and is_of(feed, name, obj.key, span):
            return span.first_day
    return None


def names_listed(site: ArchiveSite, feed: ArchiveFeed) -> list[str] | None:
    """Return the exchange's own names of all symbols that a feed lists; None if no listing shows them."""
    if feed.listing is None or feed.universe is None:
        return None
    universe = feed.universe
    children = list_prefixes(site, feed.listing, universe)
    return [child.removeprefix(universe).rstrip("/") for child in children]


def spans_listed(
    site: ArchiveSite, feed: ArchiveFeed, name: str, first: date, last: date, *, and_later: bool = False
) -> Iterator[Span]:
    """Yield the span of each listed file of one symbol that holds a day from `first` to `last`, or later if `and_later`.

    `last` then only bounds a listing that is asked by time.
    """
    if feed.listing is None:
        return
    wanted = wanted_between(feed, name, first, last)
    if and_later:
        wanted = replace(wanted, until=None)
    for obj in list_objects(site, feed.listing, wanted):
        if found := span_of(feed, obj.key):
            yield found


def span_of(feed: ArchiveFeed, key: str) -> Span | None:
    """Return the span of a file; None for a key that is not a data file of the feed."""
    try:
        return feed.covers(key)
    except ValueError:  # a checksum, or a file without data
        return None


def is_of(feed: ArchiveFeed, name: str, key: str, span: Span) -> bool:
    """Return whether a data file has the name that the feed gives to the symbol's file of its time, in whatever folder."""
    days = days_between(span.first_day, span.last_day)[:2]
    return any(file_name(key) == file_name(expected) for day in days for expected in feed.keys(name, day))
