"""Shared parts of the public functions: the ledger, the lake and the collection of a home, and their filters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from crypto_assets.config.collection import Collection, load_collection
from crypto_assets.config.environment import at_home, settings_at_start
from crypto_assets.errors import ConfigError, CryptoAssetsError, OtherOriginWarning
from crypto_assets.ledger.day_records import database_that_is_there
from crypto_assets.ledger.origins import other_origins
from crypto_assets.ledger.symbol_rules import load_known_collection
from crypto_assets.storage import nothing_collected, postgres_url
from crypto_assets.storage.database import Database
from crypto_assets.storage.patience import outlast
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

T = TypeVar("T")


def today() -> date:
    """Return the current UTC day."""
    return datetime.now(UTC).date()


@contextmanager
def of_home(home: Any) -> Iterator[None]:
    """Use a home within the block; every error gets a note with the home that was used.

    Raises:
        ConfigError: the home has neither a lake nor a database, none is named elsewhere, and there is no collection.yaml.
        NothingCollected: the same, with a collection.yaml.
    """
    with at_home(home):
        try:
            _require_stores()
            yield
        except CryptoAssetsError as error:
            with suppress(ConfigError):  # the environment itself may be wrong; then the error says so
                error.add_note(f"({settings_at_start().home_in_words})")
            raise


def _require_stores() -> None:
    """Raise an error if there is neither a lake nor a database: a wrong folder must not look like missing days."""
    from crypto_assets.storage.embedded_postgres import is_made

    now = settings_at_start()
    if now.lake_url or now.postgres_url or (now.home / "lake").is_dir() or is_made(now.home):
        return
    raise nothing_collected(now)


def home_facts() -> dict[str, str]:
    """Return the facts about the home for an answer: its path, and how it was found."""
    now = settings_at_start()
    return {"home": str(now.home), "home_found": now.home_found}


def from_ledger(use: Callable[[Ledger], T]) -> T:
    """Return the result of `use` on the ledger; creates no database.

    Raises:
        NothingCollected: there is no database here.
        PostgresUnavailable: it does not answer.
    """
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.migrations import migrate

    url = postgres_url(settings_at_start(), make=False)
    migrate(url)
    with Ledger(url) as ledger:
        return outlast(use, ledger)


_TOLD: set[tuple[str, str]] = set()
"""Homes and exchanges whose origins this process has read; one whose reading failed is tried again."""


def warn_other_origins(exchanges: Iterable[str] | None = None, *, stacklevel: int = 3) -> None:
    """Warn, once for each home and exchange, if stored days came from another archive than collection.yaml names.

    Without a collection or a database nothing is known about it.

    Args:
        exchanges: default: all of the collection.
        stacklevel: of the warning, as `warnings.warn` counts from here.
    """
    now = settings_at_start()
    given = None if exchanges is None else frozenset(exchanges)
    asked = {(str(now.home), name) for name in given or ("",)}
    if asked <= _TOLD or not now.config.exists():
        return
    lines: list[str] = []
    with suppress(CryptoAssetsError):  # the function that reads reports it
        if (url := database_that_is_there(now)) is not None:
            with Database(url, connections=1) as database:
                lines = other_origins(database, load_collection(now.config), given)
            _TOLD.update(asked)
    for line in lines:
        warnings.warn(visible(line), OtherOriginWarning, stacklevel)


def the_lake() -> Lake:
    from crypto_assets.storage.lake import Lake

    lake = Lake(settings_at_start().lake)
    lake.require_known_format()
    return lake


def the_collection() -> Collection:
    """Return collection.yaml; without the file an empty collection, which leaves everything stored outside of it."""
    path = settings_at_start().config
    return load_known_collection(path) if path.exists() else Collection.empty()


def names_of(name: str, given: Any) -> list[str] | None:
    """Return the values of a filter, given as one text or a list of texts; None: no filter."""
    if given is None:
        return None
    values = [given] if isinstance(given, str) else list(given) if hasattr(given, "__iter__") else [given]
    if not values or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name}: expected text or a list of texts, found {given!r}")
    return values
