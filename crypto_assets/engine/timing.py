"""Timeouts and attempts for the requests of a run; the selftest uses shorter times than a run."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from crypto_assets.config.collection import Collection
from crypto_assets.transport.body import Pace
from crypto_assets.transport.breaker import FIRST_OPEN_S
from crypto_assets.transport.client import ATTEMPTS, TIMEOUT_S, Client
from crypto_assets.transport.guard import PATIENCE_S, Guard


@dataclass(frozen=True, slots=True)
class Timing:
    """The limits of one request, in seconds; each field is described where its default is."""

    timeout_s: float = TIMEOUT_S
    attempts: int = ATTEMPTS
    pace: Pace = field(default_factory=Pace)
    patience_s: float = PATIENCE_S
    first_open_s: float = FIRST_OPEN_S

    def guard(self, url: str, collection: Collection, egress: str) -> Guard:
        """Return the guard of a run whose ledger is in the Postgres of `url`."""
        return Guard(url, collection, egress=egress, patience_s=self.patience_s, first_open_s=self.first_open_s)

    def client(self, guard: Guard, downloads: int, stop: threading.Event) -> Client:
        """Return a client for this many downloads at once; its requests end when `stop` is set."""
        return Client(guard, downloads, timeout_s=self.timeout_s, attempts=self.attempts, pace=self.pace, stop=stop)
