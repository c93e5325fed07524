"""Create the folders that the settings name, or say which variable names one that cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

from crypto_assets.config.environment import PREFIX, Settings
from crypto_assets.errors import ConfigError
from crypto_assets.machine.private_folder import private_folder, private_folders
from crypto_assets.machine.shortage import raise_if_ours


def require_writable(place: Path, variable: str) -> None:
    """Raise ConfigError if a folder is not writable and cannot be created; `variable` sets its place."""
    there = next(part for part in (place, *place.parents) if part.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{place}: expected a writable folder, found that {there} is not writable; name another with {variable}"
        )


def make_home(home: Path, *, private: bool = False) -> None:
    """Create the folder for everything local, for its owner only, with the folder of Dagster inside.

    Args:
        private: the folder is inside another home; if it exists, it also becomes private to its owner.

    Raises:
        ConfigError: not writable, or `dagster` in it is a link or belongs to another account.
    """
    require_writable(home, f"{PREFIX}HOME")
    try:
        private_folders(home)
        for folder in (home, home / "dagster") if private else (home / "dagster",):
            private_folder(folder)
    except OSError as error:
        if isinstance(error, PermissionError) and error.errno is None:
            raise ConfigError(str(error)) from None
        raise_if_ours(error)
        raise ConfigError(
            f"environment variable {PREFIX}HOME: expected a folder that can be created, found {home}: {error.strerror}"
        ) from None


def require_places(now: Settings) -> None:
    """Create the home if needed; raises ConfigError if it, or a lake in a folder, is not writable."""
    make_home(now.home)
    if not now.lake.startswith("s3://"):
        require_writable(Path(now.lake), f"{PREFIX}LAKE_URL" if now.lake_url else f"{PREFIX}HOME")
