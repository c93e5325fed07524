"""A run of the engine in its own thread, so that a test can pause, resume and stop it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import date
from types import TracebackType
from typing import Any

from crypto_assets.engine.pipeline import Pipeline
from crypto_assets.engine.run_context import RunContext, Stores
from crypto_assets.engine.tally import Tally
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.pauses import Controls
from crypto_assets.ledger.progress import Progress, RunState, read_progress
from crypto_assets.storage.database import Database
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets_tests.waiting import wait_for
from crypto_assets_tests.workbench import Workbench


class Running:
    """Collects the entries of a workbench over some days; the run is ended with the block."""

    def __init__(self, work: Workbench, first: date, last: date, run_id: str = "run-1", **options: Any) -> None:
        self.work = work
        self.run_id = run_id
        self.stop = threading.Event()
        self.states: list[tuple[RunState, str]] = []
        self.tally: Tally | None = None
        self.error: BaseException | None = None
        self._database = Database(work.url, connections=2)
        self.controls = Controls(self._database)
        self._range = first, last
        self._kind = options.pop("kind", "")
        self._options = {"downloads": 4, "on_state": lambda *state: self.states.append(state), **options}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            with Warehouse(self.work.url) as warehouse, Ledger(self.work.url) as ledger:
                self.tally = Pipeline(
                    self.work.collection,
                    Stores(self.work.lake, warehouse, ledger),
                    RunContext(run_id=self.run_id, kind=self._kind, stop=self.stop),
                    **self._options,
                ).run(self.work.targets(*self._range))
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self._thread.join(60)
        self._database.close()

    def ended(self, timeout_s: float = 60) -> Running:
        """Return when the run is over."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the run is not over: {self.progress}"
        return self

    @property
    def progress(self) -> Progress:
        (found,) = read_progress(self._database, run_id=self.run_id)
        return found

    def until(self, state: RunState, timeout_s: float = 60) -> Progress:
        """Return the progress once the run is in a state."""

        def reached() -> Progress | None:
            found: Sequence[Progress] = read_progress(self._database, run_id=self.run_id)
            return found[0] if found and found[0].state is state else None

        return wait_for(f"the run is {state}", reached, timeout_s)  # type: ignore[no-any-return]

    def until_stored(self, days: int) -> None:
        wait_for(f"{days} days are stored", lambda: len(self.work.records()) >= days)
