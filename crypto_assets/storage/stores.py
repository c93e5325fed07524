"""Where the lake's bytes lie: a folder, or a bucket. Both put whole objects or nothing.

Streams from pyarrow, ParquetWriter and s3fs publish what was written so far when an exception ends them, so an object is
encoded to a buffer first and put at once. `staging/` holds what nobody is to read yet.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from crypto_assets.errors import StoredDataError

STAGING = "staging/"

MOST_BYTES = 2 << 30
"""A longer file is none of ours, and would be read into memory: a day of ten million trades has 200 MB."""


class Staged(Protocol):
    """New bytes on their way into a store, lasting but not yet under their name."""

    def verify(self, data: bytes) -> None:
        """Read them back; raises StoredDataError where they are not `data`."""

    def publish(self, path: str) -> None:
        """Make them the whole content of `path`; a reader sees the former content or this, never a part."""

    def discard(self) -> None:
        """Remove what is left in staging/."""


class Store(Protocol):
    """A flat space of objects under paths with slashes; `url` is the same for everyone who means the same place."""

    url: str

    def put(self, path: str, data: bytes) -> None:
        """Make `data` the whole content of `path`; a reader sees the former content or this, never a part."""

    def create(self, path: str, data: bytes) -> bool:
        """Make `data` the content of `path` where there is none yet; return whether it was done. Of two, one does it."""

    def get(self, path: str) -> bytes | None:
        """Return the content of `path`, or None where there is none; raises StoredDataError where it cannot be read."""

    def open(self, path: str) -> BufferedIOBase | None:
        """Return the content of `path` as a file to read and seek in, or None; memory does not follow its size.

        Raises:
            StoredDataError: what lies there is no file, or cannot be read.
        """

    def paths(self, prefix: str) -> Iterator[str]:
        """Yield the paths that start with `prefix` (which ends in a slash), in order."""

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix` that have something below them, in order."""

    def sizes(self, folder: str, name: str, first: str, last: str) -> dict[str, int]:
        """Return the bytes of the file `name` in each child of a folder, by child, from `first` to `last` (names) included.

        One listing, not one request a file. Children without such a file are left out.
        """

    def delete(self, path: str) -> None:
        """Remove `path`; nothing happens where there is none."""

    def stage(self, path: str, data: bytes) -> Staged:
        """Bring `data` as far as they can be without being seen; `path` lies in staging/."""

    def keep(self, path: str, kept: str) -> None:
        """Make the content of `path`, which is there, the content of `kept` too."""

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        """Remove what has lain in staging/ for long; return how many files. `spare` holds paths that stay."""


class FolderStore:
    """A folder. Objects are written in staging/, synced, renamed, and the folder synced.

    OSError is passed on: a full disk or a folder that may not be written says so itself.
    """

    def __init__(self, root: Path) -> None:
        self.url = str(root.resolve())
        self._root = root

    def put(self, path: str, data: bytes) -> None:
        staged = _StagedFile(self._root, self._root / STAGING / f".{uuid4().hex}.part", data)
        try:
            staged.publish(path)
        except BaseException:
            staged.discard()
            raise

    def create(self, path: str, data: bytes) -> bool:
        target = self._root / path
        staged = self._root / STAGING / f".{uuid4().hex}.part"
        written = _StagedFile(self._root, staged, data)
        try:
            _make_folder(target.parent)
            # A name that is given whole or refused: nobody sees a part, and of two processes one is refused.
            os.link(staged, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if target.exists():
                return False
            written.publish(path)
        finally:
            written.discard()
        _sync(target.parent)
        return True

    def stage(self, path: str, data: bytes) -> Staged:
        return _StagedFile(self._root, self._root / path, data)

    def get(self, path: str) -> bytes | None:
        file = self._root / path
        if (opened := _opened(file)) is None:
            return None
        with opened, _reading(file):
            return opened.read()

    def open(self, path: str) -> BufferedIOBase | None:
        return _opened(self._root / path)

    def paths(self, prefix: str) -> Iterator[str]:
        folder = self._root / prefix
        for base, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                if not name.endswith(".part"):
                    yield str((Path(base) / name).relative_to(self._root))

    def children(self, prefix: str) -> Iterator[str]:
        folder = self._root / prefix
        if folder.is_dir():
            yield from sorted(child.name for child in folder.iterdir() if child.is_dir())

    def sizes(self, folder: str, name: str, first: str, last: str) -> dict[str, int]:
        found = {}
        try:
            handle = os.open(self._root / folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        try:
            # From the folder on: of 200,000 files the way from the root takes longer than the files.
            for child in os.listdir(handle):  # noqa: PTH208  a handle is no path
                if first <= child <= last:
                    try:
                        about = os.stat(f"{child}/{name}", dir_fd=handle)
                    except OSError as error:
                        if error.errno not in _NO_FILE | _OF_THE_FILE:
                            raise
                        continue
                    if stat.S_ISREG(about.st_mode):
                        found[child] = about.st_size
        finally:
            os.close(handle)
        return found

    def delete(self, path: str) -> None:
        file = self._root / path
        file.unlink(missing_ok=True)
        with suppress(OSError):  # it has other files, or is not there
            file.parent.rmdir()

    def keep(self, path: str, kept: str) -> None:
        source, target = self._root / path, self._root / kept
        if target.exists() and target.read_bytes() == source.read_bytes():
            return
        _make_folder(target.parent)
        try:
            target.unlink(missing_ok=True)
            # A second name for the same bytes. Files are replaced, never written into, so both stay what they are.
            os.link(source, target)
        except OSError:  # a file system without hard links, or another one
            self.put(kept, source.read_bytes())
        else:
            _sync(target.parent)

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        removed = 0
        limit = time.time() - older_than_s
        for base, folders, names in os.walk(self._root / STAGING, topdown=False):
            for name in names:
                file = Path(base) / name
                with suppress(FileNotFoundError):
                    # Not the time of the content: a second name for an old file is as young as its making.
                    if file.stat().st_ctime < limit and file.relative_to(self._root).as_posix() not in spare:
                        file.unlink()
                        removed += 1
            for name in folders:
                with suppress(OSError):
                    if (folder := Path(base) / name).stat().st_ctime < limit:
                        folder.rmdir()
        return removed


class _StagedFile:
    """A file that was written and synced; publishing renames it."""

    def __init__(self, root: Path, file: Path, data: bytes) -> None:
        self._root = root
        self._file = file
        _make_folder(root)
        file.parent.mkdir(parents=True, exist_ok=True)  # not synced: nobody misses what is lost in staging/
        try:
            _write(file, data)
        except BaseException:
            self.discard()
            raise

    def verify(self, data: bytes) -> None:
        require_same(str(self._file), data, self._file.read_bytes())

    def publish(self, path: str) -> None:
        target = self._root / path
        _make_folder(target.parent, self._root)
        try:
            _move(self._file, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A part of the lake lies on another disk, behind a link: from staging/ there is no rename to it.
            beside = target.with_name(f".{uuid4().hex}.part")
            _write(beside, self._file.read_bytes())
            _move(beside, target)
            self._file.unlink()
        _sync(target.parent)

    def discard(self) -> None:
        self._file.unlink(missing_ok=True)
        if self._file.parent != self._root / STAGING:  # that one is everybody's
            with suppress(OSError):
                self._file.parent.rmdir()


_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR})

_OF_THE_FILE = frozenset(
    {
        *(errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ELOOP, errno.ENAMETOOLONG, errno.EOVERFLOW),
        *(errno.EACCES, errno.EPERM, errno.EIO, errno.EBADMSG, errno.EUCLEAN),
    }
)
"""Numbers of an OSError that speak of one file: no file, not ours to read, or on a bad place of the disk. The others (no
memory, no file descriptors, a file system that is gone) speak of more than the file and are passed on."""


def _opened(file: Path) -> BufferedReader | None:
    """Return a regular file, opened to be read; None where there is none.

    Raises:
        StoredDataError: something else lies there, or it cannot be read.
    """
    try:
        with _reading(file):
            # Without O_NONBLOCK a FIFO that nobody writes to would be waited for, for ever.
            handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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
    raise StoredDataError(f"{file}: expected a file, found {what}; `crypto-assets collect` for that day replaces it")


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
        if error.errno not in _OF_THE_FILE:
            raise
        raise StoredDataError(
            f"{file}: expected a file that can be read, found one that cannot ({error.strerror}); check its permissions and "
            "the disk, `crypto-assets collect` for that day replaces it"
        ) from None


def _move(file: Path, target: Path) -> None:
    """Give a file the place of another one; a folder there is set aside, beside it."""
    try:
        file.replace(target)
    except IsADirectoryError:
        _set_aside(target)
        file.replace(target)


def _set_aside(place: Path) -> None:
    """Give what lies in a place that is ours another name: somebody may want it, and it is in the way of one day only."""
    place.rename(place.with_name(f"{place.name}.{uuid4().hex[:8]}.set-aside"))


def _write(file: Path, data: bytes) -> None:
    try:
        with file.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        file.chmod(0o644)
    except OSError as error:
        error.filename = error.filename or str(file)  # a full disk does not say which
        raise


def require_same(where: str, expected: bytes, found: bytes | None) -> None:
    if found != expected:
        size = "nothing" if found is None else f"{len(found)} bytes that are others"
        raise StoredDataError(
            f"{where}: expected the {len(expected)} bytes that were written, read back {size}; check the disk or the bucket"
        )


def _make_folder(folder: Path, root: Path | None = None) -> None:
    """Make a folder and those above it; a new one is as lasting as the file that comes into it.

    A file in the place of one below `root` is set aside, beside it.
    """
    if folder.is_dir():
        return
    _make_folder(folder.parent, root if folder != root else None)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        if root is None or folder == root:
            raise
        _set_aside(folder)
        folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_store(url: str, s3_client: Callable[[], Any] | None = None) -> Store:
    """Return the store of a lake URL: s3://bucket/prefix or a folder."""
    if url.startswith("s3://"):
        from crypto_assets.storage.bucket import BucketStore

        return BucketStore(url, s3_client)
    return FolderStore(Path(url.removeprefix("file://")))
