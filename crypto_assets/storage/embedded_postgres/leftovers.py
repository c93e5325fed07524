"""Remove the remains of deleted homes under /var/lib; done by the next server that starts.

A folder there records its home, and the folders above the home by device and inode. A home counts as deleted only if the
nearest existing folder above it is still the recorded one: the mount point of an unmounted disk is another folder, and the
data stays. A home that was deleted and made again has other databases recorded in its `location.json`.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from crypto_assets.machine.missing import is_missing
from crypto_assets.machine.private_folder import write_private
from crypto_assets.storage.embedded_postgres import supervisor
from crypto_assets.storage.embedded_postgres.binaries import remove_unused

OWN_PREFIX = supervisor.OWN_PREFIX
_RECORD = "home.json"
_MOST_BYTES = 100_000


def remember_home(own: Path, folder: Path) -> None:
    """Record in a folder of ours the home that it belongs to: `folder` is home/postgres."""
    above = {str(parent): _identity(parent) for parent in folder.parents}
    text = json.dumps({"folder": str(folder), "above": above}) + "\n"
    record = own / _RECORD
    with contextlib.suppress(OSError):
        if record.read_text() == text:
            return
    write_private(record, text)


def keep_record(own: Path, folder: Path) -> None:
    """Rewrite the record of a folder of ours if it is lost, or if its home was moved to `folder`."""
    if not _is_ours(own):
        return
    recorded = _home_of(own / _RECORD)
    try:
        is_outdated = recorded in (None, folder) or is_missing(recorded)
    except OSError:  # unknown whether that home exists
        return
    if is_outdated:
        remember_home(own, folder)


def remove_leftovers(bases: tuple[Path, ...]) -> list[Path]:
    """Remove our folders of deleted homes, and stop the servers that still run there; return the removed folders.

    Also removes copies of the binaries that no home uses.
    """
    removed = []
    for base in bases:
        for own in sorted(base.glob(f"{OWN_PREFIX}*")):
            if _is_ours(own) and _is_deleted(own):
                if supervisor.processes_of(own / "data"):
                    supervisor.stop_leftovers(own / "data")
                shutil.rmtree(own, ignore_errors=True)
                removed.append(own)
        removed += remove_unused(base)
    return removed


def kept_without_home(bases: tuple[Path, ...]) -> list[str]:
    """Return a line for each of our folders whose home is missing but may come back: its disk may be unmounted."""
    lines = []
    for own in [own for base in bases for own in sorted(base.glob(f"{OWN_PREFIX}*")) if _is_ours(own)]:
        folder = _home_of(own / _RECORD)
        with contextlib.suppress(OSError):  # unknown whether it exists
            if folder is not None and is_missing(folder):
                lines.append(
                    f"kept {own}: its home {folder.parent} is missing, maybe because its disk is not mounted; "
                    "if it was deleted, delete this folder too"
                )
    return lines


def _home_of(record: Path) -> Path | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return Path(json.loads(record.read_bytes()[:_MOST_BYTES])["folder"])
    return None


def _is_ours(own: Path) -> bool:
    """Whether a folder is of this account, and no link; False if another process has removed it meanwhile."""
    try:
        found = own.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.geteuid() and own.is_dir() and not own.is_symlink()


def _is_deleted(own: Path) -> bool:
    """Whether the home of a folder of ours was deleted or replaced; False if that is unknown."""
    try:
        found = json.loads((own / _RECORD).read_bytes()[:_MOST_BYTES])
        folder, above = Path(found["folder"]), dict(found["above"])
        if not is_missing(folder):
            return _has_other_databases(folder, own) and _is_no_other_disk(folder.parent, above)
        nearest = next(parent for parent in folder.parents if not is_missing(parent))
        return above.get(str(nearest)) == _identity(nearest)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StopIteration):
        return False


def _has_other_databases(folder: Path, own: Path) -> bool:
    data = Path(json.loads((folder / "location.json").read_bytes()[:_MOST_BYTES])["data"])
    return data != own / "data" and (data / "PG_VERSION").is_file()


def _is_no_other_disk(home: Path, above: Mapping[str, list[int]]) -> bool:
    """Whether, by the record, a home lay on the disk of the folder above it, and that folder is still the same one."""
    device, _ = above[str(home)]
    return above[str(home.parent)] == _identity(home.parent) and device == above[str(home.parent)][0]


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino]
