"""Where the lake's bytes lie: a folder, or a bucket. Both put whole objects or nothing.

Streams from pyarrow, ParquetWriter and s3fs publish what was written so far when an exception ends them, so an object is
encoded to a buffer first and put at once. `staging/` holds what nobody is to read yet. Which text is a path of a store, and
which links in a folder are followed, says `inside.py`; both stores ask it for every path.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from crypto_assets.errors import StoredDataError, UnsafePath
from crypto_assets.storage.files import NO_FILE, OF_THE_FILE, content_of, make_folder, move, opened_file, sync, write
from crypto_assets.storage.inside import folder_inside, inside, require_own_folders

STAGING = "staging/"


class Staged(Protocol):
    """New bytes on their way into a store, lasting but not yet under their name."""

    def verify(self, data: bytes) -> None:
        """Read them back; raises StoredDataError where they are not `data`."""

    def publish(self, path: str) -> None:
        """Make them the whole content of `path`; a reader sees the former content or this, never a part."""

    def discard(self) -> None:
        """Remove what is left in staging/."""


class Store(Protocol):
    """A flat space of objects under paths with slashes; `url` is the same for everyone who means the same place.

    Every method raises UnsafePath, and does nothing, for a path that leads outside of the store.
    """

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

    def __init__(self, root: Path, *, mode: int = 0o755) -> None:
        self.url = str(root.resolve())
        self._root = root
        self._mode = mode  # of the folder itself, where it is made; those below it have 0755
        self._text = str(root)

    def _place(self, path: str) -> Path:
        """Return where a file of this store has its place."""
        place = inside(self._text, path)
        require_own_folders(self._text, path)
        return Path(place)

    def _folder(self, prefix: str) -> str:
        """Return where a folder of this store has its place; the empty prefix is the whole."""
        place = folder_inside(self._text, prefix)
        require_own_folders(self._text, f"{prefix.removesuffix('/')}/")
        return place

    def _make_folder(self, folder: Path, root: Path | None = None, *, lasting: bool = True) -> None:
        """Make a folder of this store, and the store itself where there is none yet."""
        if not self._root.is_dir():
            make_folder(self._root, mode=self._mode)
        make_folder(folder, root, lasting=lasting)

    def put(self, path: str, data: bytes) -> None:
        self._place(path)  # before anything is written
        staged = self.stage(f"{STAGING}.{uuid4().hex}.part", data)
        try:
            staged.publish(path)
        except BaseException:
            staged.discard()
            raise

    def create(self, path: str, data: bytes) -> bool:
        target = self._place(path)
        written = self.stage(f"{STAGING}.{uuid4().hex}.part", data)
        try:
            self._make_folder(target.parent)
            # A name that is given whole or refused: nobody sees a part, and of two processes one is refused.
            os.link(written.file, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if target.exists():
                return False
            written.publish(path)
        finally:
            written.discard()
        sync(target.parent)
        return True

    def stage(self, path: str, data: bytes) -> _StagedFile:
        return _StagedFile(self, self._place(path), data)

    def get(self, path: str) -> bytes | None:
        return content_of(self._place(path))

    def open(self, path: str) -> BufferedIOBase | None:
        return opened_file(self._place(path))

    def paths(self, prefix: str) -> Iterator[str]:
        folder = self._folder(prefix)
        for base, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                if not name.endswith(".part"):
                    yield str((Path(base) / name).relative_to(self._root))

    def children(self, prefix: str) -> Iterator[str]:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._folder(prefix)) as entries:
            yield from sorted(entry.name for entry in entries if entry.is_dir())

    def sizes(self, folder: str, name: str, first: str, last: str) -> dict[str, int]:
        found = {}
        try:
            handle = os.open(self._folder(folder), os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        try:
            # From the folder on: of 200,000 files the way from the root takes longer than the files.
            with os.scandir(handle) as children:
                for child in children:
                    if first <= child.name <= last and (size := self._size(folder, child, name, handle)) is not None:
                        found[child.name] = size
        finally:
            os.close(handle)
        return found

    def _size(self, folder: str, child: os.DirEntry[str], name: str, handle: int) -> int | None:
        try:
            if child.is_symlink():
                self._folder(folder + child.name)
            about = os.stat(f"{child.name}/{name}", dir_fd=handle, follow_symlinks=False)
        except UnsafePath:
            return None
        except OSError as error:
            if error.errno not in NO_FILE | OF_THE_FILE:
                raise
            return None
        return about.st_size if stat.S_ISREG(about.st_mode) else None

    def delete(self, path: str) -> None:
        file = self._place(path)
        file.unlink(missing_ok=True)
        with suppress(OSError):  # it has other files, or is not there
            file.parent.rmdir()

    def keep(self, path: str, kept: str) -> None:
        source, target = self._place(path), self._place(kept)
        with suppress(StoredDataError):  # what lies there is no file
            if (there := self.get(kept)) is not None and there == self.get(path):
                return
        self._make_folder(target.parent)
        try:
            target.unlink(missing_ok=True)
            # A second name for the same bytes. Files are replaced, never written into, so both stay what they are.
            os.link(source, target, follow_symlinks=False)
        except OSError:  # a file system without hard links, or another one
            self.put(kept, content_of(source) or source.read_bytes())
        else:
            sync(target.parent)

    def sweep(self, older_than_s: float, spare: Container[str]) -> int:
        removed = 0
        limit = time.time() - older_than_s
        for base, folders, names in os.walk(self._folder(STAGING), topdown=False):
            for name in names:
                file = Path(base) / name
                with suppress(FileNotFoundError):
                    # Not the time of the content: a second name for an old file is as young as its making.
                    if file.lstat().st_ctime < limit and file.relative_to(self._root).as_posix() not in spare:
                        file.unlink()
                        removed += 1
            for name in folders:
                with suppress(OSError):
                    if (folder := Path(base) / name).lstat().st_ctime < limit:
                        folder.rmdir()
        return removed


class _StagedFile:
    """A file that was written and synced; publishing renames it."""

    def __init__(self, store: FolderStore, file: Path, data: bytes) -> None:
        self._store = store
        self.file = file
        store._make_folder(file.parent, lasting=False)  # nobody misses what is lost in staging/
        try:
            write(file, data)
        except BaseException:
            self.discard()
            raise

    def verify(self, data: bytes) -> None:
        require_same(str(self.file), data, content_of(self.file))

    def publish(self, path: str) -> None:
        target = self._store._place(path)
        self._store._make_folder(target.parent, self._store._root)
        try:
            move(self.file, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A part of the lake lies on another disk, behind a link: from staging/ there is no rename to it.
            beside = target.with_name(f".{uuid4().hex}.part")
            try:
                write(beside, self.file.read_bytes())
                move(beside, target)
            except BaseException:
                beside.unlink(missing_ok=True)  # a part of a file would take up room on a full disk
                raise
            self.file.unlink()
        sync(target.parent)

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        if self.file.parent != self._store._root / STAGING:  # that one is everybody's
            with suppress(OSError):
                self.file.parent.rmdir()


def require_same(where: str, expected: bytes, found: bytes | None) -> None:
    if found != expected:
        size = "nothing" if found is None else f"{len(found)} bytes that are others"
        raise StoredDataError(
            f"{where}: expected the {len(expected)} bytes that were written, read back {size}; check the disk or the bucket"
        )
