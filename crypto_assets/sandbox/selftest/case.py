"""A case of the selftest: a fault, and what the engine promises in response."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from crypto_assets.model import State
from crypto_assets.sandbox.selftest import store_damage
from crypto_assets.sandbox.selftest.scenes import THREE_DAYS, Scene, Where
from crypto_assets.sandbox.selftest.store_damage import Happens

BAD = THREE_DAYS.days[1]
"""The day concerned by a fault of one file."""

FILE = f"*-{BAD}.zip"

STILL = datetime(2024, 1, 2, 8, tzinfo=UTC), datetime(2024, 1, 2, 11, tzinfo=UTC)
"""The span without trades, if an incident is expected."""

AVAILABLE, PROVISIONAL, DEGRADED = State.AVAILABLE, State.PROVISIONAL, State.DEGRADED
MISSING, PENDING, CORRECTED, NO_DATA = State.MISSING, State.PENDING, State.CORRECTED, State.NO_DATA


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and the right response.

    Args:
        faults: in the form of `crypto-assets sandbox --fault`.
        states: the right ones for the days concerned; all other days must be `available`, or `no_data` if the exchange
            has no data for them.
        says: one of these words must be in the reason of a day that is not `available`, or was not renewed.
        first, last: the days concerned; `None` means BAD alone.
        stored: the days are collected before the fault begins.
        publishes: the fault that produces the rows that the exchange truly publishes meanwhile; a stored day that is not
            renewed from them must say why.
        in_order: unordered rows are stored in the order of time and id, repeated rows once.
        happens: damage to our own stores between two collections; it must be noticed, and then `fill` repairs it.
        refused: words of the error that refuses collecting after that, until somebody accepts the lake.
        fill: after the fault, collect only the days that `fill` selects.
        down: the host itself refuses connections.
        rates: limits of the exchange meanwhile, in the form of `--limit`.
        rest: the REST API may be asked for data missing from the archive.
        datasets: those concerned; default: all of the scene.
        incidents: expected for the hours without trades, as (kind, symbol); an empty symbol means the whole market.
            None: any.
        marks: checks that the rows of a complete day concerned must fail, because the day reports their fault.
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
        """Return whether the damage to our stores removes the rows of a day."""
        return bool(self.says) and self.concerns(where)

    @property
    def loses_files(self) -> bool:
        """Whether the damage to our stores concerns files of the lake."""
        return self.happens is not None and self.happens is not store_damage.empty_warehouse

    @property
    def fault_names(self) -> set[str]:
        return {fault.partition(":")[0] for fault in self.faults} | ({"limit"} if self.rates else set())

    @property
    def slow(self) -> bool:
        return self.rest or not self.fault_names.isdisjoint(("hang", "drip", "http-418", "http-429", "http-429-date"))


def one_of(*states: State) -> frozenset[State]:
    return frozenset(states)
