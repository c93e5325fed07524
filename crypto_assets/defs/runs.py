"""Runs collections through Dagster in this process, on the instance that the UI shows. Used by `demo`, `collect`, `fill`."""

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from crypto_assets import errors
from crypto_assets.config.collection import Collection
from crypto_assets.config.dagster_home import use_dagster_home
from crypto_assets.config.environment import settings
from crypto_assets.config.home_folders import require_places
from crypto_assets.config.selection import Request
from crypto_assets.errors import ConfigError
from crypto_assets.machine.garbage import no_search_for_garbage
from crypto_assets.machine.process_exit import ending_in_time
from crypto_assets.model import Track

POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Step:
    """Progress since the last step: days and bytes stored; `paused` says why the run waits, if it does."""

    days: int
    size_bytes: int
    paused: str = ""


@dataclass(slots=True)
class Skipped:
    """What was not asked because a host is down: its failure by exchange, and the tracks that only such hosts have."""

    failures: dict[str, str] = field(default_factory=dict)
    tracks: set[Track] = field(default_factory=set)


def execute(collection: Collection, requests: Sequence[Request], progress: Callable[[Step], None]) -> Skipped:
    """Run each request as one Dagster run, after repairing what killed commands left in Dagster.

    If a run finds a host of an exchange down, its other hosts are asked whether they answer, and the later runs skip only
    what no host that answers has. Returns what was skipped. The outcomes of the days are then in the ledger, also after a
    failed run. `progress` is called now and then.

    Raises:
        ConfigError: no dagster.yaml.
        KeyboardInterrupt: SIGINT, SIGTERM or a cancel; the run is CANCELED.
        CryptoAssetsError: the database or the lake failed, which concerns every day.
    """
    use_dagster_home()
    require_places(settings())
    ending = ending_in_time()
    # Dagster costs 1.2 CPU seconds to import; `--help` and wrong arguments do without it.
    with no_search_for_garbage():
        import dagster as dg

        from crypto_assets.defs.assets import COMPARE_TAG
        from crypto_assets.defs.recovery import end_dead_runs, report_unreported
        from crypto_assets.defs.requests import assets_of
        from crypto_assets.defs.resources import PostgresResource
        from crypto_assets.instance.dagster_instance import opened_instance
        from crypto_assets.instance.private_names import ReconstructableJob, ReconstructableRepository
        from crypto_assets.ledger.partitions import Ledger
        from crypto_assets.machine.run_process import PROCESS_TAG, this_process
        from crypto_assets.storage.patience import outlast

        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        repository = ReconstructableRepository.for_module("crypto_assets.definitions", "defs")
        url = PostgresResource().resolved_url()
        definition = repository.get_definition()
    skipped, left = Skipped(), list(requests)
    with opened_instance() as instance:
        ending_in_time(lambda: _cancel_mine(instance))
        with Ledger(url) as ledger:
            outlast(end_dead_runs, instance, ledger)
            outlast(report_unreported, instance, collection, ledger)
        while left:
            request = left.pop(0)
            keys = assets_of(collection, request.entry, request.tracks)
            job = definition.get_implicit_job_def_for_assets(keys)
            if job is None:
                raise ConfigError(
                    f"expected assets of one entry, found {', '.join(key.to_user_string() for key in keys)}"
                )
            wanted, selection = ReconstructableJob(repository, job.name), keys if not request.checks_only else None
            if request.checks_only:
                checks = {
                    check for check in job.asset_layer.asset_graph.asset_check_keys if check.asset_key in set(keys)
                }
                wanted = wanted.get_subset(asset_selection=set(), asset_check_selection=checks)
            with _watched(url, progress), _without_dagsters_words():
                result = dg.execute_job(
                    wanted,
                    instance=instance,
                    asset_selection=selection,
                    tags={
                        "dagster/asset_partition_range_start": request.first.isoformat(),
                        "dagster/asset_partition_range_end": request.last.isoformat(),
                        "crypto_assets/why": "command line",
                        PROCESS_TAG: this_process(),
                        **({COMPARE_TAG: ",".join(request.compare)} if request.compare else {}),
                    },
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                    raise_on_error=False,
                )
            _raise_unexpected(result)
            if ending.is_set():  # between two runs Dagster ignores a signal
                raise KeyboardInterrupt
            if not result.success:
                failure, failed = outlast(_host_down, url, result.run_id, request)
                if failure:
                    left = outlast(_reachable, url, collection, _Down(request, failure, failed), left, skipped)
    return skipped


@dataclass(frozen=True, slots=True)
class _Down:
    """What kept a run from its days: the failure, and those of the hosts that its records name, `data.example.com:8443`."""

    request: Request
    failure: str
    failed: Mapping[str, str]

    @property
    def exchange(self) -> str:
        return self.request.entry.exchange

    def hosts(self, collection: Collection) -> dict[tuple[str, ...], str]:
        """The failures by the host as the preflight names it: that of the files, the listing, or the API of a market type.

        Only a host that has one of these addresses is known to be down; the preflight asks the others.
        """
        from crypto_assets import sources
        from crypto_assets.text.urls import host_of

        exchange = self.exchange
        source, urls = sources.get(exchange), collection.urls(exchange)
        addresses = {
            (exchange, "api", self.request.entry.market_type): urls.rest_url or source.rest_url,
            (exchange, "listing"): urls.listing_url or source.listing_url,
            (exchange, "archive"): urls.archive_url or source.archive_url,
        }
        named = {
            host_of(url): host for host, url in addresses.items() if url
        }  # of one address for all, the files' stays
        return {named[host]: failure for host, failure in self.failed.items() if host in named}


def _reachable(
    url: str, collection: Collection, down: _Down, left: Sequence[Request], skipped: Skipped
) -> list[Request]:
    """Return the requests that are left, without what only unreachable hosts of an exchange have; note what is skipped."""
    from crypto_assets.engine import preflight
    from crypto_assets.ledger.partitions import Ledger

    exchange, today = down.exchange, datetime.now(UTC).date()
    mine = [request for request in left if request.entry.exchange == exchange]
    dropped, failure = frozenset[Track](), down.failure
    if mine:
        with Ledger(url) as ledger:
            found = preflight.check(collection, mine, ledger, today, down=down.hosts(collection))
        dropped, failure = found.never_asked, found.unreachable.get(exchange, failure)
    if dropped or not mine:
        skipped.failures[exchange] = failure
        skipped.tracks |= dropped
    kept = [
        replace(one, tracks=tuple(track for track in one.tracks if track not in dropped)) if one in mine else one
        for one in left
    ]
    return [one for one in kept if one.tracks]


def _host_down(url: str, run_id: str, request: Request) -> tuple[str, dict[str, str]]:
    """Return the failure of the host that a run could not reach, and the failures by the hosts that are known.

    The failure is "" if there was none or some days were collected.

    A long run marks the days it gave up as not tried; a short one has no collected day at all.
    """
    from crypto_assets.ledger.run_failures import host_down
    from crypto_assets.storage.database import Database

    symbols = {symbol for _, symbol in request.tracks}
    with Database(url, connections=1) as database, database.transaction() as connection:
        return host_down(connection, run_id, request.entry.exchange, request.entry.market_type, symbols)


def _cancel_mine(instance: Any) -> None:
    """Mark the run of this process as cancelled: the process is about to end without Dagster's own last events."""
    from dagster import RunsFilter

    from crypto_assets.instance.private_names import IN_PROGRESS_RUN_STATUSES
    from crypto_assets.machine.run_process import PROCESS_TAG, this_process

    mine = RunsFilter(tags={PROCESS_TAG: this_process()}, statuses=IN_PROGRESS_RUN_STATUSES)
    for run in instance.get_runs(mine, limit=1):
        instance.report_run_canceled(run)


def _raise_unexpected(result: Any) -> None:
    """Raise the error that ended a run, unless it is the Failure that names incomplete days; those are in the ledger.

    Raises:
        KeyboardInterrupt: Ctrl-C, which Dagster has turned into an error of its own.
        OtherVersion: a store of another version.
        CryptoAssetsError: any other error, with our own message if the chain of causes has one.
    """
    if result.success:
        return
    for event in result.all_events:
        if event.is_failure and event.is_step_event:
            chain = []
            error = event.step_failure_data.error
            while error is not None:
                chain.append(error)
                error = error.cause
            names = [error.cls_name or "" for error in chain]
            if "Failure" in names:
                return
            if "DagsterExecutionInterruptedError" in names:
                raise KeyboardInterrupt
            # Dagster's wrapper comes first, then our error, then its cause.
            ours = [error for error, name in zip(chain, names, strict=True) if hasattr(errors, name)]
            others = [error for error, name in zip(chain, names, strict=True) if not name.startswith("Dagster")]
            message = next(
                (error.message.strip() for error in ours + others), "the run failed; the Dagster UI shows why"
            )
            kind = errors.OtherVersion if "OtherVersion" in names else errors.CryptoAssetsError
            raise kind(message.partition(": ")[2] or message, run_id=result.run_id)


class _Stderr:
    """The previous stderr, without the line in which Dagster repeats an error of its storage; the command reports it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text to the previous stderr, unless it is that line."""
        return len(text) if text.startswith(_OF_DAGSTER) else int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_OF_DAGSTER = "Exception while writing logger call to event log"


@contextlib.contextmanager
def _without_dagsters_words() -> Iterator[None]:
    before = sys.stderr
    sys.stderr = _Stderr(before)
    try:
        yield
    finally:
        sys.stderr = before


@contextlib.contextmanager
def _watched(url: str, progress: Callable[[Step], None]) -> Iterator[None]:
    """Call `progress` with the progress of the run that this process starts, as `execute` says, until the block ends."""
    from crypto_assets.ledger.progress import RunState, read_progress
    from crypto_assets.storage.database import Database

    done = threading.Event()

    def watch() -> None:
        days = size_bytes = 0
        with Database(url, connections=1) as database:
            before = {run.run_id for run in mine(database)}
            ready.set()
            while True:
                last = done.wait(POLL_S)
                for run in mine(database):
                    if run.run_id not in before:
                        paused = run.reason if run.state is RunState.PAUSED else ""
                        progress(Step(run.done - days, run.bytes - size_bytes, paused))
                        days, size_bytes = run.done, run.bytes
                if last:
                    return

    def mine(database: Database) -> list[Any]:
        with contextlib.suppress(errors.PostgresUnavailable):  # the run itself reports it
            return read_progress(database, host=socket.gethostname(), pid=os.getpid())
        return []

    ready = threading.Event()
    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    ready.wait(timeout=5)
    try:
        yield
    finally:
        done.set()
        watcher.join(timeout=0.5)
