"""Operations on a file of a lake happen in the checked folder, and a folder that cannot be listed is not empty."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest

from crypto_assets.errors import CryptoAssetsError, UnsafePath
from crypto_assets.quality.quarantine.refused_files import refused_files
from crypto_assets.storage import folders
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.stores import FolderStore
from crypto_assets_tests.storage.other_user import STRANGER, needs_root

SYMBOL = "exchange=x/symbol=A"
FILE = f"{SYMBOL}/data.parquet"

# RENAME_EXCHANGE (2) swaps two names at once: the folder exists at every moment.
_EXCHANGE_FOR_EVER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
one, other = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
def exchange():
    if libc.renameat2(-100, one, -100, other, 2):
        sys.exit(os.strerror(ctypes.get_errno()))
exchange()
print("ready", flush=True)
while True:
    exchange()
"""


def put_elsewhere(store: FolderStore) -> None:
    store.put(f"{SYMBOL}/put", b"ours")


def create_elsewhere(store: FolderStore) -> None:
    store.create(f"{SYMBOL}/created-{uuid4().hex}", b"ours")


def publish_elsewhere(store: FolderStore) -> None:
    staged = store.stage("staging/a/0.staged", b"ours")
    staged.verify(b"ours")
    staged.publish(f"{SYMBOL}/date=2024-01-01/published")


def keep_from(store: FolderStore) -> bytes | None:
    store.keep(FILE, "versions/kept")
    return store.get("versions/kept")


def opened(store: FolderStore) -> bytes | None:
    if (file := store.open(FILE)) is None:
        return None
    with file:
        return file.read()


USES: dict[str, Callable[[FolderStore], Any]] = {
    "get": lambda store: store.get(FILE),
    "open": opened,
    "sizes": lambda store: store.sizes("exchange=x/", "data.parquet", "symbol=A", "symbol=A"),
    "paths": lambda store: [path for path in store.paths(f"{SYMBOL}/") if "only" in path],
    "children": lambda store: [name for name in store.children(f"{SYMBOL}/") if "only" in name],
    "keep from": keep_from,
    "keep to": lambda store: store.keep("exchange=x/file", f"{SYMBOL}/kept"),
    "put": put_elsewhere,
    "create": create_elsewhere,
    "publish": publish_elsewhere,
    "delete": lambda store: store.delete(f"{SYMBOL}/only/secret"),
}


@pytest.fixture
def theirs() -> Iterator[tuple[Path, Path]]:
    """A lake that belongs to another user, and a folder private to root."""
    with TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        lake, secret = Path(name) / "lake", Path(name) / "secret"
        (lake / SYMBOL).mkdir(parents=True)
        (lake / FILE).write_bytes(b"inside")
        (lake / "exchange=x" / "file").write_bytes(b"file")
        (lake / "exchange=x" / "link").symlink_to(secret)
        for path in (lake, *lake.rglob("*")):
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
        (secret / "only").mkdir(parents=True)
        (secret / "only" / "secret").write_bytes(b"much longer: secret")
        (secret / "data.parquet").write_bytes(b"much longer: secret")
        secret.chmod(0o700)
        yield lake, secret


@needs_root
def test_a_link_that_is_put_in_the_place_of_a_folder_at_any_moment_leads_nowhere(theirs: tuple[Path, Path]) -> None:
    lake, secret = theirs
    before = {path: path.stat().st_ctime_ns for path in (secret, *secret.rglob("*"))}
    names = str(lake / SYMBOL), str(lake / "exchange=x" / "link"), str(STRANGER)
    store, seen = FolderStore(lake), Counter[tuple[str, str]]()
    attacker = subprocess.Popen([sys.executable, "-c", _EXCHANGE_FOR_EVER, *names], stdout=subprocess.PIPE, text=True)
    try:
        assert attacker.stdout is not None
        if attacker.stdout.readline() != "ready\n":
            pytest.skip("two names cannot be exchanged here")
        deadline = time.monotonic() + 2
        for _ in count():
            for name, use in USES.items():
                try:
                    seen[name, str(use(store))] += 1
                except (CryptoAssetsError, OSError) as error:
                    seen[name, type(error).__name__] += 1
            if time.monotonic() > deadline:
                break
        assert attacker.poll() is None
    finally:
        attacker.kill()
        attacker.communicate()
    found: dict[str, set[str]] = {name: {text for use, text in seen if use == name} for name in USES}
    refused = {"UnsafePath", "FileNotFoundError", "NotADirectoryError"}
    for name in ("get", "open", "keep from"):
        assert found[name] - refused <= {"b'inside'", "None"}
    assert found["sizes"] <= {"{'symbol=A': 6}", "{}"}
    assert found["paths"] - refused == found["children"] - refused == {"[]"}
    for name in ("keep to", "put", "create", "publish", "delete"):
        assert found[name] - refused <= {"None"}
    assert {path: path.stat().st_ctime_ns for path in (secret, *secret.rglob("*"))} == before
    # Both must have occurred, otherwise nothing was tested.
    assert all(
        seen[both] for both in (("get", "UnsafePath"), ("get", "b'inside'"), ("put", "UnsafePath"), ("put", "None"))
    )


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_sizes_are_the_same_whether_others_may_change_the_folder_or_not(tmp_path: Path, mode: int) -> None:
    store = FolderStore(tmp_path / "lake")
    store.put("a/one/file", b"1")
    store.put("a/two/other", b"22")
    store.put("a/file", b"333")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_bytes(b"4444")
    (tmp_path / "lake/a/three").symlink_to(tmp_path / "disk")
    (tmp_path / "lake/a/gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "lake/a/self").symlink_to("self")
    (tmp_path / "lake/a").chmod(mode)
    assert store.sizes("a/", "file", "", "~") == {"one": 1, "three": 4}
    assert list(store.children("a/")) == ["one", "three", "two"]


def test_systems_that_cannot_open_a_link_follow_the_same_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_PATH", raising=False)
    monkeypatch.setattr(folders, "_ANY_FOLDER", os.O_RDONLY | os.O_DIRECTORY)
    monkeypatch.setattr(folders, "_FOLDER", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    store = FolderStore(tmp_path / "lake")
    store.put(FILE, b"ours")
    (tmp_path / "lake/exchange=y").symlink_to("exchange=x")
    (tmp_path / "lake/exchange=z").symlink_to(tmp_path / "nothing")
    (tmp_path / "lake/quarantine").mkdir()
    (tmp_path / "lake/quarantine/a").symlink_to(tmp_path / "lake")
    assert store.get(FILE.replace("=x", "=y")) == b"ours"
    assert store.get(FILE.replace("=x", "=z")) is store.get(f"{FILE}/x") is None
    assert store.sizes("exchange=y/", "data.parquet", "", "~") == {"symbol=A": 4}
    with pytest.raises(UnsafePath, match="found a link"):
        store.get(f"quarantine/a/{FILE}")
    before = os.stat

    def exchanged(*arguments: Any, **named: Any) -> os.stat_result:
        found = before(*arguments, **named)
        if arguments[0] == "exchange=y":
            (tmp_path / "lake/exchange=y").unlink()
            (tmp_path / "lake/exchange=y").symlink_to(tmp_path)
        return found

    monkeypatch.setattr(os, "stat", exchanged)
    with pytest.raises(UnsafePath, match="was changed just now"):
        store.get(FILE.replace("=x", "=y"))


# ---- a folder that cannot be listed is not empty ------------------------------------------------------------------------


@contextmanager
def no_more_files() -> Iterator[None]:
    """No file can be opened in this process during the block."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


LISTINGS: dict[str, Callable[[Lake], Any]] = {
    "paths": lambda lake: list(lake.store.paths("quarantine/")),
    "children": lambda lake: list(lake.store.children("quarantine/")),
    "sizes": lambda lake: lake.store.sizes("quarantine/", "x", "", "~"),
    "sweep": lambda lake: lake.store.sweep(-60.0, ()),
    "get": lambda lake: lake.store.get("quarantine/a/x"),
    "refused files": refused_files,
}


@pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS)
def test_where_no_file_can_be_opened_nothing_is_said_to_be_missing(
    tmp_path: Path, listing: Callable[[Lake], Any]
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.store.put("quarantine/a/x", b"refused")
    lake.store.put("staging/a/x", b"left over")
    with no_more_files(), pytest.raises(OSError, match="Too many open files") as raised:
        listing(lake)
    assert raised.value.errno == errno.EMFILE
    assert str(raised.value.filename).startswith(str(tmp_path / "lake"))
    assert listing(lake)


def test_a_folder_that_does_not_exist_has_nothing_in_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    for _ in range(2):
        assert list(store.paths("quarantine/")) == list(store.children("quarantine/")) == []
        assert store.sizes("a/", "x", "", "~") == {}
        assert store.sweep(-60.0, ()) == 0
        store.put("quarantine", b"a file")


@needs_root
def test_a_folder_that_may_not_be_listed_is_named(theirs: tuple[Path, Path]) -> None:
    lake, _ = theirs
    store = FolderStore(lake)
    store.put("quarantine/b/x", b"refused")
    store.put("quarantine/a/x", b"refused")
    store.put("staging/a/x", b"left over")
    store.put("staging/b/x", b"left over")
    os.chown(lake / "staging/b", STRANGER, -1)
    for folder in ("quarantine/a", "staging/a"):
        (lake / folder).chmod(0o700)
    os.seteuid(STRANGER)
    try:
        with pytest.raises(PermissionError, match=f"{lake}/quarantine/a"):
            list(store.paths("quarantine/"))
        assert store.sweep(-60.0, ()) == 1  # private files of another user are left to that user
    finally:
        os.seteuid(0)
    assert not (lake / "staging/b/x").exists()
    assert (lake / "staging/a/x").exists()


def test_folders_below_each_other_without_end_end_no_listing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    store.put("quarantine/b", b"refused")
    above = os.open(tmp_path / "lake/quarantine", os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("a", dir_fd=above)
        below = os.open("a", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(above)
    try:
        assert list(store.paths("quarantine/")) == ["quarantine/b"]
    finally:
        subprocess.run(["rm", "-r", str(tmp_path / "lake")], check=True)  # shutil.rmtree is recursive


# ---- an object in a file's place is replaced ----------------------------------------------------------------------------


def test_new_bytes_are_not_written_into_a_file_that_has_another_name(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    store.put("a/x", b"ours")
    store.keep("a/x", "staging/1/0.staged")
    store.stage("staging/1/0.staged", b"new").publish("a/y")
    assert store.get("a/x") == b"ours"
    assert store.get("a/y") == b"new"


def test_what_lies_in_the_place_of_a_folder_is_set_aside(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    store.put("a", b"in the way")
    (tmp_path / "lake/b").symlink_to(tmp_path / "nothing")
    for path in ("a/x", "b/x"):
        assert store.get(path) is None
        store.put(path, b"ours")
        assert store.get(path) == b"ours"
    (tmp_path / "lake/c").symlink_to("c")
    store.put("c/x", b"ours")
    [aside] = (tmp_path / "lake").glob("a.*.set-aside")
    assert aside.read_bytes() == b"in the way"
    assert not (tmp_path / "nothing").exists()


def open_handles() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except FileNotFoundError:
        pytest.skip("this system does not list the handles of a process")


def test_no_handle_stays_open(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "lake")
    store.put(FILE, b"ours")
    (tmp_path / "lake/quarantine").mkdir()
    (tmp_path / "lake/quarantine/a").symlink_to(tmp_path)
    before = open_handles()
    for use in USES.values():
        with suppress(FileNotFoundError):
            use(store)
    for path in ("quarantine/a/x", "a/b/c", f"{FILE}/x"):
        with suppress(UnsafePath):
            store.get(path)
        with suppress(UnsafePath, FileNotFoundError, NotADirectoryError):
            store.keep(path, "versions/x")
    assert open_handles() == before
