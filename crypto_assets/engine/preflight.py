"""Asks before anything is collected: does the exchange answer at all, and does it know the symbols?

An unreachable host is reported once, and nothing is started that only it can answer. A symbol unknown to the exchange is
reported, and the others are collected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from crypto_assets import sources
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.config.selection import Request
from crypto_assets.engine.archive.locate import require_listed
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.engine.archive.user_files import file_names
from crypto_assets.engine.rest.ccxt_client import RestApi
from crypto_assets.errors import CircuitOpen, CryptoAssetsError, HostUnreachable, PermanentError, UnknownSymbol
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import ALL, Controls, of_exchange
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import Series, Track
from crypto_assets.sources import QueryFeed
from crypto_assets.sources.limits import Endpoint
from crypto_assets.text.urls import host_of
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets.transport.proxies import require_proxies

# The run asks again, with patience; a hanging host is not waited for twice.
_TIMEOUT_S = 10.0
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Preflight:
    """The result: the requests that are left, and why the others were dropped.

    `unreachable` has the failure of each exchange with an unreachable host, `never_asked` the tracks that are dropped for it,
    because none of their feeds is reachable. `unknown` says why the exchange does not know the symbol of a track; the other
    datasets of that symbol are collected.
    """

    requests: list[Request]
    unreachable: dict[str, str] = field(default_factory=dict)
    unknown: dict[Track, str] = field(default_factory=dict)
    never_asked: frozenset[Track] = frozenset()


def check(
    collection: Collection,
    requests: Sequence[Request],
    ledger: Ledger,
    today: date,
    *,
    down: Mapping[tuple[str, ...], str] | None = None,
) -> Preflight:
    """Ask each kind of feed that is needed whether it is reachable, and for the symbols that were never stored.

    Failures after the host was reached (it refuses, its listing is broken) are no error here: the run reports them for each
    day. A track is kept if its archive is reachable, if its REST API is and is used for today or has no archive beside it,
    if a person's files have it, or if its exchange is paused.

    Args:
        down: hosts that are known to be down, with their failures: (exchange, "archive") or (exchange, "api", market type).

    Raises:
        ConfigError: the environment names an invalid proxy.
    """
    require_proxies(collection)
    paused = {one.scope for one in Controls(ledger).read() if one.action == "pause"}
    stored = {(one.exchange, one.market_type, one.symbol, one.dataset) for one in ledger.summary() if one.rows}
    unreachable: dict[str, str] = {}
    unknown: dict[Track, str] = {}
    dropped: set[Track] = set()
    with (
        Guard(ledger.url, collection, egress=settings().egress, patience_s=_TIMEOUT_S) as guard,
        Client(guard, timeout_s=_TIMEOUT_S, attempts=_ATTEMPTS) as client,
        DaemonPool(8, "symbols") as pool,
    ):
        hosts = _Hosts(client, collection, down or {})
        for exchange in dict.fromkeys(request.entry.exchange for request in requests):
            if paused & {ALL, of_exchange(exchange)}:  # then the run waits too, and reports it
                continue
            asked = [(one, track) for one in requests if one.entry.exchange == exchange for track in one.tracks]
            failures = [hosts.failure(one, track, today) for one, track in asked]
            kept = {track for (_, track), failure in zip(asked, failures, strict=True) if not failure}
            if never := {track for _, track in asked} - kept:
                unreachable[exchange] = "; ".join(dict.fromkeys(filter(None, failures)))
                dropped |= never
            new = sorted(
                track
                for track in kept
                if (exchange, track.series.market_type, track.symbol, track.series.dataset) not in stored
                and not hosts.in_user_files(track)
                and not (sources.archives(track.series) and hosts.archive(track))
            )
            problems = pool.map(lambda track: _unknown(client, collection, track), new)
            unknown |= {track: problem for track, problem in zip(new, problems, strict=True) if problem}
    left = _left(requests, dropped | unknown.keys())
    return Preflight(left, unreachable, unknown, frozenset(dropped))


class _Hosts:
    """The hosts of exchanges: each is asked once whether it is reachable, when something needs it; any answer will do."""

    def __init__(self, client: Client, collection: Collection, down: Mapping[tuple[str, ...], str]) -> None:
        self._client, self._collection = client, collection
        self._failures: dict[tuple[str, ...], str] = dict(down)
        self._names: dict[Path, frozenset[str]] = {}

    def failure(self, request: Request, track: Track, today: date) -> str:
        """Return why every feed of a track is unreachable for a request; "" if one is reachable, or may be."""
        series = track.series
        if self.in_user_files(track):
            return ""
        if not sources.archives(series):
            return self._api(series)
        failure = self.archive(track)
        if failure and request.last >= today and self._collection.asks_rest(request.entry) and sources.query(series):
            return failure if self._api(series) else ""  # days before today need the listing first
        return failure

    def archive(self, track: Track) -> str:
        """Return why the archive of a series is unreachable: its listing, or the host of its files; "" if it is not."""
        site = ArchiveSite.of(self._client, self._collection, track.series)
        exchange, archive_url = track.series.exchange, site.files_url
        if known := self._failures.get((exchange, "archive")):
            return known
        failure = self._failure((exchange, "listing"), lambda: require_listed(site, track))
        if failure or host_of(archive_url) == host_of(site.listing_url):
            return failure
        files = self._client.at(Endpoint(exchange, "archive", "archive"))
        return self._failure((exchange, "archive"), lambda: files.head(archive_url + "/"))

    def _api(self, series: Series) -> str:
        feed = sources.query(series)
        if feed is None or (call := feed.clock()) is None:  # nobody can tell
            return ""
        api = _api(self._client, self._collection, series.exchange, feed)
        return self._failure((series.exchange, "api", series.market_type), lambda: api.ask(call))

    def in_user_files(self, track: Track) -> bool:
        """Return whether files that a person downloaded are of a track; also if they cannot be read: the run reports it."""
        feed, root = sources.user_files(track.series), self._collection.urls(track.series.exchange).files
        if feed is None or root is None:
            return False
        try:
            if root not in self._names:
                self._names[root] = file_names(root)
        except CryptoAssetsError:
            return True
        return feed.folder.file_name(sources.name_of(*track)) in self._names[root]

    def _failure(self, host: tuple[str, ...], ask: Callable[[], object]) -> str:
        if host not in self._failures:
            try:
                _ask(ask)
                self._failures[host] = ""
            except (HostUnreachable, CircuitOpen) as error:
                self._failures[host] = str(error.evidence.get("failure") or error)
        return self._failures[host]


def _ask(ask: Callable[[], object]) -> None:
    """Send a request to a host, ignoring its answer; if its circuit is open, wait for the next probe if that is due soon."""
    try:
        try:
            ask()
        except CircuitOpen as error:
            left_s = (datetime.fromisoformat(error.evidence["retry_at"]) - datetime.now(UTC)).total_seconds()
            if left_s > _TIMEOUT_S:
                raise
            time.sleep(max(left_s, 0.0) + 1.0)  # the time is rounded to the second
            ask()
    except (HostUnreachable, CircuitOpen):
        raise
    except CryptoAssetsError:
        pass


def _unknown(client: Client, collection: Collection, track: Track) -> str:
    """Return why a symbol is unknown to the exchange, or "" if it is known or may be."""
    series, symbol = track
    if not sources.archives(series):
        known = _rest_may_have(client, collection, series, symbol)
        return "" if known else f"{series}: the exchange does not know {symbol}. Check `symbols` in collection.yaml"
    try:
        require_listed(ArchiveSite.of(client, collection, series), track)
    except UnknownSymbol as error:
        return "" if _rest_may_have(client, collection, series, symbol) else str(error)
    except CryptoAssetsError:  # the run reports it
        return ""
    return ""


def _rest_may_have(client: Client, collection: Collection, series: Series, symbol: str) -> bool:
    """Return whether REST knows a symbol that the archive does not list yet, or cannot be asked about it."""
    entry = collection.entry_of(series, symbol)
    feed = sources.query(series)
    call = None if feed is None else feed.latest_row(symbol)
    if not sources.archives(series) and call is None:  # nobody can tell
        return True
    asked = entry is not None and (collection.asks_rest(entry) or not sources.archives(series))
    if not asked or feed is None or call is None:
        return False
    try:
        _api(client, collection, series.exchange, feed).ask(call)
    except PermanentError as error:
        return not error.evidence.get("unknown_symbol")
    except CryptoAssetsError:
        return True
    return True


def _api(client: Client, collection: Collection, exchange: str, feed: QueryFeed) -> RestApi:
    return RestApi(client, feed, collection.urls(exchange).rest_url, settings().api_key(exchange))


def _left(requests: Sequence[Request], dropped: Set[Track]) -> list[Request]:
    left = [
        replace(request, tracks=tuple(track for track in request.tracks if track not in dropped))
        for request in requests
    ]
    return [request for request in left if request.tracks]


def unknown_in_words(unknown: Mapping[Track, str]) -> list[str]:
    """Return one line for each unknown symbol of a market, which names all its unknown datasets."""
    by_symbol: dict[tuple[str, str, str], list[Track]] = {}
    for track in unknown:
        by_symbol.setdefault((track.series.exchange, track.series.market_type, track.symbol), []).append(track)
    found = []
    for first, *others in by_symbol.values():
        more = f"; it is not known for {', '.join(one.series.dataset for one in others)} either" if others else ""
        found.append(unknown[first] + more)
    return found
