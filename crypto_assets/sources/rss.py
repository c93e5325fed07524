"""News of RSS 0.9x, 1.0 and 2.0 and of Atom feeds: no exchange. Each feed is a symbol.

Formats: rssboard.org/rss-specification (RSS 2.0), RFC 4287 (Atom), web.resource.org/rss/1.0 (RSS 1.0, in RDF); read by
feedparser.

A feed has its newest entries only, most feeds 20 to 100. A day is known up to now if the feed reaches back to the day's
beginning, or to what was read the last time; else entries may have gone between, and the day is partial. A day before that
cannot be read any more. How far a feed reaches back is what the order of its entries proves, newest first: an entry that is
older than one after it, such as a pinned one, proves nothing, and neither does the oldest alone, whose date may be wrong
(1970-01-01). So a feed in another order proves little, and its days are partial.

An entry counts once, by its id, else by its link; of an entry that was edited the newest version is kept. A day is over an
hour after its end, because sites and the caches in front of them may be late by as much (60 minutes is the example of `ttl`
in RSS 2.0). Then it is not asked for again: an entry that comes later, or an edit, is not seen. An instant without a zone is
UTC. Refused, because nobody could say what is missing or to which day it belongs: a feed that is cut or is not XML, an entry
without a date, a date of another form than `instant` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from crypto_assets.datasets.news import DATASET
from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import Partition
from crypto_assets.sources.collector import Collector
from crypto_assets.sources.feeds import Call
from crypto_assets.sources.limits import Endpoint, Limit

FEEDS: Mapping[str, str] = {
    "BITCOINMAGAZINE": "https://bitcoinmagazine.com/feed",
    "BITCOINOPS": "https://bitcoinops.org/feed.xml",
    "COINDESK": "https://www.coindesk.com/arc/outboundfeeds/rss/",
    "COINTELEGRAPH": "https://cointelegraph.com/rss",
    "DECRYPT": "https://decrypt.co/feed",
    "THEBLOCK": "https://www.theblock.co/rss.xml",
}
"""Addresses of feeds as their sites gave them, by the name that collection.yaml has in `symbols`. Sites move their feeds:
`exchanges: rss: feeds:` in collection.yaml names other addresses, and further feeds.
"""

_HOURS = {
    **dict.fromkeys(("", "UT", "UTC", "GMT", "Z"), 0),
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}  # fmt: skip
"""Hours ahead of UTC, by the names of RFC 822, 5.1, and UTC. Not its single letters: RFC 2822, 4.3, says that they were used
with either sign.
"""
_FARTHEST = timedelta(hours=14)
"""No zone is farther from UTC: Pacific/Kiritimati in the tz database."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_WRITTEN = re.compile(
    r"(?:[^\d,]+,\s*|(?:mon|tue|wed|thu|fri|sat|sun)\w*\s+)?"
    r"(?P<day>\d{1,2})[\s-]+(?P<month>[a-z]+)[\s-]+(?P<year>\d{4}|\d{2})\s+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"
    r"(?:\s*(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>[0-5]\d)(?:\s*\([^()]*\))?|\s+(?P<zone>[a-z]+))?",
    re.IGNORECASE | re.ASCII,
)
"""The date of RFC 822, 5.1, also with the whole name of the day or month, dashes (RFC 850), and a comment after +hhmm."""
_LONGEST_UID = 2_000


class Rss(Collector):
    """The feeds of `FEEDS`, or others; each is counted and paused by itself, so one that fails does not stop the others.

    Only a ban is shared: by all feeds of one site.
    """

    name = "rss"
    dataset = DATASET
    json = False
    settle = timedelta(hours=1)

    def __init__(self, feeds: Mapping[str, str] = FEEDS) -> None:
        self.names = tuple(feeds)
        self.addresses = feeds
        self.hosts = frozenset(urlsplit(address).hostname or "" for address in feeds.values())
        self.rest_url = next(iter(feeds.values()))
        # A choice: no feed states a limit, and none changes more often.
        self.limits = {name.lower(): (Limit(1, 1.0, "requests"),) for name in feeds}

    def banned_with(self, budget: str) -> frozenset[str]:
        """Return the budgets of all feeds on the same site; a ban of our address holds for all of them."""
        hosts = {name.lower(): urlsplit(address).hostname for name, address in self.addresses.items()}
        return frozenset(name for name, host in hosts.items() if host == hosts.get(budget)) | {budget}

    def with_addresses(self, addresses: Mapping[str, str]) -> Rss:
        """Return the source with these addresses added to its own; they replace those of the same names."""
        return Rss({**self.addresses, **addresses}) if addresses else self

    def first(self, partition: Partition) -> Call:
        name = partition.symbol
        if name not in self.addresses:
            raise PermanentError(f"rss {name}: expected one of {', '.join(self.addresses)}")
        return Call("", {}, Endpoint(self.name, name.lower(), "news"), path=self.addresses[name], json=False)

    def read(self, partition: Partition, call: Call, answer: Any) -> tuple[pa.Table, Call | None]:  # noqa: ARG002
        return pa.Table.from_pylist(list(entries(answer, call.path)), schema=DATASET.bare_schema), None

    def known_from(self, partition: Partition, tables: Sequence[pa.Table]) -> datetime | None:  # noqa: ARG002
        """Return how far the entries reach back without a break; None: they do not show it.

        Entries count that are not older than any after them. Of these, two instants must agree: the second oldest is taken.
        """
        times = [time for table in tables for time in table.column("published_time").to_pylist()]
        ordered: list[datetime] = []  # oldest first
        for time in reversed(times):
            if not ordered or time > ordered[-1]:
                ordered.append(time)
        return ordered[1] if len(ordered) > 1 else None

    def source_key(self, symbol: str) -> str:
        return f"rest/{self.addresses.get(symbol, symbol).removeprefix('https://')}"


def entries(text: str, feed: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of a feed in its order, as rows of `news`.

    Raises:
        BadContent: neither RSS nor Atom, entities of its own, or an entry without a date or any id.
    """
    import feedparser  # 0.1 s, only where feeds are read

    # Entities could unpack to any size.
    if "<!ENTITY" in text:
        raise BadContent(f"{feed}: expected a feed, found a document with entities of its own")
    found = feedparser.parse(
        BytesIO(text.lstrip("\ufeff \t\r\n").encode()),
        response_headers={"content-type": "application/xml; charset=utf-8"},
        sanitize_html=False,
        resolve_relative_uris=False,
    )
    problem = found.get("bozo_exception")
    if problem is not None and not isinstance(problem, feedparser.CharacterEncodingOverride):
        raise BadContent(f"{feed}: expected the whole XML of RSS or Atom, found {text[:60]!r} ({problem})")
    if not found.get("version"):
        raise BadContent(f"{feed}: expected RSS or Atom, found {text[:60]!r}")
    language = found.feed.get("language") or None
    for entry in found.entries:
        yield _row(entry, feed, language)


def _row(entry: Mapping[str, Any], feed: str, language: str | None) -> dict[str, Any]:
    # feedparser's dictionaries answer for one name with the value of another.
    of: dict[str, str] = {name: value.strip() for name, value in entry.items() if isinstance(value, str)}
    uid = of.get("id") or of.get("link") or ""
    if not uid:
        raise BadContent(f"{feed}: expected an entry with an id or a link, found neither in {str(of)[:200]}")
    written = of.get("published") or of.get("updated") or of.get("created") or ""
    if not written:
        raise BadContent(f"{feed}: expected an entry with a date, found none in {uid[:200]}")
    return {
        "published_time": instant(written, feed),
        "news_place": 0,
        "news_uid": uid[:_LONGEST_UID],
        "title": of.get("title") or None,
        "link": of.get("link") or None,
        "summary": of.get("summary") or None,
        "language": language,
    }


def instant(written: str, feed: str) -> datetime:
    """Return the instant of `Mon, 01 Jan 2024 10:00:00 +0100` or `2024-01-01T10:00:00Z`; without a zone it is UTC.

    Forms: ISO 8601 as `datetime.fromisoformat` reads it, and RFC 822 with +hhmm, +hh:mm or a name of `_HOURS`.

    Raises:
        BadContent: another form or zone, or an instant outside the years 1 to 9999.
    """
    try:
        found = datetime.fromisoformat(written) if written[:4].isdigit() else _of_rfc_822(written)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        if abs(found.utcoffset() or timedelta(0)) > _FARTHEST:
            raise ValueError(written)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadContent(
            f"{feed}: expected an instant such as 2024-01-01T10:00:00Z or Mon, 01 Jan 2024 10:00:00 +0100 (a zone is +hhmm, "
            f"+hh:mm or one of {', '.join(filter(None, _HOURS))}), found {written[:60]!r}"
        ) from None


def _of_rfc_822(written: str) -> datetime:
    """Return the instant of an RFC 822 date. A year of two digits is one of 1950 to 2049 (RFC 2822, 4.3).

    Raises:
        ValueError: another form, another zone, or no such instant.
    """
    of = _WRITTEN.fullmatch(written)
    if of is None:
        raise ValueError(written)
    month, year = of["month"].lower(), int(of["year"])
    if len(of["year"]) == 2:
        year += 2000 if year < 50 else 1900
    zone = (of["zone"] or "").upper()
    if zone not in _HOURS:
        raise ValueError(written)
    ahead = timedelta(hours=_HOURS[zone])
    if of["sign"]:
        ahead = timedelta(hours=int(of["hours"]), minutes=int(of["minutes"])) * (-1 if of["sign"] == "-" else 1)
    number = (_MONTHS if len(month) == 3 else _FULL_MONTHS).index(month) + 1
    clock = int(of["hour"]), int(of["minute"]), int(of["second"] or 0)
    return datetime(year, number, int(of["day"]), *clock, tzinfo=timezone(ahead))


SOURCE = Rss()
