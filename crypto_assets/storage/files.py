"""Files of a lake in a folder: open regular files only; write and move them durably.

Names are relative to a folder that `folders.py` keeps open.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from crypto_assets.errors import StoredDataError
from crypto_assets.model.content import Content, parts_of
from crypto_assets.storage.folders import set_aside

MOST_BYTES = 2 << 30
"""Most bytes of a file: a longer one is not ours, and would be read into memory. A day of ten million trades has 200 MB."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR})

OF_THE_FILE = frozenset(
    {
        *(errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ELOOP, errno.ENAMETOOLONG, errno.EOVERFLOW),
        *(errno.EACCES, errno.EPERM, errno.EIO, errno.EBADMSG, errno.EUCLEAN),
    }
)
"""`errno` values about one file: not a file, no permission, or a bad disk sector. Others (no memory, no file descriptors, a
removed file system) concern more than the file and are passed on."""


def opened_file(name: str | Path, folder: int | None = None, shown: str = "") -> BufferedReader | None:
    """Return a regular file, opened for reading; None if there is none.

    Args:
        name: its name in the open folder `folder`, or its path.
        shown: its name in messages; default: `name`.

    Raises:
        StoredDataError: it is not a regular file, or cannot be read.
    """
    shown = shown or str(name)
    try:
        with _reading(shown):
            # Without O_NONBLOCK, opening a FIFO without a writer would block forever.
            handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    about = os.fstat(handle)
    kind = stat.S_IFMT(about.st_mode)
    if kind == stat.S_IFREG and about.st_size <= MOST_BYTES:
        return os.fdopen(handle, "rb")
    os.close(handle)
    if kind == stat.S_IFREG:
        raise too_long(shown, about.st_size)
    what = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}.get(kind, "something that is not a file")
    raise _no_file(shown, what)


def _no_file(shown: str, what: str) -> StoredDataError:
    return StoredDataError(f"{shown}: expected a file, found {what}; `crypto-assets collect` for that day replaces it")


def content_of(name: str | Path, folder: int | None = None, shown: str = "") -> bytes | None:
    """Return the bytes of a regular file; arguments and errors are those of `opened_file`."""
    if (opened := opened_file(name, folder, shown)) is None:
        return None
    with opened, _reading(shown or str(name)):
        return opened.read()


def too_long(where: str, size: int) -> StoredDataError:
    """Return the error of a file that is too long to be ours."""
    return StoredDataError(
        f"{where}: expected a file of at most {MOST_BYTES:,} bytes, found {size:,}; "
        "`crypto-assets collect` for that day replaces it"
    )


@contextmanager
def _reading(shown: str) -> Iterator[None]:
    """Turn errors about one file into StoredDataError."""
    try:
        yield
    except OSError as error:
        if error.errno not in OF_THE_FILE:
            raise
        if error.errno == errno.ELOOP:
            raise _no_file(shown, "a link") from None
        raise StoredDataError(
            f"{shown}: expected a readable file, found one that cannot be read ({error.strerror}); check its permissions and "
            "the disk, `crypto-assets collect` for that day replaces it"
        ) from None


def move(name: str, folder: int, target: str, target_folder: int) -> None:
    """Move a file over another one, both in open folders; a folder in the way is set aside, next to it."""
    try:
        os.replace(name, target, src_dir_fd=folder, dst_dir_fd=target_folder)
    except IsADirectoryError:
        set_aside(target, target_folder)
        os.replace(name, target, src_dir_fd=folder, dst_dir_fd=target_folder)


def write(name: str, folder: int, data: Content) -> None:
    """Write a new file in an open folder durably; the former file of that name stays unchanged, without the name."""
    try:
        handle = os.open(name, _NEW, 0o600, dir_fd=folder)
    except FileExistsError:
        # The former file may be a link, a device, or a second name of a file in use: never write into it.
        os.unlink(name, dir_fd=folder)
        handle = os.open(name, _NEW, 0o600, dir_fd=folder)
    with os.fdopen(handle, "wb") as file:
        for part in parts_of(data):
            file.write(part)
        file.flush()
        os.fsync(handle)
        os.fchmod(handle, 0o644)
