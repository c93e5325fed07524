"""Files of a lake in a folder: opened only where they are files, written and moved so that they last."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from crypto_assets.errors import StoredDataError

MOST_BYTES = 2 << 30
"""A longer file is none of ours, and would be read into memory: a day of ten million trades has 200 MB."""


NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR})

OF_THE_FILE = frozenset(
    {
        *(errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ELOOP, errno.ENAMETOOLONG, errno.EOVERFLOW),
        *(errno.EACCES, errno.EPERM, errno.EIO, errno.EBADMSG, errno.EUCLEAN),
    }
)
"""Numbers of an OSError that speak of one file: no file, not ours to read, or on a bad place of the disk. The others (no
memory, no file descriptors, a file system that is gone) speak of more than the file and are passed on."""


def opened_file(file: Path) -> BufferedReader | None:
    """Return a regular file, opened to be read; None where there is none.

    Raises:
        StoredDataError: something else lies there, or it cannot be read.
    """
    try:
        with _reading(file):
            # Without O_NONBLOCK a FIFO that nobody writes to would be waited for, for ever.
            handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    about = os.fstat(handle)
    kind = stat.S_IFMT(about.st_mode)
    if kind == stat.S_IFREG and about.st_size <= MOST_BYTES:
        return os.fdopen(handle, "rb")
    os.close(handle)
    if kind == stat.S_IFREG:
        raise too_long(str(file), about.st_size)
    what = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}.get(kind, "something that is no file")
    raise _no_file(file, what)


def _no_file(file: Path, what: str) -> StoredDataError:
    return StoredDataError(f"{file}: expected a file, found {what}; `crypto-assets collect` for that day replaces it")


def content_of(file: Path) -> bytes | None:
    """Return the bytes of a regular file; raises as `opened_file`."""
    if (opened := opened_file(file)) is None:
        return None
    with opened, _reading(file):
        return opened.read()


def too_long(where: str, size: int) -> StoredDataError:
    """Return the error of a file that nobody has written here."""
    return StoredDataError(
        f"{where}: expected a file of at most {MOST_BYTES:,} bytes, found {size:,}; "
        "`crypto-assets collect` for that day replaces it"
    )


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Let errors that speak of one file be StoredDataError."""
    try:
        yield
    except OSError as error:
        if error.errno not in OF_THE_FILE:
            raise
        if error.errno == errno.ELOOP:
            raise _no_file(file, "a link") from None
        raise StoredDataError(
            f"{file}: expected a file that can be read, found one that cannot ({error.strerror}); check its permissions and "
            "the disk, `crypto-assets collect` for that day replaces it"
        ) from None


def move(file: Path, target: Path) -> None:
    """Give a file the place of another one; a folder there is set aside, beside it."""
    try:
        file.replace(target)
    except IsADirectoryError:
        _set_aside(target)
        file.replace(target)


def _set_aside(place: Path) -> None:
    """Give what lies in a place that is ours another name: somebody may want it, and it is in the way of one day only."""
    place.rename(place.with_name(f"{place.name}.{uuid4().hex[:8]}.set-aside"))


def write(file: Path, data: bytes) -> None:
    try:
        # Where somebody has put a link, nothing is written through it.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
            os.fchmod(handle.fileno(), 0o644)
    except OSError as error:
        error.filename = error.filename or str(file)  # a full disk does not say which
        raise


def make_folder(folder: Path, root: Path | None = None, *, mode: int = 0o755, lasting: bool = True) -> None:
    """Make a folder and those above it; a new one is as lasting as the file that comes into it, if it is to be `lasting`.

    A file in the place of one below `root` is set aside, beside it.

    Args:
        mode: what a new folder has, whatever the umask says.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, root if folder != root else None, mode=mode, lasting=lasting)
    try:
        _make(folder, mode)
    except FileExistsError:
        if root is None or folder == root:
            raise
        _set_aside(folder)
        _make(folder, mode)
    if lasting:
        sync(folder.parent)


def _make(folder: Path, mode: int) -> None:
    """Make one folder; raises FileExistsError where something else stands there."""
    try:
        folder.mkdir(mode=mode)
        folder.chmod(mode)
    except FileExistsError:
        if not folder.is_dir():  # another process was first
            raise


def sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
