"""Collecting through Dagster in this process, on the instance that the UI shows. Used by `demo`, `collect` and `fill`."""

import contextlib
import gc
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from crypto_assets import errors
from crypto_assets.config import Collection, SeriesEntry, settings
from crypto_assets.ending import ending_in_time
from crypto_assets.errors import ConfigError
from crypto_assets.model import Series

POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Request:
    """Some symbols of one entry over consecutive days, both ends included.

    `checks_only`: stored days are checked again and nothing is collected; `compare` names the sources that they are compared
    with too (`crypto_assets.quality.asking.SOURCES`).
    """

    entry: SeriesEntry
    pairs: tuple[tuple[Series, str], ...]
    first: date
    last: date
    checks_only: bool = False
    compare: tuple[str, ...] = ()

    @property
    def days(self) -> int:
        """Partitions in all: symbols × days."""
        return len(self.pairs) * ((self.last - self.first).days + 1)


def use_dagster_home() -> Path:
    """Return the folder with dagster.yaml, and tell Dagster in this process and its children.

    Raises:
        ConfigError: DAGSTER_HOME is unset and the working directory has no dagster.yaml.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named).absolute() if named else Path.cwd()
    if not (home / "dagster.yaml").is_file():
        raise ConfigError(
            f"{home}: expected a dagster.yaml there, found none; run in the project's folder or set DAGSTER_HOME to it"
        )
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def execute(collection: Collection, requests: Sequence[Request], progress: Callable[[int, str], None]) -> None:
    """Run each request as one Dagster run; what killed commands left behind in Dagster is mended first.

    `progress` is called now and then with the days done since the last call, and with the reason while the run is paused.

    What became of the days is in the ledger afterwards, also where a run failed.

    Raises:
        ConfigError: no dagster.yaml.
        KeyboardInterrupt: SIGINT, SIGTERM or a cancel; the run is CANCELED.
        CryptoAssetsError: the database or the lake failed, which concerns every day.
    """
    use_dagster_home()
    ending = ending_in_time()
    # Dagster costs 1.5 CPU seconds to import; `--help` and wrong arguments do not wait for it.
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

    from crypto_assets.assets import COMPARE_TAG
    from crypto_assets.automation import assets_of
    from crypto_assets.collection.records.ledger import Ledger
    from crypto_assets.instance.process import PROCESS_TAG, this_process
    from crypto_assets.partitions import lake_key
    from crypto_assets.recovery import end_dead_runs, report_unreported
    from crypto_assets.resources import PostgresResource

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    repository = ReconstructableRepository.for_module("crypto_assets.definitions", "defs")
    url = PostgresResource().resolved_url()
    definition = repository.get_definition()
    # Half a million objects of imported modules live as long as the process; nobody need look through them again.
    gc.freeze()
    with dg.DagsterInstance.get() as instance:
        ending_in_time(lambda: _cancel_mine(instance))
        end_dead_runs(instance)
        with Ledger(url) as ledger:
            report_unreported(instance, collection, ledger)
        for request in requests:
            keys = assets_of(collection, request.entry, request.pairs)
            job = definition.get_implicit_job_def_for_assets(keys)
            if job is None:
                raise ConfigError(
                    f"expected assets of one entry, found {', '.join(key.to_user_string() for key in keys)}"
                )
            wanted, selection = ReconstructableJob(repository, job.name), keys if not request.checks_only else None
            if request.checks_only:
                lakes = {lake_key(series, symbol) for series, symbol in request.pairs}
                checks = {check for check in job.asset_layer.asset_graph.asset_check_keys if check.asset_key in lakes}
                wanted = wanted.get_subset(asset_selection=set(), asset_check_selection=checks)
            with _watched(url, progress):
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
            if ending.is_set():  # between two runs Dagster lets a signal go unnoticed
                raise KeyboardInterrupt


def _cancel_mine(instance: Any) -> None:
    """Mark the run of this process as cancelled: it is about to end without Dagster's own last events."""
    from dagster import RunsFilter
    from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

    from crypto_assets.instance.process import PROCESS_TAG, this_process

    mine = RunsFilter(tags={PROCESS_TAG: this_process()}, statuses=IN_PROGRESS_RUN_STATUSES)
    for run in instance.get_runs(mine, limit=1):
        instance.report_run_canceled(run)


def _raise_unexpected(result: Any) -> None:
    """Raise what ended a run, unless it is the Failure that names incomplete days; those are in the ledger.

    Raises:
        KeyboardInterrupt: Ctrl-C, which Dagster has turned into an error of its own.
        CryptoAssetsError: anything else, in our own words where the chain of causes has any.
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
            # Dagster's wrapper comes first, then our error, then what it was raised from.
            ours = [error for error, name in zip(chain, names, strict=True) if hasattr(errors, name)]
            others = [error for error, name in zip(chain, names, strict=True) if not name.startswith("Dagster")]
            message = next(
                (error.message.strip() for error in ours + others), "the run failed; the Dagster UI shows why"
            )
            raise errors.CryptoAssetsError(message.partition(": ")[2] or message, run_id=result.run_id)


@contextlib.contextmanager
def _watched(url: str, progress: Callable[[int, str], None]) -> Iterator[None]:
    """Call `progress` as `execute` says with what the run that this process begins writes of itself, until the block ends."""
    from crypto_assets.collection.records.database import Database
    from crypto_assets.collection.records.progress import RunState, read_progress

    done = threading.Event()

    def watch() -> None:
        seen = 0
        with Database(url, connections=1) as database:
            before = {run.run_id for run in mine(database)}
            ready.set()
            while True:
                last = done.wait(POLL_S)
                for run in mine(database):
                    if run.run_id not in before:
                        progress(run.done - seen, run.reason if run.state is RunState.PAUSED else "")
                        seen = run.done
                if last:
                    return

    def mine(database: Database) -> list[Any]:
        with contextlib.suppress(errors.PostgresUnavailable):  # the run itself will say so
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


def select(
    collection: Collection,
    *,
    exchange: str | None = None,
    market_type: str | None = None,
    symbols: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> list[tuple[SeriesEntry, tuple[tuple[Series, str], ...]]]:
    """Return the entries, series and symbols of a collection that the filters leave; empty filters leave all.

    Raises:
        ConfigError: a filter that matches nothing, naming what there is.
    """
    from crypto_assets.model import path_symbol

    known_datasets = {name for entry in collection.series for name in entry.datasets}
    _require("--exchange", [exchange] if exchange else [], {entry.exchange for entry in collection.series})
    _require("--market-type", [market_type] if market_type else [], {entry.market_type for entry in collection.series})
    _require("--dataset", datasets, known_datasets)
    # `BTC/USDT` means that pair in every market type, `BTC/USDT:USDT` only the contract.
    wanted = {symbol.strip().upper().replace("/", "-") if ":" not in symbol else symbol.upper() for symbol in symbols}
    there = {symbol for entry in collection.series for symbol in entry.symbols}
    _require("--symbol", sorted(wanted), there | {path_symbol(symbol) for symbol in there})
    result = []
    for entry in collection.series:
        if (exchange and entry.exchange != exchange) or (market_type and entry.market_type != market_type):
            continue
        pairs = tuple(
            (series, symbol)
            for series in entry.series
            for symbol in entry.symbols
            if (not wanted or path_symbol(symbol) in wanted or symbol in wanted)
            and (not datasets or series.dataset in datasets)
        )
        if pairs:
            result.append((entry, pairs))
    if not result:
        raise ConfigError(
            f"{settings().config}: nothing there matches all the filters together; see `crypto-assets status`"
        )
    return result


def _require(option: str, values: Sequence[str], known: set[str]) -> None:
    from difflib import get_close_matches

    for value in values:
        if value not in known:
            close = get_close_matches(value, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there is: {', '.join(sorted(known)[:12])}"
            raise ConfigError(f"{option} {value}: not in {settings().config}; {hint}")


def yesterday(today: date) -> date:
    return today - timedelta(days=1)


def plan(
    collection: Collection,
    selected: Sequence[tuple[SeriesEntry, tuple[tuple[Series, str], ...]]],
    first: date,
    last: date,
    today: date,
) -> list[Request]:
    """Return one request for each entry over the days from first to last; today only where REST is asked.

    Days after an entry's end are left out.

    Raises:
        ConfigError: last before first, a day that has not ended, days before an entry's start, or after every entry's end.
    """
    if last < first:
        raise ConfigError(f"--from {first} --to {last}: expected the first day before the last")
    ends = [last if last < today or collection.asks_rest(entry) else yesterday(today) for entry, _ in selected]
    if last > today or (last == today and today not in ends):
        hint = (
            "; only entries with `rest` and the exchange's own hosts, or a rest_url, have today"
            if last == today
            else ""
        )
        raise ConfigError(
            f"--to {last}: the day has not ended in UTC; the last one that has is {yesterday(today)}{hint}"
        )
    requests = [
        Request(entry, pairs, max(first, entry.start), entry.until(end))
        for (entry, pairs), end in zip(selected, ends, strict=True)
        if entry.until(end) >= max(first, entry.start)
    ]
    if not requests and all(entry.until(first) < first for entry, _ in selected):
        early = ", ".join(f"{entry.exchange} {entry.market_type} {entry.span}" for entry, _ in selected)
        raise ConfigError(f"--from {first}: {settings().config} ends earlier ({early}); set a later `end` there")
    if not requests or any(first < entry.start for entry, _ in selected):
        late = ", ".join(
            f"{entry.exchange} {entry.market_type} from {entry.start}" for entry, _ in selected if first < entry.start
        )
        raise ConfigError(f"--from {first}: {settings().config} starts later ({late}); set an earlier `start` there")
    return requests


def check_symbols(collection: Collection, requests: Sequence[Request]) -> None:
    """Ask the archive for every symbol that was never stored, so that a misspelt one is found before anything runs.

    A host that does not answer is not an error here: the run will say so for each day.

    Raises:
        UnknownSymbol: the archive lists nothing for a symbol.
    """
    from crypto_assets import exchanges
    from crypto_assets.collection.archive.locate import require_listed
    from crypto_assets.collection.pool import DaemonPool
    from crypto_assets.collection.records.control import ALL, Controls, of_exchange
    from crypto_assets.collection.records.ledger import Ledger
    from crypto_assets.collection.transport.http import Client
    from crypto_assets.errors import HostRefused, HostUnreachable, ListingError
    from crypto_assets.resources import PostgresResource

    with Ledger(PostgresResource().resolved_url()) as ledger:
        paused = {one.scope for one in Controls(ledger).read() if one.action == "pause"}
        known = {
            (record.exchange, record.market_type, record.symbol, record.dataset)
            for record in ledger.summary()
            if record.rows
        }

    def ask(pair: tuple[Series, str]) -> None:
        series, symbol = pair
        exchange = exchanges.get(series.exchange)
        url = collection.urls(series.exchange).listing_url or exchange.listing_url
        with contextlib.suppress(HostRefused, HostUnreachable, ListingError):
            require_listed(client, exchange, url, series, symbol)

    pairs = {
        (series, symbol)
        for request in requests
        for series, symbol in request.pairs
        if (series.exchange, series.market_type, symbol, series.dataset) not in known
        and not paused & {ALL, of_exchange(series.exchange)}  # then the run waits too, and says so
    }
    # The run asks again, with patience: a host that is down must not be waited for twice.
    with Client(timeout_s=10.0, attempts=1) as client, DaemonPool(8, "symbols") as pool:
        for _ in pool.map(ask, sorted(pairs)):
            pass
