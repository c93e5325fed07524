"""Asks before anything is collected: does the exchange answer at all, and does it know the symbols?

An unreachable host is reported once, and nothing is started for its exchange. A symbol unknown to the exchange is reported,
and the others are collected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from crypto_assets import sources
from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.config.selection import Request
from crypto_assets.engine.archive.locate import require_listed
from crypto_assets.engine.archive.site import ArchiveSite
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

    `unreachable` has the failure of each unreachable exchange, `unknown` one message for each unknown symbol.
    """

    requests: list[Request]
    unreachable: dict[str, str] = field(default_factory=dict)
    unknown: dict[tuple[str, str, str], str] = field(default_factory=dict)


def check(collection: Collection, requests: Sequence[Request], ledger: Ledger, today: date) -> Preflight:
    """Ask the archive of each exchange for the symbols that were never stored, or for one if there are none.

    Failures after the host was reached (it refuses, its listing is broken) are no error here: the run reports them for each
    day. An exchange is kept if its REST API answers and is used for today, or if it is paused.

    Raises:
        ConfigError: the environment names an invalid proxy.
    """
    require_proxies(collection)
    paused = {one.scope for one in Controls(ledger).read() if one.action == "pause"}
    stored = {(one.exchange, one.market_type, one.symbol, one.dataset) for one in ledger.summary() if one.rows}
    unreachable: dict[str, str] = {}
    unknown: dict[Track, str] = {}
    with (
        Guard(ledger.url, collection, egress=settings().egress, patience_s=_TIMEOUT_S) as guard,
        Client(guard, timeout_s=_TIMEOUT_S, attempts=_ATTEMPTS) as client,
        DaemonPool(8, "symbols") as pool,
    ):
        for exchange in dict.fromkeys(request.entry.exchange for request in requests):
            if paused & {ALL, of_exchange(exchange)}:  # then the run waits too, and reports it
                continue
            mine = [request for request in requests if request.entry.exchange == exchange]
            try:
                _reach(client, collection, exchange, mine[0].tracks[0])
            except (HostUnreachable, CircuitOpen) as error:
                if not any(request.last >= today and _rest_answers(client, collection, request) for request in mine):
                    unreachable[exchange] = str(error.evidence.get("failure") or error)
                continue
            new = sorted(
                {
                    Track(series, symbol)
                    for request in mine
                    for series, symbol in request.tracks
                    if (series.exchange, series.market_type, symbol, series.dataset) not in stored
                }
            )
            problems = pool.map(lambda track: _unknown(client, collection, track), new)
            unknown |= {track: problem for track, problem in zip(new, problems, strict=True) if problem}
    return Preflight(_left(requests, unreachable, unknown), unreachable, _by_symbol(unknown))


def _reach(client: Client, collection: Collection, exchange: str, track: Track) -> None:
    """Send a request to the hosts of an archive to find out whether they are reachable; any answer will do.

    Raises:
        HostUnreachable: no answer at all.
        CircuitOpen: recent requests had no answer, and the next probe is not due soon.
    """
    if not sources.archives(track.series):
        if (feed := sources.query(track.series)) is not None and (call := feed.clock()) is not None:
            _ask(lambda: _api(client, collection, exchange, feed).ask(call))
        return
    site = ArchiveSite.of(client, collection, track.series)
    archive_url = site.files_url
    _ask(lambda: require_listed(site, track))
    if host_of(archive_url) != host_of(site.listing_url):
        _ask(lambda: client.at(Endpoint(exchange, "archive", "archive")).head(archive_url + "/"))


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


def _rest_answers(client: Client, collection: Collection, request: Request) -> bool:
    """Return whether an entry uses the REST API at all, and the API gives any answer."""
    series = request.tracks[0][0]
    feed = sources.query(series)
    call = None if feed is None else feed.clock()
    if feed is None or call is None or not collection.asks_rest(request.entry):
        return False
    try:
        _api(client, collection, series.exchange, feed).ask(call)
    except CryptoAssetsError as error:
        return not isinstance(error, HostUnreachable | CircuitOpen)
    return True


def _api(client: Client, collection: Collection, exchange: str, feed: QueryFeed) -> RestApi:
    return RestApi(client, feed, collection.urls(exchange).rest_url, settings().api_key(exchange))


def _left(requests: Sequence[Request], unreachable: dict[str, str], unknown: dict[Track, str]) -> list[Request]:
    left = [
        replace(request, tracks=tuple(track for track in request.tracks if track not in unknown))
        for request in requests
        if request.entry.exchange not in unreachable
    ]
    return [request for request in left if request.tracks]


def _by_symbol(unknown: dict[Track, str]) -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for (series, symbol), problem in unknown.items():
        found.setdefault((series.exchange, series.market_type, symbol), problem)
    return found
