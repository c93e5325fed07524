"""`crypto-assets selftest`: everything an exchange can do wrong against the real engine, on this machine alone.

For each case of `cases.py` a sandbox exchange goes wrong while the product's own pipeline collects a few days into a lake
and a database that exist for the test only; or these lose rows behind its back (`stores.py`). Then the fault is lifted and
the days are collected again, or filled as `fill` does. What is in lake, warehouse and ledger is read without the engine
(`evidence.py`) and compared with what the exchange publishes, value by value (`verdict.py`).
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
"""Cases side by side. Most of their time they wait for something that does not come."""


def cases_of(names: Sequence[str]) -> list[Case]:
    """Return the cases of these faults, or with these names; all where none is given.

    Raises:
        ConfigError: a name that no case has.
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
        server_url: of any database of the Postgres to use; the test's own databases are dropped at the end.
        home: an empty folder for the lakes.
        tell: told of each verdict when it is there.

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
        # The slow ones first, so that they do not stand alone at the end.
        order = sorted(range(len(cases)), key=lambda number: not cases[number].slow)
        with ThreadPoolExecutor(count, "selftest") as pool:
            verdicts = dict(zip(order, pool.map(run, [cases[number] for number in order]), strict=True))
    return [verdicts[number] for number in range(len(cases))]
