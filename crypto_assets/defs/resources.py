"""Dagster resources of the engine. Each holds a location; a value that is left out comes from the environment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field

from crypto_assets.config.environment import settings
from crypto_assets.defs.places import configured_lake, configured_url
from crypto_assets.errors import ConfigError
from crypto_assets.text import urls
from crypto_assets.text.urls import lake_url


class LakeResource(dg.ConfigurableResource):
    """The Parquet lake: a folder or s3://bucket/prefix."""

    url: str | None = Field(default=None, description="a folder or s3://bucket/prefix; unset: CRYPTO_ASSETS_LAKE_URL")

    def lake(self) -> Any:
        """Return the lake; S3 is reached through dagster-aws' S3Resource, with the usual AWS_* variables."""
        return configured_lake(_checked("LakeResource", self.url, lake_url))


def _checked(resource: str, url: str | None, check: Callable[[str], str]) -> str | None:
    """Return a URL from Dagster's configuration in normal form; raises ConfigError that names the resource."""
    if not url:
        return None
    try:
        return check(url)
    except ValueError as error:
        raise ConfigError(f"{resource}.url: {error}") from None


class PostgresResource(dg.ConfigurableResource):
    """The database with the warehouse and the ledger."""

    url: str | None = Field(
        default=None, description="postgresql://…; unset: CRYPTO_ASSETS_POSTGRES_URL, else embedded"
    )

    def resolved_url(self, *, make: bool = True) -> str:
        """Return the URL of a database with its tables; starts the embedded server if no URL is set.

        Args:
            make: whether an embedded server may be created if there is none.

        Raises:
            ConfigError: an invalid URL, or a connection pooler that does not keep sessions.
            NothingCollected: there is no server, and `make` is false.
            PostgresUnavailable: the server does not answer.
        """
        return configured_url(_checked("PostgresResource", self.url, urls.postgres_url), make=make)

    @contextmanager
    def warehouse(self) -> Iterator[Any]:
        """Yield the warehouse with its tables up to date."""
        from crypto_assets.storage.warehouse import Warehouse

        with Warehouse(self.resolved_url()) as warehouse:
            yield warehouse

    @contextmanager
    def ledger(self, *, make: bool = True) -> Iterator[Any]:
        """Yield the ledger with its tables up to date; `make` as for `resolved_url`."""
        from crypto_assets.ledger.partitions import Ledger

        with Ledger(self.resolved_url(make=make)) as ledger:
            yield ledger


class CollectorResource(dg.ConfigurableResource):
    """The load of a run: downloads in flight, all through one connection pool."""

    downloads: int | None = Field(
        default=None, ge=1, le=64, description="downloads in flight per run; unset: CRYPTO_ASSETS_DOWNLOADS or 12"
    )

    def in_flight(self) -> int:
        return self.downloads or settings().downloads

    def failure_limits(self, *, waits: bool) -> Any:
        """Return the limits on failures of a host: with `waits` the run waits for the host, otherwise it gives up at once."""
        from crypto_assets.engine.failure_streak import FailureLimits

        now = settings()
        return FailureLimits("pause" if waits else "stop", now.pause_after, now.patience_s)
