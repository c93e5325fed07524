"""The exchanges, one file each; every module here with an `EXCHANGE` is found automatically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

from crypto_assets.model import Series
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.limits import Limit
from crypto_assets.sources.own_faults import Careful, own_faults
from crypto_assets.sources.rest_facts import Call, Cursor, Rest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Call", "Cursor", "Exchange", "Facts", "Rest", "facts", "get", "names", "parse", "rest"]


class Exchange(Protocol):
    """Facts about an exchange, declared by a module of this folder. Nothing here uses the network."""

    name: str
    archive_url: str
    listing_url: str
    rest_url: str
    hosts: frozenset[str]
    """All hosts of the exchange: one may redirect a request to another one of these, and to no other host."""
    limits: Mapping[str, Sequence[Limit]]
    """Limits by budget, for one of our addresses; `archive` and `listing` are two budgets. None: unlimited."""
    listing_version: int
    """Version of S3's ListObjects: 1 pages by marker, 2 by continuation token."""

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        """Return the datasets of a market type as collection.yaml names them; empty for an unknown market type."""

    def facts(self, series: Series) -> Facts:
        """Return what no file of the series tells about it."""

    def exchange_symbol(self, symbol: str) -> str:
        """Return the exchange's own text for a unified symbol: `BTC/USDT:USDT` → `BTCUSDT`."""

    def expires_at(self, symbol: str) -> datetime | None:
        """Return the end of a contract from its name, or None if the name has no end."""

    def prefixes(self, series: Series, symbol: str) -> list[str]:
        """Return the listing prefixes of one symbol's objects, the preferred one first."""

    def universe_prefix(self, series: Series) -> str:
        """Return the prefix whose child prefixes are the exchange symbols of the series."""

    def key(self, prefix: str, series: Series, symbol: str, day: date) -> str:
        """Return the key under one of `prefixes` for `day`, whether the object exists or not."""

    def period(self, key: str) -> tuple[date, date]:
        """Return the first and last day that an object covers; raises ValueError for a key that is not data."""

    def checksum_key(self, key: str) -> str | None:
        """Return the key of the published SHA-256, or None if the exchange publishes none."""

    def usual_delay(self, series: Series) -> timedelta:
        """Return how long after the end of its period an object usually appears at the earliest."""

    def mostly_by(self, series: Series) -> timedelta:
        """Return how long after the end of its period most objects have appeared; later ones are late, but not missing."""

    def expected_by(self, series: Series, day: date) -> datetime:
        """Return the instant after which an unpublished day counts as missing instead of pending."""

    def parse(self, series: Series, key: str, content: bytes) -> pa.Table:
        """Return all rows of one archive object in the columns of the dataset, in file order.

        Raises:
            MalformedFile: the bytes do not match the key.
        """

    def counted_weight(self, budget: str, headers: Mapping[str, str]) -> tuple[int, float] | None:
        """Return the used weight in the calendar window, from an answer, and the window's seconds; None if not given."""

    def rest(self, series: Series) -> Rest | None:
        """Return how to request the series over REST, or None if that is not possible."""


@cache
def _all() -> dict[str, Exchange]:
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return {module.EXCHANGE.name: module.EXCHANGE for module in modules if hasattr(module, "EXCHANGE")}


def names() -> tuple[str, ...]:
    """Return the ccxt ids of all known exchanges."""
    return tuple(sorted(_all()))


def get(name: str) -> Exchange:
    """Return one exchange; raises KeyError for an unknown name."""
    return _all()[name]


def facts(series: Series) -> Facts:
    """Return the facts of a series; raises KeyError for an unknown exchange."""
    return get(series.exchange).facts(series)


def parse(series: Series, key: str, content: bytes) -> pa.Table:
    """Return all rows of one archive object, as `Exchange.parse` does.

    Raises:
        MalformedFile: the bytes do not match the key; SourceFault: the exchange's module failed on them.
    """
    with own_faults(series.exchange, key):
        return get(series.exchange).parse(series, key, content)


def rest(series: Series) -> Rest | None:
    """Return how to request a series over REST, or None if that is not possible.

    Its methods raise SourceFault where the exchange's module fails.
    """
    found = get(series.exchange).rest(series)
    return None if found is None else cast(Rest, Careful(found, series.exchange, f"REST of {series}"))
