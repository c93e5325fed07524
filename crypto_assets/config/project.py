"""A new project: the files that every folder of ours begins with, as `crypto-assets init` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours

FILES: Mapping[str, str] = {
    "collection.yaml": "what is collected; edit it",
    "dagster.yaml": "settings of the Dagster instance",
    "workspace.yaml": "where `dagster dev` finds the assets",
}
"""Names of the files of a project, and what each is for."""

_IGNORED = "# What is collected, the embedded Postgres and logs.\n.crypto_assets/\n"


def make_project(folder: Path) -> list[str]:
    """Write the files of a project that are missing in a folder; returns their names. Files that are there stay as they are.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = [name for name in FILES if _write_new(folder / name, _default(name))]
        if made:
            _write_new(folder / ".gitignore", _IGNORED)
    except OSError as error:
        raise_if_ours(error)
        raise ConfigError(
            f"{folder}: expected a folder that can be written, found: {error.strerror or error}"
        ) from None
    return made


def _default(name: str) -> str:
    return (files("crypto_assets.config") / "defaults" / name).read_text(encoding="utf-8")


def _write_new(path: Path, text: str) -> bool:
    """Write a file where there is none, and return whether it was written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
