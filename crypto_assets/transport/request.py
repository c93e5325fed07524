"""One request over all of its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crypto_assets.errors import CryptoAssetsError
from crypto_assets.sources.limits import Endpoint
from crypto_assets.text.urls import host_of
from crypto_assets.transport.body import Body

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
