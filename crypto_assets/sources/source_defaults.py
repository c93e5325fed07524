"""The base of all sources: what most of them have in common. A source states only what is its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from crypto_assets.sources.limits import FIRST_BAN_S

if TYPE_CHECKING:
    from crypto_assets.sources.instruments import InstrumentQuery

_DELIVERY_HOUR = 8
"""Dated contracts of Binance, Bybit and OKX are delivered at 08:00 UTC of the day in their symbol (their documentations of
delivery futures)."""


class SourceDefaults:
    """The usual facts of a source; see `crypto_assets.sources.Source` for what each means."""

    archive_url = ""
    listing_url = ""
    bans: frozenset[int] = frozenset({403})
    archive_bans: frozenset[int] = frozenset()
    ban_words: tuple[str, ...] = ()
    passing_words: tuple[str, ...] = ()
    first_ban_s = FIRST_BAN_S
    banned_together: frozenset[str] = frozenset()
    withheld: frozenset[int] = frozenset()
    unknown_symbol_words: tuple[str, ...] = ()

    def banned_with(self, budget: str) -> frozenset[str]:
        return self.banned_together if budget in self.banned_together else frozenset({budget})

    def expires_at(self, symbol: str) -> datetime | None:
        """Return the end of a contract from the date in its symbol; None without one, as on spot."""
        _, dash, expiry = symbol.partition(":")[2].partition("-")
        try:
            return datetime.strptime(expiry, "%y%m%d").replace(hour=_DELIVERY_HOUR, tzinfo=UTC) if dash else None
        except ValueError:  # 241399 is not a day
            return None

    def instruments(self, market_type: str) -> InstrumentQuery | None:  # noqa: ARG002
        return None

    def counted_weight(self, budget: str, headers: Mapping[str, str]) -> tuple[int, float] | None:  # noqa: ARG002
        return None
