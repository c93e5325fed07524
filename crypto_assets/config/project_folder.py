"""Find the folder of the project that a process works on: the working directory, or the nearest project above it.

A folder is a project if it has `.crypto_assets` or `collection.yaml`; the three names below are next to each other in it.
Files of another account in a folder above are never used: its collection.yaml sets the requested hosts, and its home
the place of files. Such a folder is skipped, and a line reports it. A folder above that cannot be entered is skipped too.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from crypto_assets.errors import ConfigError

HOME, COLLECTION, DAGSTER = ".crypto_assets", "collection.yaml", "dagster.yaml"


@dataclass(frozen=True, slots=True)
class ProjectFolder:
    """A project's folder, the working directory where the search began, and a line for each skipped folder."""

    path: Path
    start: Path
    passed_over: tuple[str, ...] = ()

    @property
    def is_above(self) -> bool:
        """Whether it is above the working directory."""
        return self.path != self.start

    @property
    def home(self) -> Path:
        """The folder for everything local."""
        return self.path / HOME

    @property
    def collection(self) -> Path:
        return self.path / COLLECTION

    @property
    def how(self) -> str:
        """The way the home was found, in words."""
        if self.is_above:
            return f"found above {self.start}"
        owner = _foreign(self.home)
        return "in the working directory" + ("" if owner is None else f", of the user with the id {owner}")


def project_folder(start: Path | None = None) -> ProjectFolder:
    """Return the project's folder for a process that works in `start`; `start` itself if no folder above is a project.

    Args:
        start: default: the working directory.

    Raises:
        ConfigError: the working directory was deleted, or cannot be entered while no folder above is a project.
    """
    start = working_directory() if start is None else start
    passed_over: list[str] = []
    for folder in (start, *start.parents):
        # Not `Path.is_dir`, which raises PermissionError where a folder cannot be entered.
        if HOME in folder.parts or not (os.path.isdir(folder / HOME) or os.path.isfile(folder / COLLECTION)):  # noqa: PTH112, PTH113
            continue
        if folder == start:
            return ProjectFolder(folder, start)
        theirs = [(name, owner) for name in _NAMES if (owner := _foreign(folder / name)) is not None]
        if not theirs:
            return ProjectFolder(folder, start, tuple(passed_over))
        name, owner = theirs[0]
        passed_over.append(
            f"{folder / name} belongs to the user with the id {owner} and is not used; "
            f"CRYPTO_ASSETS_HOME={folder / HOME} and CRYPTO_ASSETS_CONFIG={folder / COLLECTION} use it"
        )
    try:
        (start / HOME).lstat()
    except PermissionError:
        raise ConfigError(
            f"working directory {start}: expected a folder that can be entered, found no permission; {_GO}"
        ) from None
    except OSError:
        pass  # an ordinary folder without a home
    return ProjectFolder(start, start, tuple(passed_over))


_GO = "go to the folder of your project, or set CRYPTO_ASSETS_HOME and CRYPTO_ASSETS_CONFIG to absolute paths"


def working_directory() -> Path:
    """Return the working directory.

    Raises:
        ConfigError: it was deleted, or a folder above it cannot be read.
    """
    try:
        return Path.cwd()
    except OSError as error:
        named = os.environ.get("PWD", "")
        raise ConfigError(
            f"working directory{f' {named}' if named else ''}: expected a folder that exists, found: {error.strerror}; {_GO}"
        ) from None


_NAMES = (HOME, COLLECTION, DAGSTER)


def _foreign(path: Path) -> int | None:
    """Return the id of the user who owns a file or folder, or the target of its link; None if it is ours or missing."""
    try:
        found = path.lstat()
        if found.st_uid == os.geteuid() and stat.S_ISLNK(found.st_mode):
            found = path.stat()
    except OSError:
        return None
    return None if found.st_uid == os.geteuid() else found.st_uid
