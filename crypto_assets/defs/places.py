"""Finds the lake and the database from the environment. It imports no Dagster, so that read-only commands start fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crypto_assets.config.environment import settings
from crypto_assets.storage import postgres_url

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake


def configured_lake(url: str | None = None) -> Lake:
    """Return the lake; S3 is reached through dagster-aws' S3Resource, with the usual AWS_* variables.

    Args:
        url: its checked URL; by default the environment's.
    """
    from crypto_assets.storage.lake import Lake

    return Lake(url or settings().lake, s3_client=_s3_client)


def configured_url(url: str | None = None, *, make: bool = True) -> str:
    """Return the URL of a database with its tables; starts the embedded server if no URL is set.

    Args:
        url: the checked URL of a server; by default the environment's.
        make: whether an embedded server may be created if there is none.

    Raises:
        ConfigError: a connection pooler that does not keep sessions.
        NothingCollected: there is no server, and `make` is false.
        PostgresUnavailable: the server does not answer.
    """
    from crypto_assets.storage.migrations import migrate

    found = url or postgres_url(settings(), make=make)
    migrate(found)
    return found


@contextmanager
def configured_ledger(*, make: bool = True) -> Iterator[Ledger]:
    """Yield the ledger with its tables up to date; `make` and errors as for `configured_url`."""
    from crypto_assets.ledger.partitions import Ledger

    with Ledger(configured_url(make=make)) as ledger:
        yield ledger


def _s3_client() -> Any:
    # Importing dagster_aws costs 1.5 CPU seconds; a lake in a folder does not need it.
    import boto3
    from botocore.config import Config
    from dagster_aws.s3 import S3Resource

    from crypto_assets.storage.bucket import CONNECT_TIMEOUT_S, READ_TIMEOUT_S

    made = S3Resource().get_client()
    # S3Resource has no timeouts: each request would wait five times a minute for a hanging bucket, without a message. The
    # store retries by itself.
    own = Config(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 1})
    return boto3.client("s3", config=made.meta.config.merge(own), region_name=made.meta.region_name)
