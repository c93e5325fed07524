"""Storage of partitions: the lake (Parquet) and the warehouse (Postgres)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crypto_assets.config.environment import Settings


def postgres_url(settings: Settings, *, make: bool = True) -> str:
    """Return the URL of Postgres: the configured server, else the embedded one, started if needed.

    Args:
        make: create an embedded server if there is none; commands that only read pass False.

    Raises:
        ConfigError: the home cannot be written.
        NothingCollected: there is no embedded server yet, and `make` is false.
        PostgresUnavailable: the embedded server cannot be started. (A configured server is not tried here.)
    """
    if settings.postgres_url:
        return settings.postgres_url
    from crypto_assets.config.home_folders import make_home
    from crypto_assets.storage.embedded_postgres import ensure_server, is_made

    if not make and not is_made(settings.home):
        raise nothing_collected(settings)
    make_home(settings.home)
    return ensure_server(settings.home, durable=settings.postgres_durable)


def nothing_collected(settings: Settings) -> Exception:
    """Return the error if nothing was collected here; ConfigError without a collection, or if another folder is meant."""
    from crypto_assets.config.project_folder import HOME
    from crypto_assets.errors import ConfigError, NothingCollected

    where = (
        f"no database under {settings.home} (CRYPTO_ASSETS_HOME decides where, "
        "CRYPTO_ASSETS_POSTGRES_URL names another server)"
    )
    if (settings.home / HOME).is_dir():
        return ConfigError(f"nothing was collected here: {where}; did you mean {settings.home / HOME}?")
    if not settings.config.is_file():
        return ConfigError(
            f"nothing was collected here: {where}, and no collection at {settings.config} (CRYPTO_ASSETS_CONFIG); run in the "
            "project's folder, or set these"
        )
    return NothingCollected(
        f"nothing was collected here: {where}; start with `crypto-assets collect` or `crypto-assets up`, or run this in the "
        "folder where you did"
    )
