"""Create the files of a new project, for `crypto-assets init`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours

FILES: Mapping[str, str] = {
    "collection.yaml": "what to collect; edit this",
    "dagster.yaml": "settings of the Dagster instance",
    "workspace.yaml": "where `dagster dev` finds the assets",
}
"""Names of the files of a project, with their purpose."""

_IGNORED = "# Collected data, the embedded Postgres and logs.\n.crypto_assets/\n"


def make_project(folder: Path) -> list[str]:
    """Write the missing files of a project into a folder; return their names. Existing files stay unchanged.

    Raises:
        ConfigError: the folder cannot be created or written, or a folder or a link to nothing is in the place of a file;
            then nothing is written.
    """
    try:
        for name in FILES:
            _require_free_or_file(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        made = [name for name in FILES if _write_new(folder / name, _default(name))]
        if made:
            _write_new(folder / ".gitignore", _IGNORED)
    except OSError as error:
        raise_if_ours(error)
        raise ConfigError(f"{folder}: expected a writable folder, found: {error.strerror or error}") from None
    return made


def _require_free_or_file(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        found = f"a link to nothing ({path.readlink()}); remove or mend it"
    elif path.exists() and not path.is_file():
        found = f"{'a folder' if path.is_dir() else 'no ordinary file'}; move it away"
    else:
        return
    raise ConfigError(f"{path}: expected a file or nothing, found {found}")


def _default(name: str) -> str:
    return (files("crypto_assets.config") / "defaults" / name).read_text(encoding="utf-8")


def _write_new(path: Path, text: str) -> bool:
    """Write a file unless it exists, and return whether it was written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
