"""One thing that goes wrong in the selftest, and what the engine has promised to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from crypto_assets.model import State
from crypto_assets.sandbox.selftest import store_damage
from crypto_assets.sandbox.selftest.scenes import THREE_DAYS, Scene, Where
from crypto_assets.sandbox.selftest.store_damage import Happens

BAD = THREE_DAYS.days[1]
"""The day that a fault of one file concerns."""

FILE = f"*-{BAD}.zip"

STILL = datetime(2024, 1, 2, 8, tzinfo=UTC), datetime(2024, 1, 2, 11, tzinfo=UTC)
"""From when to when nobody trades, where an incident is expected."""

AVAILABLE, PROVISIONAL, DEGRADED = State.AVAILABLE, State.PROVISIONAL, State.DEGRADED
MISSING, PENDING, CORRECTED, NO_DATA = State.MISSING, State.PENDING, State.CORRECTED, State.NO_DATA


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong.

    Args:
        faults: as `crypto-assets sandbox --fault` takes them.
        states: the right ones for the days concerned; all other days must be `available`, or `no_data` where the exchange
            has nothing of them.
        says: one of these words must be in the reason of a day that is not `available`, or was not renewed.
        first, last: the days concerned; `None` means BAD alone.
        stored: the days are collected before anything goes wrong.
        publishes: the fault that makes what the exchange truly publishes meanwhile; a stored day that is not renewed from
            it has to say why.
        in_order: rows in disorder are stored in the order of time and id, and rows that are there twice once.
        happens: what happens to our own stores between two collections; it must be noticed, and then `fill` mends it.
        refused: words with which collecting is refused after that, until somebody says that the lake is the right one.
        fill: only the days that `fill` takes are collected after the fault.
        down: the host itself refuses connections.
        rates: limits that the exchange keeps meanwhile, as `--limit` takes them.
        rest: the REST API may be asked for what is missing from the archive.
        datasets: those that are concerned; all of the scene by default.
        incidents: what is to be found of the hours that stand still, as (kind, symbol); the symbol is empty for all of the
            market. None: whatever is found.
        marks: checks that the rows of a complete day concerned must fail, for what is odd about them is said.
    """

    name: str
    faults: tuple[str, ...]
    states: frozenset[State]
    says: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    stored: bool = False
    publishes: str = ""
    in_order: bool = False
    happens: Happens | None = None
    refused: str = ""
    fill: bool = False
    down: bool = False
    rates: tuple[str, ...] = ()
    rest: bool = False
    datasets: tuple[str, ...] = ()
    incidents: frozenset[tuple[str, str]] | None = None
    marks: frozenset[str] = frozenset()
    scene: Scene = THREE_DAYS

    def concerns(self, where: Where) -> bool:
        if (self.datasets and where.dataset not in self.datasets) or where.symbol != self.scene.symbols[0]:
            return False
        if self.first is None:
            return where.day == BAD
        return self.first <= where.day <= (self.last or where.day)

    def loses(self, where: Where) -> bool:
        """Return whether what happens to our stores takes the rows of a day."""
        return bool(self.says) and self.concerns(where)

    @property
    def loses_files(self) -> bool:
        """Whether what happens to our stores happens to files of the lake."""
        return self.happens is not None and self.happens is not store_damage.empty_warehouse

    @property
    def fault_names(self) -> set[str]:
        return {fault.partition(":")[0] for fault in self.faults} | ({"limit"} if self.rates else set())

    @property
    def slow(self) -> bool:
        return self.rest or not self.fault_names.isdisjoint(("hang", "drip", "http-418", "http-429", "http-429-date"))


def one_of(*states: State) -> frozenset[State]:
    return frozenset(states)
