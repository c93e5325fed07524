"""Folders of a lake, held open while something is done in them.

A path that is looked at and then used by its name is two paths: whoever may write a folder on the way can put a link there in
between. So every folder on the way is opened relative to the open one above it, without following a link, and whatever is
done with a file is done relative to the last of them. A link that `inside.py` lets be followed is opened itself: its owner
and its target are read from that very link, and whatever is put in its place afterwards is not looked at.

The root is what the configuration says; its own name, and the target of a link that is followed, are opened as they are.
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

# To walk through a folder takes no right to list it; O_PATH asks for none, and is what Linux has.
_ANY_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_FOLDER = _ANY_FOLDER | os.O_NOFOLLOW

MODE = 0o755
"""What folders below a root have."""


class Place:
    """A name in an open folder, for functions of `os` that take both; `text` is the whole path, for people.

    A context, which closes the folder and lets an OSError name the whole path.
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
            if error.filename in (None, self.name):  # a full disk does not say which file
                error.filename = self.text
            if error.filename2 == self.name:
                error.filename2 = self.text


def open_folder(root: str, path: str, *, make: bool = False, lasting: bool = True) -> int:
    """Return a handle of the folder `path` below a root, the root's own for an empty path; good for walking, not for listing.

    Args:
        path: known to be inside.
        make: folders that are missing below the root are made; what is no folder is set aside, beside its place.
        lasting: a new folder is as lasting as the file that comes into it.

    Raises:
        UnsafePath: somebody else's link is on the way; names it, whose it is, and what to do.
        FileNotFoundError, NotADirectoryError: there is no such folder.
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
    """Return a handle of a child of an open folder, which may be a link; None where it is no folder and leads to none.

    Raises:
        UnsafePath: it is a link that is not followed.
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
    """Whether nobody but those whose links are followed can put something else in the place of a child of an open folder."""
    about = os.fstat(handle)
    # Rights of an access list show among those of the group, so none is missed.
    return not about.st_mode & 0o022 and is_trusted(root, about.st_uid)


def make_root(folder: Path, mode: int) -> None:
    """Make the folder of a store and those above it, where they are missing, with a mode whatever the umask says."""
    if folder.is_dir():
        return
    make_root(folder.parent, mode)
    try:
        folder.mkdir(mode=mode)
        folder.chmod(mode)
    except FileExistsError:
        if not folder.is_dir():  # another process was first
            raise
    above = os.open(folder.parent, _ANY_FOLDER)
    try:
        sync(above)
    finally:
        os.close(above)


def sync(handle: int) -> None:
    """Let the names in an open folder last."""
    with _readable(handle) as reading:
        os.fsync(reading)


def set_aside(name: str, handle: int) -> None:
    """Give what lies in a place that is ours another name: somebody may want it, and it is in the way of one day only."""
    os.rename(name, f"{name}.{uuid4().hex[:8]}.set-aside", src_dir_fd=handle, dst_dir_fd=handle)


@contextmanager
def _readable(handle: int) -> Iterator[int]:
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
    try:
        yield reading
    finally:
        os.close(reading)


def _make(name: str, above: int, lasting: bool) -> int:
    """Make a folder in an open one, with the same mode whatever the umask says; return its handle."""
    try:
        os.mkdir(name, dir_fd=above)
    except FileExistsError:  # another process was first
        return os.open(name, _FOLDER, dir_fd=above)
    handle = os.open(name, _FOLDER, dir_fd=above)
    try:
        about = os.fstat(handle)
        if about.st_mode & 0o777 != MODE and about.st_uid == os.geteuid():
            by_handle = Path(f"/proc/self/fd/{handle}")  # a handle for walking is not changed by os.fchmod
            by_handle.chmod(MODE) if by_handle.exists() else os.fchmod(handle, MODE)
        if lasting:
            sync(above)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _open_otherwise(error: OSError, root: str, way: str, above: int, make: bool, lasting: bool) -> int:
    """Return a handle of the last folder of `way`, which could not simply be opened; `above` is that of the one above."""
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
    """Return a handle of the folder that a link leads to which is followed.

    Raises:
        UnsafePath: it is not followed.
        FileNotFoundError, NotADirectoryError: there is no folder behind it, or it is no link at all.
    """
    name = way.rpartition("/")[2]
    if not hasattr(os, "O_PATH"):
        return _follow(root, way, above, *_read_link(f"{root}/{way}", name, above))
    thing = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
    try:
        about = os.fstat(thing)
        if stat.S_ISDIR(about.st_mode):  # it has taken the place of what could not be opened
            return os.dup(thing)
        return _follow(root, way, above, about, os.readlink("", dir_fd=thing) if stat.S_ISLNK(about.st_mode) else "")
    finally:
        os.close(thing)


def _read_link(text: str, name: str, above: int) -> tuple[os.stat_result, str]:
    """Return what a name in an open folder is, and its target if it is a link, where a link cannot be opened itself."""
    about = os.stat(name, dir_fd=above, follow_symlinks=False)
    target = os.readlink(name, dir_fd=above) if stat.S_ISLNK(about.st_mode) else ""
    after = os.stat(name, dir_fd=above, follow_symlinks=False)
    # One that was exchanged in between has another number or another time of change.
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
