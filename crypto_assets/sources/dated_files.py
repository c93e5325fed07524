"""The base of an archive with one file a day, or one a month, for each symbol, whose key says symbol and time."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Literal

from crypto_assets.model import Series, Span

_NAME, _STAMP = "SYMBOL", "STAMP"
_STAMPS = {"daily": r"(\d{4})-(\d{2})-(\d{2})", "monthly": r"(\d{4})-(\d{2})()"}


@dataclass(frozen=True)
class DatedFiles(ABC):
    """The daily or the monthly files of one series; `key` of a subclass gives their names."""

    series: Series
    name: Literal["daily", "monthly"]

    final = True
    bundles = False
    whole = False
    since = None

    @abstractmethod
    def key(self, name: str, stamp: str) -> str:
        """Return the key of a symbol's file; `stamp` is 2024-01-31 or 2024-01."""

    def is_ours(self, name: str) -> bool:  # noqa: ARG002  a folder may hold another market too
        """Return whether a name is of a symbol of the series."""
        return True

    def keys(self, name: str, day: date) -> tuple[str, ...]:
        return (self.key(name, day.isoformat() if self.name == "daily" else day.isoformat()[:7]),)

    def covers(self, key: str) -> Span:
        """Return the days of a file; raises ValueError for a key that is not a data file of the series."""
        match = self._key.fullmatch(key)
        if not match or not self.is_ours(match[1]):
            stamp = "YYYY-MM-DD" if self.name == "daily" else "YYYY-MM"
            raise ValueError(
                f"{key}: expected a key like {self.key(_NAME, stamp)} of a {self.series.market_type} symbol"
            )
        first = date(int(match[2]), int(match[3]), int(match[4] or 1))
        last = first if self.name == "daily" else first.replace(day=monthrange(first.year, first.month)[1])
        return Span.of_days(first, last)

    @cached_property
    def _key(self) -> re.Pattern[str]:
        """The form of a key; where it has the name several times, all must be equal."""
        form = re.escape(self.key(_NAME, _STAMP)).replace(_NAME, "([^/]+)", 1).replace(_NAME, r"\1")
        return re.compile(form.replace(_STAMP, _STAMPS[self.name]), re.ASCII)
