"""What homes that were deleted have left under /var/lib: found by the next server that starts, and removed.

A folder there remembers its home, and the folders above that one by device and inode. A home counts as deleted only where
the nearest folder above it that is still there is the very one of then: the mount point of a disk that is not mounted
now is another, and its data stays.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

from crypto_assets.machine.private_folder import write_private
from crypto_assets.storage.embedded_postgres import supervisor
from crypto_assets.storage.embedded_postgres.binaries import remove_unused

OWN_PREFIX = supervisor.OWN_PREFIX
_RECORD = "home.json"
_MOST_BYTES = 100_000


def remember_home(own: Path, folder: Path) -> None:
    """Write down in a folder of ours to which home it belongs: `folder` is home/postgres."""
    above = {str(parent): _identity(parent) for parent in folder.parents}
    text = json.dumps({"folder": str(folder), "above": above}) + "\n"
    record = own / _RECORD
    with contextlib.suppress(OSError):
        if record.read_text() == text:
            return
    write_private(record, text)


def remove_leftovers(bases: tuple[Path, ...]) -> list[Path]:
    """Remove our folders of homes that were deleted, with the servers that still run there; return what was removed.

    Copies of the binaries that no home uses any more go too.
    """
    removed = []
    for base in bases:
        for own in sorted(base.glob(f"{OWN_PREFIX}*")):
            if _is_ours(own) and _is_deleted(own / _RECORD):
                if supervisor.processes_of(own / "data"):
                    supervisor.stop_leftovers(own / "data")
                shutil.rmtree(own, ignore_errors=True)
                removed.append(own)
        removed += remove_unused(base)
    return removed


def kept_without_home(bases: tuple[Path, ...]) -> list[str]:
    """Return a line for each of our folders whose home is missing, but may come back: its disk may not be mounted now."""
    lines = []
    for own in [own for base in bases for own in sorted(base.glob(f"{OWN_PREFIX}*")) if _is_ours(own)]:
        folder = _home_of(own / _RECORD)
        if folder is not None and not os.path.lexists(folder):
            lines.append(
                f"kept {own}: its home {folder.parent} is missing, and so may be the disk that it was on; "
                "if it was deleted, delete this folder too"
            )
    return lines


def _home_of(record: Path) -> Path | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return Path(json.loads(record.read_bytes()[:_MOST_BYTES])["folder"])
    return None


def _is_ours(own: Path) -> bool:
    found = own.lstat()
    return found.st_uid == os.geteuid() and own.is_dir() and not own.is_symlink()


def _is_deleted(record: Path) -> bool:
    """Whether the home of a record is gone for good; False where that cannot be told."""
    try:
        found = json.loads(record.read_bytes()[:_MOST_BYTES])
        folder, above = Path(found["folder"]), dict(found["above"])
        if os.path.lexists(folder):
            return False
        nearest = next(parent for parent in folder.parents if os.path.lexists(parent))
        return above.get(str(nearest)) == _identity(nearest)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StopIteration):
        return False


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino]
