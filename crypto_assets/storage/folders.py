"""Folders of a lake, kept open during an operation.

A path that is checked and then used by name can change in between: anybody who may write to a folder on the way can put a
link there. Therefore every folder on the way is opened relative to the open folder above it, without following links, and
every file operation is relative to the last of them. A link that `inside.py` allows is opened itself: its owner and its
target are read from that link, and later changes of the name have no effect.

The root comes from the configuration; its own name, and the target of an allowed link, are opened as usual.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from crypto_assets.errors import UnsafePath
from crypto_assets.storage.inside import inside, is_trusted, require_followed

# Walking through a folder needs no right to list it; O_PATH (Linux) asks for none.
_ANY_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_FOLDER = _ANY_FOLDER | os.O_NOFOLLOW

MODE = 0o755
"""The mode of folders below a root."""


class Place:
    """A name in an open folder, for functions of `os` that take both; `text` is the whole path, for messages.

    A context manager: it closes the folder, and puts the whole path into an OSError.
    """

    __slots__ = ("folder", "name", "text")

    def __init__(self, root: str, path: str, *, make: bool = False, lasting: bool = True) -> None:
        """Open the folder of `path`. Arguments and errors are those of `open_folder`."""
        self.text = inside(root, path)
        folder, _, self.name = path.rpartition("/")
        self.folder = open_folder(root, folder, make=make, lasting=lasting)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.folder)
        if isinstance(error, OSError):
            if error.filename in (None, self.name):  # a full disk does not name the file
                error.filename = self.text
            if error.filename2 == self.name:
                error.filename2 = self.text


def open_folder(root: str, path: str, *, make: bool = False, lasting: bool = True) -> int:
    """Return a handle of the folder `path` below a root (empty: the root itself); for walking, not for listing.

    Args:
        path: known to be inside.
        make: create missing folders below the root; set aside, next to it, anything in the way that is not a folder.
        lasting: make a new folder as durable as the file that is put into it.

    Raises:
        UnsafePath: another user's link is on the way; the message names it, its owner and what to do.
        FileNotFoundError, NotADirectoryError: the folder does not exist.
        OSError: a folder on the way cannot be opened.
    """
    handle = os.open(root, _ANY_FOLDER)
    names = path.split("/") if path else []
    try:
        for depth, name in enumerate(names, 1):
            try:
                below = os.open(name, _FOLDER, dir_fd=handle)
            except OSError as error:
                below = _open_otherwise(error, root, "/".join(names[:depth]), handle, make, lasting)
            os.close(handle)
            handle = below
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def listed(root: str, prefix: str) -> Iterator[int]:
    """Yield a handle of a folder that can be listed; its path may end in a slash. Errors are those of `open_folder`."""
    path = prefix.removesuffix("/")
    handle = open_folder(root, path)
    try:
        with _readable(handle) as reading:
            yield reading
    except OSError as error:
        error.filename = f"{root}/{path}" if path else root
        raise
    finally:
        os.close(handle)


def open_child(root: str, path: str, name: str, handle: int) -> int | None:
    """Return a handle of a child of an open folder, or of the folder a child links to; None if it is neither.

    Raises:
        UnsafePath: it is a link that must not be followed.
    """
    try:
        return os.open(name, _FOLDER, dir_fd=handle)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    try:
        return _behind_link(root, f"{path}{name}", handle)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_ours_alone(root: str, handle: int) -> bool:
    """Whether only users with trusted links can replace a child of an open folder."""
    about = os.fstat(handle)
    # The group bits also show the rights of an access list, so none is missed.
    return not about.st_mode & 0o022 and is_trusted(root, about.st_uid)


def make_root(folder: Path, mode: int) -> None:
    """Make the folder of a store and missing folders above it, with a mode that does not depend on the umask."""
    if folder.is_dir():
        return
    make_root(folder.parent, mode)
    try:
        folder.mkdir(mode=mode)
        folder.chmod(mode)
    except FileExistsError:
        if not folder.is_dir():  # another process made it first
            raise
    above = os.open(folder.parent, _ANY_FOLDER)
    try:
        sync(above)
    finally:
        os.close(above)


def sync(handle: int) -> None:
    """Make the names in an open folder durable."""
    with _readable(handle) as reading:
        os.fsync(reading)


def set_aside(name: str, handle: int) -> None:
    """Rename an object in our place: somebody may want it, and it blocks one day only."""
    os.rename(name, f"{name}.{uuid4().hex[:8]}.set-aside", src_dir_fd=handle, dst_dir_fd=handle)


@contextmanager
def _readable(handle: int) -> Iterator[int]:
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
    try:
        yield reading
    finally:
        os.close(reading)


def _make(name: str, above: int, lasting: bool) -> int:
    """Make a folder in an open one, with a mode that does not depend on the umask; return its handle."""
    try:
        os.mkdir(name, dir_fd=above)
    except FileExistsError:  # another process made it first
        return os.open(name, _FOLDER, dir_fd=above)
    handle = os.open(name, _FOLDER, dir_fd=above)
    try:
        about = os.fstat(handle)
        if about.st_mode & 0o777 != MODE and about.st_uid == os.geteuid():
            by_handle = Path(f"/proc/self/fd/{handle}")  # os.fchmod cannot change a handle for walking
            by_handle.chmod(MODE) if by_handle.exists() else os.fchmod(handle, MODE)
        if lasting:
            sync(above)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _open_otherwise(error: OSError, root: str, way: str, above: int, make: bool, lasting: bool) -> int:
    """Return a handle of the last folder of `way`, which could not simply be opened; `above` is the handle of its parent."""
    name = way.rpartition("/")[2]
    try:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            try:
                return _behind_link(root, way, above)
            except (FileNotFoundError, NotADirectoryError):
                if not make:
                    raise
            set_aside(name, above)
        elif error.errno != errno.ENOENT or not make:
            raise error
        return _make(name, above, lasting)
    except OSError as failed:
        failed.filename, failed.filename2 = f"{root}/{way}", None
        raise


def _behind_link(root: str, way: str, above: int) -> int:
    """Return a handle of the folder behind an allowed link.

    Raises:
        UnsafePath: the link must not be followed.
        FileNotFoundError, NotADirectoryError: it leads to no folder, or is not a link.
    """
    name = way.rpartition("/")[2]
    if not hasattr(os, "O_PATH"):
        return _follow(root, way, above, *_read_link(f"{root}/{way}", name, above))
    thing = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
    try:
        about = os.fstat(thing)
        if stat.S_ISDIR(about.st_mode):  # it has replaced the object that could not be opened
            return os.dup(thing)
        return _follow(root, way, above, about, os.readlink("", dir_fd=thing) if stat.S_ISLNK(about.st_mode) else "")
    finally:
        os.close(thing)


def _read_link(text: str, name: str, above: int) -> tuple[os.stat_result, str]:
    """Return the status of a name in an open folder, and its target if it is a link, on systems that cannot open a link."""
    about = os.stat(name, dir_fd=above, follow_symlinks=False)
    target = os.readlink(name, dir_fd=above) if stat.S_ISLNK(about.st_mode) else ""
    after = os.stat(name, dir_fd=above, follow_symlinks=False)
    # A link replaced in between has another inode or change time.
    is_same = (after.st_dev, after.st_ino, after.st_ctime_ns) == (about.st_dev, about.st_ino, about.st_ctime_ns)
    if stat.S_ISDIR(about.st_mode) or not is_same:
        raise UnsafePath(
            f"{text}: expected a folder or a link that stays, found one that was changed just now; try again"
        )
    return about, target


def _follow(root: str, way: str, above: int, about: os.stat_result, target: str) -> int:
    if not target:
        raise _no_folder(way)
    require_followed(root, way, about.st_uid)
    try:
        return os.open(target, _ANY_FOLDER, dir_fd=above)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _no_folder(way) from None


def _no_folder(way: str) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), way)
