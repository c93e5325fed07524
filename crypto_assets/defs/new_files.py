"""The sensor `new_files`: requests runs for files that appear or change in the archives of all entries."""

import gc
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.defs.requests import Part, names_of, range_request
from crypto_assets.defs.resources import PostgresResource
from crypto_assets.defs.source_assets import observations
from crypto_assets.engine.watch.feed_snapshot import Watch
from crypto_assets.engine.watch.outbox import Request
from crypto_assets.engine.watch.tick import Tick, tick
from crypto_assets.engine.watch.watch import LISTINGS
from crypto_assets.errors import CryptoAssetsError, HostUnreachable, PostgresUnavailable
from crypto_assets.ledger.catalog import Catalog
from crypto_assets.text.visible import visible
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

INTERVAL_S = 15
"""How soon after its time a new file is looked for; a tick with nothing to do costs one query."""

NAME = "new_files"

_T = TypeVar("_T")


def new_files_sensor(
    collection: Collection, parts: Sequence[Part], status: dg.DefaultSensorStatus, now: Callable[[], datetime]
) -> dg.SensorDefinition:
    """Return the sensor that watches the archives of some entries."""
    patrol = timedelta(days=settings().patrol_days)
    watches = {part.name: Watch(collection, part.entry, patrol) for part in parts}
    by_digest = {watches[part.name].digest: part for part in parts}

    def request_of(request: Request) -> dg.RunRequest:
        part = by_digest[request.entry]
        return range_request(
            part.assets(request.tracks),
            request.first_day,
            request.last_day,
            f"{NAME} {part.name}: {', '.join(request.kinds)}",
            priority=request.priority,
            run_key=request.run_key,
        )

    @dg.sensor(
        name=NAME,
        asset_selection=dg.AssetSelection.assets(*(key for part in parts for key in part.keys)),
        minimum_interval_seconds=INTERVAL_S,
        default_status=status,
        description="Collects files that appear in the archives, or are published again: first the history of each symbol, "
        f"then each new day. Entries: {names_of(parts)}.",
    )
    def new_files(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SensorResult | dg.SkipReason:
        delivered = _requested(context.cursor)

        def look(catalog: Catalog, guard: Guard) -> Tick:
            return tick(lambda: _connect(guard), list(watches.values()), catalog, delivered, now())

        found = _with_database(collection, postgres, look)
        if not found.requests:
            return dg.SkipReason(_why_nothing(found))
        for name, error in found.failed.items():
            context.log.error(f"{name}: {_in_words(error)}")
        # Dagster stores the cursor after it has created the runs: it tells the next tick what was delivered.
        return dg.SensorResult(
            run_requests=[request_of(request) for request in found.requests],
            cursor=json.dumps({"requested": [request.run_key for request in found.requests]}),
            asset_events=observations(found.requests),
        )

    return new_files


def _why_nothing(found: Tick) -> str:
    """Return why a tick requests nothing. An unreachable host is a reason: there may be no network, and it is tried again.

    Raises:
        CryptoAssetsError: an entry failed in another way; the tick fails, by the entry's name.
    """
    if not found.failed:
        return found.reason
    words = _by_error(found.failed)
    if all(isinstance(error, HostUnreachable) for error in found.failed.values()):
        return f"{words}; it is tried again later"
    first = next(error for error in found.failed.values() if not isinstance(error, HostUnreachable))
    raise CryptoAssetsError(words) from first


def _by_error(failed: Mapping[str, Exception]) -> str:
    """Return the errors, each with the names of its entries."""
    names: dict[str, list[str]] = {}
    for name, error in failed.items():
        names.setdefault(_in_words(error), []).append(name)
    return "; ".join(f"{', '.join(of)}: {error}" for error, of in names.items())


def _in_words(error: Exception) -> str:
    text = str(error) if isinstance(error, CryptoAssetsError) else f"{type(error).__name__}: {error}"
    return visible(" ".join(text.split())).removesuffix("; it will be tried again later")


def _connect(guard: Guard) -> Client:
    # Impatient: what does not answer is tried again in some seconds.
    return Client(guard, LISTINGS, timeout_s=10.0, attempts=2)


def _requested(cursor: str | None) -> list[str]:
    """Return the run keys of the last requests that Dagster accepted; empty for a cursor of another form."""
    try:
        keys = json.loads(cursor or "{}")["requested"]
        return [key for key in keys if isinstance(key, str)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


_Place = tuple[str | None, str | None, str]
_open: dict[_Place, tuple[Catalog, Guard]] = {}
_open_lock = threading.Lock()


def _with_database(collection: Collection, postgres: PostgresResource, use: Callable[[Catalog, Guard], _T]) -> _T:
    """Return the result of `use` with catalog and guard; their connections stay open: opening one takes longer than a tick.

    Raises:
        PostgresUnavailable: a new connection fails too.
    """
    now = settings()
    place = (postgres.url, now.postgres_url, str(now.home))
    try:
        return use(*_opened(place, collection, postgres))
    except PostgresUnavailable:
        # The server may have been restarted, the embedded one on another port; a tick can be repeated.
        with _open_lock:
            _close(place)
        return use(*_opened(place, collection, postgres))


def _opened(place: _Place, collection: Collection, postgres: PostgresResource) -> tuple[Catalog, Guard]:
    with _open_lock:
        if place not in _open:
            for other in list(_open):
                _close(other)
            url = postgres.resolved_url()
            # Listings create many small objects, so the garbage collector would now and then scan all imported modules too,
            # at three times the cost of a page. Frozen once, before the first look: nearly all objects of now stay alive.
            if not gc.get_freeze_count():
                gc.freeze()
            _open[place] = Catalog(url), Guard(url, collection, egress=settings().egress, patience_s=0.0)
        return _open[place]


def _close(place: _Place) -> None:
    for database in _open.pop(place, ()):
        database.close()
