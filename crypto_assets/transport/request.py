"""One request over all of its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crypto_assets.errors import CryptoAssetsError
from crypto_assets.machine.backoff import backoff_s
from crypto_assets.sources.limits import Endpoint
from crypto_assets.text.urls import host_of
from crypto_assets.transport.body import Body
from crypto_assets.transport.retry import Decision, Retry, WaitUntil, decide

if TYPE_CHECKING:
    from crypto_assets.transport.guard import Permit


@dataclass(slots=True)
class RequestState:
    """The parameters of a `get`, and its state so far."""

    method: str
    url: str
    host: str
    params: Mapping[str, str] | None
    headers: Mapping[str, str] | None
    endpoint: Endpoint
    body: Body
    attempts: int
    """The most attempts."""
    is_last_attempt: bool = False
    """Whether no attempt follows, whatever `attempts` says."""
    at: str = ""
    """The URL of the last request: a redirect may have led to another host."""
    permit: Permit | None = None
    error: CryptoAssetsError | None = None

    @property
    def shown(self) -> str:
        """The URL for a message, with the host that actually answered."""
        host = host_of(self.at or self.url)
        return self.url if host == self.host else f"{self.url} (redirected to {host})"

    def decision(self, error: BaseException) -> Decision:
        """Return what to do about an error of an attempt."""
        is_rest = self.endpoint.budget not in ("archive", "listing")
        return decide(error, exchange=self.endpoint.exchange, rest=is_rest)

    def wait_s(self, error: CryptoAssetsError, attempt: int) -> float | None:
        """Return the seconds between a failed attempt (from 1) and the next one; None if there is no next one."""
        if self.is_last_attempt or attempt >= self.attempts or self.body.overdue:
            return None
        match self.decision(error):
            case Retry():
                return backoff_s(attempt)
            case WaitUntil(seconds=seconds):
                # The guard makes the next attempt wait for the pause, or says that it is too long.
                return backoff_s(attempt) if seconds is None else 0.0
            case _:
                return None
