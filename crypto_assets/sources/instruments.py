"""How to ask an exchange for its instruments. Types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from crypto_assets.model import Instrument
from crypto_assets.sources.feeds import Call


class InstrumentQuery(Protocol):
    """The request for the instruments of one market type, and its answers; numbers with a fraction are text in them."""

    @property
    def ccxt_id(self) -> str: ...

    @property
    def key_advice(self) -> str: ...

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        """Return ccxt's `urls['api']` for one host, as `QueryFeed.urls` does; not used for a call with a path of its own."""

    def call(self) -> Call:
        """Return the request for the first page."""

    def following(self, answer: Any) -> Call | None:
        """Return the request for the page after an answer; None if it was the last one."""

    def read(self, answer: Any) -> Sequence[Instrument]:
        """Return the instruments of an answer; raises BadContent if it is not what the exchange documents."""
