"""The two stores of a lake: a folder or a bucket. Writes are atomic in both.

Streams from pyarrow, ParquetWriter and s3fs publish a partial object when an exception ends them, so an object is encoded
to a buffer first and put at once. `staging/` holds objects that nobody may read yet. `inside.py` decides which text is a path
of a store, and which links in a folder are followed; both stores ask it for every path. `folders.py` walks folders so that
the checked folder is the used folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import uuid4

from crypto_assets.errors import StoredDataError, UnsafePath
from crypto_assets.model.content import Content, parts_of
from crypto_assets.storage.files import NO_FILE, OF_THE_FILE, content_of, move, opened_file, write
from crypto_assets.storage.folders import Place, is_ours_alone, listed, make_root, open_child, sync
from crypto_assets.storage.inside import MOST_BYTES, folder_inside, inside

STAGING = "staging/"

_NOTHING_THERE = (FileNotFoundError, NotADirectoryError)


class Staged(Protocol):
    """New bytes in a store, durable but not yet published under their path."""

    def verify(self, data: Content) -> None:
        """Read the bytes back; raises StoredDataError if they are not `data`."""

    def publish(self, path: str) -> None:
        """Publish the bytes as the whole content of `path`; readers see the old content or the new, never a part."""

    def discard(self) -> None:
        """Remove the remains in staging/."""


class Store(Protocol):
    """A flat space of objects under paths with slashes; equal `url`s mean the same place.

    Every method raises UnsafePath, and does nothing, for a path that leads outside the store.
    """

    url: str

    def put(self, path: str, data: Content) -> None:
        """Store `data` as the whole content of `path`; readers see the old content or the new, never a part."""

    def create(self, path: str, data: bytes) -> bool:
        """Store `data` at `path` if it is free; return whether it was done. Of two concurrent calls one does it."""

    def get(self, path: str) -> bytes | None:
        """Return the content of `path`, or None if it does not exist; raises StoredDataError if it cannot be read."""

    def open(self, path: str) -> BufferedIOBase | None:
        """Return the content of `path` as a file to read and seek in, or None; memory does not grow with its size.

        Raises:
            StoredDataError: it is not a file, or cannot be read.
        """

    def paths(self, prefix: str) -> Iterator[str]:
        """Yield the paths that start with `prefix` (which ends in a slash), in order."""

    def children(self, prefix: str) -> Iterator[str]:
        """Yield, in order, the names directly below `prefix` that have objects below them."""

    def sizes(self, folder: str, name: str, first: str, last: str) -> dict[str, int]:
        """Return the bytes of the file `name` in each child of a folder, by child; children from `first` to `last` included.

        One listing, not one request a file. Children without such a file are left out.
        """

    def delete(self, path: str) -> None:
        """Remove `path`; do nothing if it does not exist."""

    def stage(self, path: str, data: Content) -> Staged:
        """Write `data` durably but not visibly; `path` lies in staging/."""

    def keep(self, path: str, kept: str) -> None:
        """Copy the existing content of `path` to `kept`."""

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        """Remove old files in staging/; return how many. `spare` has the paths to keep."""


class FolderStore:
    """A store in a folder. Objects are written in staging/, synced, renamed, and the folder synced.

    OSError is passed on: it names a full disk or a folder without write permission.
    """

    def __init__(self, root: Path, *, mode: int = 0o755) -> None:
        self.url = str(root.resolve())
        self.root = str(root)
        self._mode = mode  # of the folder itself, if it is made; folders below it get 0755

    def put(self, path: str, data: Content) -> None:
        with suppress(*_NOTHING_THERE), Place(self.root, path):  # before anything is written
            pass
        staged = self.stage(f"{STAGING}.{uuid4().hex}.part", data)
        try:
            staged.publish(path)
        except BaseException:
            staged.discard()
            raise

    def create(self, path: str, data: bytes) -> bool:
        with suppress(*_NOTHING_THERE), Place(self.root, path) as target:
            if _is_there(target):
                return False
        written = self.stage(f"{STAGING}.{uuid4().hex}.part", data)
        try:
            with Place(self.root, written.path) as file, Place(self.root, path, make=True) as target:
                try:
                    # Linking is atomic: nobody sees a part, and of two processes one is refused.
                    _link(file, target)
                except FileExistsError:
                    return False
                except OSError:  # a file system without hard links
                    if _is_there(target):
                        return False
                    written.publish(path)
                else:
                    sync(target.folder)
        finally:
            written.discard()
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other caller of this method out of the folder, of any process, if its file system has locks."""
        if not os.path.isdir(self.root):  # noqa: PTH112  one call, no object
            make_root(Path(self.root), self._mode)
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def stage(self, path: str, data: Content) -> _StagedFile:
        if not os.path.isdir(self.root):  # noqa: PTH112  one call, no object
            inside(self.root, path)
            make_root(Path(self.root), self._mode)
        return _StagedFile(self.root, path, data)

    def get(self, path: str) -> bytes | None:
        try:
            with Place(self.root, path) as file:
                return content_of(file.name, file.folder, file.text)
        except _NOTHING_THERE:
            return None

    def open(self, path: str) -> BufferedIOBase | None:
        try:
            with Place(self.root, path) as file:
                return opened_file(file.name, file.folder, file.text)
        except _NOTHING_THERE:
            return None

    def paths(self, prefix: str) -> Iterator[str]:
        for found in self._walk(prefix, _NOTHING_THERE):
            yield from (found.prefix + name for name in sorted(found.others) if not name.endswith(".part"))

    def children(self, prefix: str) -> Iterator[str]:
        folder_inside(self.root, prefix)
        with suppress(*_NOTHING_THERE):
            found = self._listing(prefix)
            # Opening a path behind a refused link raises the error; here the link is only left out.
            yield from sorted(found.folders + found.linked)

    def _walk(self, prefix: str, skipped: tuple[type[OSError], ...]) -> Iterator[_Listing]:
        """Yield the listing of a folder, then those of the folders below it, in order.

        Args:
            skipped: errors of folders that are left out; others are passed on: an unlistable folder is not empty.
        """
        folder_inside(self.root, prefix)
        left = [prefix]
        while left:
            try:
                found = self._listing(left.pop())
            except skipped:
                continue
            # Longer paths have no files of a lake. A stack, because folders may be deeply nested.
            below = (f"{found.prefix}{name}/" for name in sorted(found.folders, reverse=True))
            left += [folder for folder in below if len(os.fsencode(folder)) <= MOST_BYTES]
            yield found

    def _listing(self, prefix: str) -> _Listing:
        found = _Listing(prefix, [], [], [])
        with listed(self.root, prefix) as handle, os.scandir(handle) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.folders.append(entry.name)
                elif entry.is_symlink():
                    (found.linked if self._leads_on(prefix, entry, handle) else found.others).append(entry.name)
                else:
                    found.others.append(entry.name)
        return found

    def _leads_on(self, prefix: str, link: os.DirEntry[str], handle: int) -> bool:
        """Whether a link in an open folder leads to a folder. A refused link is not followed."""
        try:
            below = open_child(self.root, prefix, link.name, handle)
        except UnsafePath:
            with suppress(OSError):
                return link.is_dir()
            return False
        if below is not None:
            os.close(below)
        return below is not None

    def sizes(self, folder: str, name: str, first: str, last: str) -> dict[str, int]:
        folder_inside(self.root, folder)
        found = {}
        # Relative to the folder: for 200,000 files the way from the root takes longer than the files.
        with suppress(*_NOTHING_THERE), listed(self.root, folder) as handle, os.scandir(handle) as children:
            is_quick = is_ours_alone(self.root, handle)
            for child in children:
                if first <= child.name <= last:
                    quick = is_quick and not child.is_symlink()
                    if (size := self._size(folder, child.name, name, handle, quick)) is not None:
                        found[child.name] = size
        return found

    def _size(self, folder: str, child: str, name: str, handle: int, quick: bool) -> int | None:
        """Return the bytes of a file in a child of an open folder; `quick`: nobody can replace the child by a link."""
        try:
            if quick:
                about = os.stat(f"{child}/{name}", dir_fd=handle, follow_symlinks=False)
            elif (below := open_child(self.root, folder, child, handle)) is None:
                return None
            else:
                try:
                    about = os.stat(name, dir_fd=below, follow_symlinks=False)
                finally:
                    os.close(below)
        except UnsafePath:
            return None
        except OSError as error:
            if error.errno not in NO_FILE | OF_THE_FILE:
                raise
            return None
        return about.st_size if stat.S_ISREG(about.st_mode) else None

    def delete(self, path: str) -> None:
        _remove(self.root, path)

    def keep(self, path: str, kept: str) -> None:
        with Place(self.root, path) as source:
            with suppress(StoredDataError):  # it is not a file
                if (there := self.get(kept)) is not None and there == _bytes_of(source):
                    return
            with Place(self.root, kept, make=True) as target:
                try:
                    with suppress(FileNotFoundError):
                        os.unlink(target.name, dir_fd=target.folder)
                    # A second name for the same bytes. Files are replaced, never changed, so both stay the same.
                    _link(source, target)
                except OSError:  # a file system without hard links, or another one
                    self.put(kept, _bytes_of(source))
                else:
                    sync(target.folder)

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        limit = time.time() - older_than_s
        # Private files of another user are left to that user.
        walked = list(self._walk(STAGING, (*_NOTHING_THERE, PermissionError)))
        return sum(self._sweep(found, limit, spare) for found in reversed(walked))

    def _sweep(self, found: _Listing, limit: float, spare: Container[str]) -> int:
        removed = 0
        with suppress(*_NOTHING_THERE), listed(self.root, found.prefix) as handle:
            # Not the modification time: a second name for an old file is new.
            for name in found.linked + found.others:
                with suppress(FileNotFoundError, PermissionError):
                    about = os.stat(name, dir_fd=handle, follow_symlinks=False)
                    if about.st_ctime < limit and found.prefix + name not in spare:
                        os.unlink(name, dir_fd=handle)
                        removed += 1
            for name in found.folders:
                with suppress(OSError):
                    if os.stat(name, dir_fd=handle, follow_symlinks=False).st_ctime < limit:
                        os.rmdir(name, dir_fd=handle)
        return removed


class _Listing(NamedTuple):
    """The names in a folder: folders, links to folders, and everything else."""

    prefix: str
    folders: list[str]
    linked: list[str]
    others: list[str]


class _StagedFile:
    """A written and synced file; publishing renames it."""

    def __init__(self, root: str, path: str, data: Content) -> None:
        self.path = path
        self._root = root
        with Place(root, path, make=True, lasting=False) as file:  # losing a file in staging/ does no harm
            try:
                write(file.name, file.folder, data)
            except BaseException:
                self.discard()
                raise

    def verify(self, data: Content) -> None:
        with Place(self._root, self.path) as file:
            require_same(file.text, data, opened_file(file.name, file.folder, file.text))

    def publish(self, path: str) -> None:
        with Place(self._root, self.path) as file, Place(self._root, path, make=True) as target:
            try:
                move(file.name, file.folder, target.name, target.folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(file, target)
                os.unlink(file.name, dir_fd=file.folder)
            sync(target.folder)

    def discard(self) -> None:
        _remove(self._root, self.path)


def _copy(file: Place, target: Place) -> None:
    """Copy a file to another disk, if a part of the lake lies there behind a link: a rename from staging/ is impossible."""
    beside = f".{uuid4().hex}.part"
    try:
        write(beside, target.folder, _bytes_of(file))
        move(beside, target.folder, target.name, target.folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=target.folder)  # a partial file would fill a full disk further
        raise


def _remove(root: str, path: str) -> None:
    """Remove a file, and its folder if it is then empty."""
    with suppress(*_NOTHING_THERE), Place(root, path) as file:
        os.unlink(file.name, dir_fd=file.folder)
    folder = path.rpartition("/")[0]
    if folder and f"{folder}/" != STAGING:  # staging/ is shared
        with suppress(OSError, UnsafePath), Place(root, folder) as empty:  # it has other files, or is a link
            os.rmdir(empty.name, dir_fd=empty.folder)


def _link(file: Place, target: Place) -> None:
    os.link(file.name, target.name, src_dir_fd=file.folder, dst_dir_fd=target.folder, follow_symlinks=False)


def _is_there(place: Place) -> bool:
    try:
        os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _bytes_of(file: Place) -> bytes:
    if (found := content_of(file.name, file.folder, file.text)) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file.text)
    return found


def require_same(where: str, expected: Content, found: BufferedIOBase | None) -> None:
    """Raise StoredDataError if a file, which is closed then, has other bytes; they are compared in pieces."""
    size, same = "nothing", False
    if found is not None:
        with found:
            count, same = 0, True
            for part in parts_of(expected):
                piece = found.read(len(part))
                same = same and piece == part
                count += len(piece)
            count += len(found.read())
            same = same and count == len(expected)
            size = f"{count} other bytes"
    if not same:
        raise StoredDataError(
            f"{where}: expected the {len(expected)} bytes that were written, read back {size}; check the disk or the bucket"
        )
