"""The settings of a whole run: its stores, its name, its clock, its stop event."""

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
    """The stores for the days of a run. Warehouse and ledger are in one database: a day goes to both in one transaction."""

    lake: Lake
    warehouse: Warehouse
    ledger: Ledger


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Who requested a run, and where it runs.

    `run_id` names the run in the ledger, in pauses and in the progress; without one, the run makes its own name there. `kind`
    is shown in the progress as who requested it. `egress` names the address that exchanges see. `stop` ends the run when
    set. `timing` has the timeouts and attempts of requests. With `standing` a stored day is checked again only if something
    that its findings depend on has changed; without it every day is checked.
    """

    run_id: str | None = None
    kind: str = ""
    egress: str = EGRESS
    now: Callable[[], datetime] = utc_now
    stop: threading.Event = field(default_factory=threading.Event)
    timing: Timing = field(default_factory=Timing)
    standing: bool = False
