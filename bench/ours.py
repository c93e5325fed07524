"""The measured child: our own collecting, with timestamps where its parts begin and end.

python -m bench.ours prepare                 create every table, so that no measurement pays for it
python -m bench.ours cli STAMPS ARGUMENT…    `crypto-assets ARGUMENT…`, as a user runs it
python -m bench.ours engine STAMPS LAST_DAY  everything in collection.yaml through the pipeline alone, without Dagster

The product has no hooks for this; functions are wrapped here. CPU is the process's, all threads together, except inside
the reporter, whose thread is measured alone because downloads continue meanwhile.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any


class Stamps:
    """CPU seconds and monotonic time at named moments, and sums over the calls of a function."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inside = threading.local()
        self.cpu: dict[str, float] = {}
        self.clock: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Record a moment; only its first call counts."""
        self.cpu.setdefault(name, time.process_time())
        self.clock.setdefault(name, time.monotonic())

    def around(self, owner: Any, name: str, before: str | None, after: str | None = None) -> None:
        """Record the moments before and after calls of a function."""
        inner = getattr(owner, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            if before:
                self.mark(before)
            try:
                return inner(*args, **kwargs)
            finally:
                if after:
                    self.mark(after)

        setattr(owner, name, outer)

    def summed(self, owner: Any, name: str, total: str) -> None:
        """Sum the CPU of the calling thread over all calls of some functions; nested calls count once."""
        inner: Callable[..., Any] = getattr(owner, name)
        self.cpu.setdefault(total, 0.0)

        def outer(*args: Any, **kwargs: Any) -> Any:
            inside = getattr(self._inside, total, False)
            if inside:
                return inner(*args, **kwargs)
            setattr(self._inside, total, True)
            begin = time.thread_time()
            try:
                return inner(*args, **kwargs)
            finally:
                self.cpu[total] += time.thread_time() - begin
                setattr(self._inside, total, False)

        setattr(owner, name, outer)

    def write(self) -> None:
        self._path.write_text(json.dumps({"cpu": self.cpu, "clock": self.clock}))


def prepare() -> None:
    """Create the schemas of the product and of Dagster."""
    import dagster as dg

    from crypto_assets.defs.resources import PostgresResource

    PostgresResource().resolved_url()
    with dg.DagsterInstance.get() as instance:
        instance.get_runs(limit=1)


def command(stamps: Stamps, arguments: list[str]) -> None:
    """Run `crypto-assets`; end with its exit code."""
    from crypto_assets.machine.garbage import no_search_for_garbage

    with no_search_for_garbage():  # as the command itself imports them
        import dagster

        from crypto_assets import cli
        from crypto_assets.checks import contract  # noqa: F401  loaded here, so that no measured call pays for it
        from crypto_assets.defs import assets
        from crypto_assets.engine.pipeline import Pipeline
        from crypto_assets.engine.publication import cross_series, neighbour_days, publication_delay, publisher, storer

    stamps.around(dagster, "execute_job", "execute", "executed")
    stamps.around(assets, "plan", "first line")
    stamps.around(Pipeline, "run", "engine", "engine done")
    stamps.summed(assets.Reporter, "batch", "report")
    for owner, name in (
        (storer, "_validated"),
        (storer.Storer, "_near"),
        (storer.Storer, "_excuses"),
        (cross_series.Comparer, "findings"),
        (publication_delay.Delays, "findings"),
        (neighbour_days.Near, "seams"),
        (publisher, "_profiles_now"),
        (publisher, "_record_profiles"),
        (assets, "close_run"),
    ):
        stamps.summed(owner, name, "checks")
    stamps.summed(assets, "close_run", "closing")
    sys.argv = ["crypto-assets", *arguments]
    try:
        cli.main()
    finally:
        stamps.mark("end")
        stamps.write()


def engine(stamps: Stamps, last: date) -> None:
    """Collect the whole collection without Dagster."""
    from crypto_assets.config.collection import load_collection
    from crypto_assets.config.environment import settings
    from crypto_assets.engine.pipeline import Pipeline, Target
    from crypto_assets.engine.run_context import Stores
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.model import days_between
    from crypto_assets.storage import postgres_url
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.warehouse import Warehouse

    collection, url = load_collection(settings().config), postgres_url(settings())
    targets = [
        Target(series, symbol, tuple(days_between(entry.start, last)), entry.tables_of(series))
        for entry in collection.series
        for series in entry.series
        for symbol in entry.symbols
    ]
    with closing(Warehouse(url)) as warehouse, closing(Ledger(url)) as ledger:
        stamps.mark("engine")
        tally = Pipeline(collection, Stores(Lake(settings().lake), warehouse, ledger)).run(targets)
        stamps.mark("engine done")
    stamps.write()
    if tally.problems:
        raise SystemExit(f"{len(tally.problems)} days are incomplete, the first: {tally.problems[0]}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare"]:
            prepare()
        case ["cli", path, *arguments]:
            command(Stamps(Path(path)), arguments)
        case ["engine", path, last]:
            engine(Stamps(Path(path)), date.fromisoformat(last))
        case _:
            raise SystemExit(__doc__)
