"""Where partitions are kept: one file a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypto_assets.config.environment import Settings


def postgres_url(settings: Settings, *, make: bool = True) -> str:
    """Return the URL of the Postgres to use: the one that is named, else the embedded server, started if need be.

    Args:
        make: whether an embedded server may be made where there is none; what only looks makes nothing.

    Raises:
        ConfigError: the home cannot be written.
        NothingCollected: there is no embedded server yet, and `make` is false.
        PostgresUnavailable: the embedded server cannot be started. (A named server is not tried here.)
    """
    if settings.postgres_url:
        return settings.postgres_url
    from crypto_assets.config.environment import make_home
    from crypto_assets.storage.embedded_postgres import ensure_server, is_made

    if not make and not is_made(settings.home):
        raise _nothing(settings)
    make_home(settings.home)
    return ensure_server(settings.home, durable=settings.postgres_durable)


def _nothing(settings: Settings) -> Exception:
    """Return the error of a place where nothing was collected; ConfigError where the collection is missing too."""
    from crypto_assets.errors import ConfigError, NothingCollected

    where = (
        f"no database under {settings.home} (CRYPTO_ASSETS_HOME decides where, "
        "CRYPTO_ASSETS_POSTGRES_URL names another server)"
    )
    if not settings.config.is_file():
        return ConfigError(
            f"nothing was collected here: {where}, and no collection at {settings.config} (CRYPTO_ASSETS_CONFIG); run in the "
            "project's folder, or set these"
        )
    return NothingCollected(
        f"nothing was collected here: {where}; start with `crypto-assets collect` or `crypto-assets up`, or run this in the "
        "folder where you did"
    )
