"""Homes of the embedded Postgres: long paths, homes that are deleted, moved or made again, copies of the binaries."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from crypto_assets.storage.embedded_postgres import (
    binaries,
    delete_server,
    ensure_server,
    leftovers,
    placement,
    stop_server,
)
from crypto_assets_tests.storage.other_user import STRANGER, needs_root
from crypto_assets_tests.storage.test_embedded_access import socket_of, state_of
from crypto_assets_tests.waiting import wait_for

# ---- homes ----------------------------------------------------------------------------------------------------------


def test_a_home_with_a_long_path_has_its_socket_in_a_short_folder_of_its_own() -> None:
    top = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    top.chmod(0o711)
    deep = top / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    try:
        url = ensure_server(deep, durable=False)
        folder = socket_of(url)
        assert folder.parent == Path("/tmp")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("crypto_assets",)
    finally:
        delete_server(deep)
    assert not folder.exists()


@needs_root
def test_servers_that_start_at_once_remove_the_same_leftovers(tmp_path: Path) -> None:
    base = tmp_path / "lib"
    base.mkdir()
    names = [f"{leftovers.OWN_PREFIX}{number:03}" for number in range(120)]
    for name in names:
        folder = tmp_path / name / "postgres"
        folder.mkdir(parents=True)
        (base / name / "data").mkdir(parents=True)
        leftovers.remember_home(base / name, folder)
        folder.rmdir()
    with ThreadPoolExecutor(4) as pool:
        removed = [one.result() for one in [pool.submit(leftovers.remove_leftovers, (base,)) for _ in range(4)]]
    assert {path.name for paths in removed for path in paths} == set(names)
    assert list(base.iterdir()) == []


@needs_root
def test_the_next_start_removes_what_a_deleted_home_has_left_and_keeps_that_of_an_unmounted_one(tmp_path: Path) -> None:
    base = tmp_path / "lib"
    base.mkdir()
    homes = {
        name: tmp_path / name / "home" / "postgres" for name in ("deleted", "there", "unmounted", "foreign", "odd")
    }
    for name, folder in homes.items():
        folder.mkdir(parents=True)
        own = base / f"{leftovers.OWN_PREFIX}{name}"
        (own / "data").mkdir(parents=True)
        leftovers.remember_home(own, folder)
    for name in ("deleted", "unmounted", "foreign", "odd"):
        homes[name].rmdir()
        homes[name].parent.rmdir()
    # The folder above the home is another one now, as a mount point is without its disk.
    (tmp_path / "unmounted").rmdir()
    (tmp_path / "keeps the inode").mkdir()
    (tmp_path / "unmounted").mkdir()
    os.chown(base / f"{leftovers.OWN_PREFIX}foreign", STRANGER, STRANGER)
    (base / f"{leftovers.OWN_PREFIX}odd" / "home.json").write_text('{"folder": 7, "above": []}')
    removed = leftovers.remove_leftovers((base,))
    assert [path.name for path in removed] == ["crypto_assets-deleted"]
    kept = {path.name.removeprefix(leftovers.OWN_PREFIX) for path in base.iterdir()}
    assert kept == {"there", "unmounted", "foreign", "odd"}


@needs_root
def test_a_home_that_was_deleted_while_its_server_was_down_leaves_nothing_after_the_next_start(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    ensure_server(closed, durable=False)
    own = Path(state_of(closed)["data"]).parent
    assert json.loads((own / "home.json").read_text())["folder"] == str(closed / "postgres")
    stop_server(closed)
    subprocess.run(["rm", "-rf", closed], check=True)
    assert own.exists()
    stop_server(home)
    ensure_server(home, durable=False)
    assert not own.exists()


@needs_root
def test_a_home_that_is_deleted_and_made_again_at_once_has_databases_of_its_own(home: Path) -> None:
    """The first home's supervisor is then still at work in /var/lib, and removes the remains of the first home."""
    closed = home / "again"
    closed.mkdir(mode=0o700)
    with psycopg.connect(ensure_server(closed, durable=False)) as connection:
        connection.execute("CREATE TABLE of_the_first (n int)")
    first = Path(state_of(closed)["data"])
    subprocess.run(["rm", "-rf", closed], check=True)
    closed.mkdir(mode=0o700)
    url = ensure_server(closed, durable=False)
    second = Path(state_of(closed)["data"])
    assert second != first
    wait_for("what the first has left is removed", lambda: not first.parent.exists())
    assert json.loads((second.parent / "home.json").read_text())["folder"] == str(closed / "postgres")
    assert state_of(closed)["data"] == str(second), "the first has not removed the state of the second"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('of_the_first')").fetchone() == (None,)
    delete_server(closed)
    assert not second.parent.exists()
    closed.rmdir()


@needs_root
def test_a_folder_outside_the_home_has_its_record_before_its_data_and_gets_it_back(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    folder.mkdir(mode=0o700)
    found = placement.place(folder)
    own = found.data.parent
    try:
        assert own != folder, "pytest's folders are for their owner alone"
        assert {path.name for path in own.iterdir()} == {"home.json"}
        assert placement.place(folder) == found
        (own / "home.json").unlink()
        assert placement.place(folder) == found
        assert json.loads((own / "home.json").read_text())["folder"] == str(folder)
        moved = folder.rename(tmp_path / "moved")
        assert placement.place(moved).data == found.data
        assert json.loads((own / "home.json").read_text())["folder"] == str(moved)
    finally:
        shutil.rmtree(own)


@needs_root
@pytest.mark.parametrize("what", ["made again", "the same", "being made", "not whole", "on another disk"])
def test_databases_of_a_home_that_was_made_again_are_removed_and_no_others(tmp_path: Path, what: str) -> None:
    base, folder = tmp_path / "lib", tmp_path / "home" / "postgres"
    folder.mkdir(parents=True)
    old, new = (base / f"{leftovers.OWN_PREFIX}{name}" for name in ("old", "new"))
    for own in (old, new):
        (own / "data").mkdir(parents=True)
        (own / "data" / "PG_VERSION").write_text("18\n")
        leftovers.remember_home(own, folder)
    if what == "the same":
        new = old
    if what != "being made":
        (folder / "location.json").write_text(json.dumps({"data": str(new / "data")}))
    if what == "not whole":
        (new / "data" / "PG_VERSION").unlink()
    if what == "on another disk":
        record = json.loads((old / "home.json").read_text())
        record["above"][str(folder.parent)][0] += 1
        (old / "home.json").write_text(json.dumps(record))
    removed = [path for path in leftovers.remove_leftovers((base,)) if path == old]
    assert removed == ([old] if what == "made again" else [])
    assert old.exists() == (what != "made again")


@needs_root
def test_copies_of_the_binaries_are_shared_and_go_with_the_last_home_that_uses_them(tmp_path: Path) -> None:
    package = tmp_path / "site" / "embedded_postgres"
    (package / "pginstall" / "bin").mkdir(parents=True)
    program = package / "pginstall" / "bin" / "postgres"
    shutil.copy("/bin/sleep", program)
    (package / "__init__.py").touch()
    base = tmp_path / "lib"
    one, two = (base / f"{leftovers.OWN_PREFIX}{name}" for name in ("one", "two"))
    for own in (one, two):
        own.mkdir(parents=True)
    copy = binaries.shared_binaries(package, one)
    assert binaries.shared_binaries(package, two) == copy, "35 MB are there once"
    assert (copy / "postgres").read_bytes() == program.read_bytes()
    assert [path.name for path in copy.parents[1].iterdir()] == ["pginstall"]
    assert stat.S_IMODE((copy / "postgres").stat().st_mode) & 0o022 == 0
    shutil.copy("/bin/cat", program)  # another version: it no longer belongs to the first
    newer = binaries.shared_binaries(package, two)
    assert newer != copy
    assert binaries.remove_unused(base) == []
    running = subprocess.Popen([copy / "postgres", "60"])
    one.rmdir()
    assert binaries.remove_unused(base) == [], "a program of it runs"
    running.kill()
    running.wait()
    assert binaries.remove_unused(base) == [copy.parents[2]]
    assert newer.exists()
    two.rmdir()
    assert leftovers.remove_leftovers((base,)) == [newer.parents[2]]
    assert [path.name for path in (base / binaries.FOLDER).iterdir()] == ["lock"]


@needs_root
def test_a_copy_that_was_cut_short_is_made_again_and_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    package, base = tmp_path / "embedded_postgres", tmp_path / "lib"
    (package / "pginstall" / "bin").mkdir(parents=True)
    (package / "pginstall" / "bin" / "postgres").write_text("program")
    own = base / f"{leftovers.OWN_PREFIX}one"
    own.mkdir(parents=True)
    copy = binaries.shared_binaries(package, own)
    copy.parents[2].rename(copy.parents[2].with_name(f"{copy.parents[2].name}.tmp"))
    assert (binaries.shared_binaries(package, own) / "postgres").read_text() == "program"
    shutil.rmtree(base / binaries.FOLDER)
    (tmp_path / "elsewhere").mkdir()
    (base / binaries.FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="found a link"):
        binaries.shared_binaries(package, own)
    assert binaries.remove_unused(base) == []
    assert list((tmp_path / "elsewhere").iterdir()) == []


@needs_root
def test_a_home_that_cannot_be_looked_at_is_not_deleted() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        closed, own = Path(name) / "closed", Path(name) / "lib" / f"{leftovers.OWN_PREFIX}one"
        folder = closed / "home" / "postgres"
        for path in (folder, own):
            path.mkdir(parents=True)
        leftovers.remember_home(own, folder)
        for path in (Path(name), own.parent, own, own / "home.json"):
            os.chown(path, STRANGER, STRANGER)
        closed.chmod(0o700)
        os.seteuid(STRANGER)
        try:
            assert leftovers.remove_leftovers((own.parent,)) == []
            assert leftovers.kept_without_home((own.parent,)) == []
        finally:
            os.seteuid(0)
        assert own.exists()


@needs_root
def test_what_is_kept_of_a_home_that_is_missing_is_said_in_a_line(tmp_path: Path) -> None:
    folder, base = tmp_path / "mount" / "home" / "postgres", tmp_path / "lib"
    folder.mkdir(parents=True)
    own = base / f"{leftovers.OWN_PREFIX}one"
    own.mkdir(parents=True)
    leftovers.remember_home(own, folder)
    assert leftovers.kept_without_home((base,)) == []
    shutil.move(tmp_path / "mount", tmp_path / "disk")
    (tmp_path / "mount").mkdir()
    assert leftovers.remove_leftovers((base,)) == []
    [line] = leftovers.kept_without_home((base,))
    assert line.startswith(f"kept {own}: its home {folder.parent} is missing, maybe because its disk is not mounted")
