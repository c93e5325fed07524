"""The exchanges, one file each; a module here with an `EXCHANGE` is found by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol

from crypto_assets.model import Series
from crypto_assets.sources.limits import Limit
from crypto_assets.sources.rest_facts import Call, Cursor, Rest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Call", "Cursor", "Exchange", "Rest", "get", "names"]


class Exchange(Protocol):
    """What a module of this folder says about its exchange. Nothing here touches the network."""

    name: str
    archive_url: str
    listing_url: str
    rest_url: str
    hosts: frozenset[str]
    """All hosts of the exchange: one of them may redirect a request to another of them, and to no other host."""
    limits: Mapping[str, Sequence[Limit]]
    """By budget of one address of ours; `archive` and `listing` are two of them. None: unlimited."""
    listing_version: int
    """Of S3's ListObjects: 1 goes on by marker, 2 by continuation token."""

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        """Return the datasets of a market type as collection.yaml names them; empty for an unknown market type."""

    def exchange_symbol(self, symbol: str) -> str:
        """Return the exchange's own text for a unified symbol: `BTC/USDT:USDT` → `BTCUSDT`."""

    def expires_at(self, symbol: str) -> datetime | None:
        """Return when a contract ends by its own name, or None for one that does not say it."""

    def prefixes(self, series: Series, symbol: str) -> list[str]:
        """Return the listing prefixes that hold the objects of one symbol, the preferred one first."""

    def universe_prefix(self, series: Series) -> str:
        """Return the prefix whose child prefixes are the exchange symbols of the series."""

    def key(self, prefix: str, series: Series, symbol: str, day: date) -> str:
        """Return the key of the object under one of `prefixes` that holds `day`, whether it exists or not."""

    def period(self, key: str) -> tuple[date, date]:
        """Return the first and last day that an object covers; raises ValueError for a key that is not data."""

    def checksum_key(self, key: str) -> str | None:
        """Return the key of the published SHA-256, or None where the exchange publishes none."""

    def usual_delay(self, series: Series) -> timedelta:
        """Return how long after the end of its period an object usually appears, at the earliest."""

    def expected_by(self, series: Series, day: date) -> datetime:
        """Return the instant after which a day that is not published counts as missing, not as pending."""

    def parse(self, series: Series, key: str, content: bytes) -> pa.Table:
        """Return all rows of one archive object in the columns of the dataset, in file order.

        Raises:
            MalformedFile: the bytes are not what the key promises.
        """

    def counted_weight(self, budget: str, headers: Mapping[str, str]) -> tuple[int, float] | None:
        """Return what an answer says was used in the calendar window, and its length in seconds; None if it does not say."""

    def rest(self, series: Series) -> Rest | None:
        """Return how the series is asked for over REST, or None where it cannot be."""


@cache
def _all() -> dict[str, Exchange]:
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return {module.EXCHANGE.name: module.EXCHANGE for module in modules if hasattr(module, "EXCHANGE")}


def names() -> tuple[str, ...]:
    """Return the ccxt ids of all exchanges that this package knows."""
    return tuple(sorted(_all()))


def get(name: str) -> Exchange:
    """Return one exchange; raises KeyError for an unknown name."""
    return _all()[name]
