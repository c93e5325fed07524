"""What is true for a whole run: its stores, its name, its clock, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from crypto_assets.engine.timing import Timing
from crypto_assets.transport.guard import EGRESS

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the days of a run go. Warehouse and ledger are in one database: a day goes into both in one transaction."""

    lake: Lake
    warehouse: Warehouse
    ledger: Ledger


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Who asked for a run, and where it happens.

    `run_id` names the run in the ledger, in pauses and in the progress; without one it has a name of its own there. `kind`
    says for the progress who asked. `egress` names the address by which exchanges know this machine. `stop` ends the run
    when it is set. `timing` says how long requests wait, and how often they are tried. With `standing` a stored day is
    checked again only if something that its findings depend on has changed; without it every day is checked.
    """

    run_id: str | None = None
    kind: str = ""
    egress: str = EGRESS
    now: Callable[[], datetime] = utc_now
    stop: threading.Event = field(default_factory=threading.Event)
    timing: Timing = field(default_factory=Timing)
    standing: bool = False
