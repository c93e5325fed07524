"""Folders that only one account may enter, and short ones for unix sockets.

Anything prepared by another account is refused: a link, or a folder of somebody else. Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from pathlib import Path

MOST_SOCKET_BYTES = 107 if sys.platform == "linux" else 103
"""Longest path of a unix socket (`sun_path` without its NUL)."""

_PLAIN = re.compile(r"[A-Za-z0-9/._+\-]+")
_SHORT_BASE = Path("/tmp")  # noqa: S108  (owner, mode and kind of the folder in it are verified)


def private_folder(path: Path, *, mode: int = 0o700, user: int | None = None, group: int | None = None) -> Path:
    """Return a folder, created if needed, with exactly this mode whatever the umask.

    Args:
        user: the owner; None: the user of this process. Only root can name another.
        group: its group, if `user` is given.

    Raises:
        PermissionError: the path is a link, a file, or a folder of another account.
        OSError: it cannot be created.
    """
    owner = _owner(user)
    made = True
    try:
        path.mkdir(mode=0o700)
        path.chmod(0o700)  # a umask may have removed even our own rights
    except FileExistsError:
        made = False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        if stat.S_ISDIR(path.lstat().st_mode):
            raise
        raise PermissionError(f"{path}: expected a folder, found a link or a file; remove it") from None
    try:
        found = os.fstat(fd)
        if made and found.st_uid == os.geteuid() != owner:
            os.fchown(fd, owner, -1 if group is None else group)
        elif found.st_uid != owner:
            raise PermissionError(
                f"{path}: expected a folder of the user with the id {owner}, found one of {found.st_uid}; remove it, or "
                "name another home in CRYPTO_ASSETS_HOME"
            )
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
    return path


def private_folders(path: Path) -> Path:
    """Return a folder, created if needed with its parents, each with 0700 whatever the umask.

    Existing folders keep their mode.

    Raises:
        OSError: it cannot be created.
    """
    if not path.is_dir():
        private_folders(path.parent)
        try:
            path.mkdir(mode=0o700)
            path.chmod(0o700)  # a umask may have removed even our own rights
        except FileExistsError:
            if not path.is_dir():
                raise
    return path


def socket_folder(beside: Path, longest: str, *, user: int | None = None, group: int | None = None) -> Path:
    """Return a 0700 folder for a socket: `beside`, or one under /tmp if `beside` cannot be used.

    It cannot be used if the path is too long, has characters that an address of gRPC cannot have, or is on a file system
    without sockets. Every call returns the same folder. If another account has taken the name in /tmp, the folder has a
    longer name, which later calls find again.

    Args:
        longest: the longest name of a socket in it.

    Raises:
        PermissionError: `beside` belongs to another account.
        OSError: no socket can be created in any of them.
    """
    if len(os.fsencode(beside / longest)) <= MOST_SOCKET_BYTES and _PLAIN.fullmatch(str(beside)):
        folder = private_folder(beside, user=user, group=group)
        if _holds_sockets(folder):
            return folder
        with contextlib.suppress(OSError):
            folder.rmdir()
    short = _short(beside, user)
    others = _longer_ones(short, user)
    try:
        found = private_folder(short, user=user, group=group)
    except PermissionError:  # somebody else was here first
        found = others.pop(0) if others else _longer_one(short, user, group)
        private_folder(found, user=user, group=group)
    for other in others:
        with contextlib.suppress(OSError):  # in use
            other.rmdir()
    return found


def remove_socket_folders(beside: Path, *, user: int | None = None) -> None:
    """Remove every folder that `socket_folder` created for a place, with its content; folders of other accounts stay."""
    owner, short = _owner(user), _short(beside, user)
    for folder in (beside, short, *_longer_ones(short, user)):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(folder.lstat().st_mode) and folder.lstat().st_uid == owner:
                shutil.rmtree(folder, ignore_errors=True)


def _owner(user: int | None) -> int:
    return os.geteuid() if user is None else user


def _short(beside: Path, user: int | None) -> Path:
    return _SHORT_BASE / f"ca-{_owner(user)}-{hashlib.sha256(os.fsencode(beside)).hexdigest()[:16]}"


def _longer_ones(short: Path, user: int | None) -> list[Path]:
    """Return the folders created for a user because the short name was taken, non-empty ones first."""
    found = []
    for path in sorted(short.parent.glob(f"{short.name}-*")):
        with contextlib.suppress(OSError):
            about = path.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == _owner(user):
                found.append((not any(path.iterdir()), path))
    return [path for _, path in sorted(found)]


def _longer_one(short: Path, user: int | None, group: int | None) -> Path:
    made = Path(tempfile.mkdtemp(prefix=f"{short.name}-", dir=short.parent))
    made.chmod(0o700)  # a umask may have removed even our own rights
    if user is not None:
        os.chown(made, user, -1 if group is None else group)
    return made


def private_opener(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file that only its owner may read, for `open(..., opener=private_opener)`; a link is refused."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    found = os.fstat(fd)
    if found.st_uid == os.geteuid() and found.st_mode & 0o777 != 0o600:
        os.fchmod(fd, 0o600)
    return fd


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with open(temporary, "x", encoding="utf-8", opener=private_opener) as file:
        file.write(text)
    temporary.replace(path)


def _holds_sockets(folder: Path) -> bool:
    """Return whether a folder's file system has unix sockets, by trying: network and shared folders do not."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(os.fspath(probe))
    except OSError:
        return False
    probe.unlink(missing_ok=True)
    return True
