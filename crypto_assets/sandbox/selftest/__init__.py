"""`crypto-assets selftest`: run every fault of an exchange against the real engine, on this machine only.

For each case of `cases.py` a sandbox exchange has a fault while the product's own pipeline collects a few days into a lake
and a database made for the test; or these stores lose rows behind the engine's back (`store_damage.py`). Then the fault is
switched off and the days are collected again, or filled as `fill` does. Lake, warehouse and ledger are read without the
engine (`evidence.py`) and compared with the exchange's published rows, value by value (`verdict.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from crypto_assets.errors import ConfigError
from crypto_assets.sandbox.selftest.case import Case
from crypto_assets.sandbox.selftest.cases import CASES
from crypto_assets.sandbox.selftest.rig import Rig, new_database
from crypto_assets.sandbox.selftest.verdict import Verdict

RIGS = 6
"""Concurrent cases. They spend most of their time waiting for answers that do not come."""


def cases_of(names: Sequence[str]) -> list[Case]:
    """Return the cases with these faults or names; all if none is given.

    Raises:
        ConfigError: no case has such a name.
    """
    known = {name for case in CASES for name in (case.name, *case.fault_names)}
    for name in names:
        if name not in known:
            raise ConfigError(f"--fault {name}: no such fault; expected one of {', '.join(sorted(known))}")
    return [case for case in CASES if not names or case.name in names or case.fault_names & set(names)]


def run_selftest(
    server_url: str, home: Path, cases: Sequence[Case], tell: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """Run cases and return their verdicts, in the order of the cases.

    Args:
        server_url: of any database on the Postgres server; the test's own databases are dropped at the end.
        home: an empty folder for the lakes.
        tell: called with each verdict when it is ready.

    Raises:
        PostgresUnavailable: the server does not answer.
    """
    count = min(RIGS, len(cases))
    free: SimpleQueue[Rig] = SimpleQueue()

    def run(case: Case) -> Verdict:
        rig = free.get()
        try:
            verdict = rig.run(case, home / case.name.replace(", ", "-").replace(" ", "-").replace("/", "-"))
        finally:
            free.put(rig)
        tell(verdict)
        return verdict

    with ExitStack() as stack:
        for url in stack.enter_context(new_database(server_url, count)):
            free.put(stack.enter_context(Rig(url)))
        # The slow ones first, so that they do not run alone at the end.
        order = sorted(range(len(cases)), key=lambda number: not cases[number].slow)
        with ThreadPoolExecutor(count, "selftest") as pool:
            verdicts = dict(zip(order, pool.map(run, [cases[number] for number in order]), strict=True))
    return [verdicts[number] for number in range(len(cases))]
