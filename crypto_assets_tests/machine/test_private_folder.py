"""Folders private to one account: those prepared by others are refused, at any umask and path."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto_assets.machine.private_folder import (
    MOST_SOCKET_BYTES,
    private_folder,
    private_folders,
    remove_socket_folders,
    socket_folder,
    write_private,
)
from crypto_assets_tests.storage.other_user import STRANGER, needs_root


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_modes_are_what_they_should_be_under_every_umask(tmp_path: Path, umask: int) -> None:
    assert private_folders(tmp_path / "above" / "home") == tmp_path / "above" / "home"
    assert (mode(tmp_path / "above"), mode(tmp_path / "above" / "home")) == (0o700, 0o700)
    (tmp_path / "above").chmod(0o755)
    assert mode(private_folders(tmp_path / "above" / "other").parent) == 0o755
    folder = private_folder(tmp_path / "own")
    assert mode(folder) == 0o700
    assert mode(private_folder(tmp_path / "walked", mode=0o711)) == 0o711
    write_private(folder / "file", "text")
    assert mode(folder / "file") == 0o600
    folder.chmod(0o777)
    assert mode(private_folder(folder)) == 0o700
    assert mode(socket_folder(tmp_path / "sockets", "s")) == 0o700


@pytest.mark.parametrize("what", ["file", "link", "dangling", "fifo"])
def test_what_is_no_folder_is_refused(tmp_path: Path, what: str) -> None:
    place, target = tmp_path / "place", tmp_path / "target"
    match what:
        case "file":
            place.write_text("x")
        case "fifo":
            os.mkfifo(place)
        case _:
            place.symlink_to(target)
            if what == "link":
                target.mkdir(mode=0o755)
    for make in (private_folder, lambda path: socket_folder(path, "s")):
        with pytest.raises(PermissionError, match="expected a folder, found a link or a file; remove it"):
            make(place)
    assert not target.exists() or mode(target) == 0o755


@needs_root
def test_a_folder_of_another_user_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    os.chown(place, STRANGER, STRANGER)
    with pytest.raises(PermissionError, match=f"found one of {STRANGER}"):
        private_folder(place)
    assert (mode(place), place.stat().st_uid) == (0o777, STRANGER)


@pytest.mark.parametrize("name", ["a" * 120, "with space", "per%20cent", "quest?ion", "comma,'\"", "币安"])
def test_a_socket_lies_under_tmp_where_the_path_does_not_do_for_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    found = socket_folder(tmp_path / name / "sockets", "code-server")
    try:
        assert found.parent == Path("/tmp")
        assert mode(found) == 0o700
        assert len(os.fsencode(found / "code-server")) <= MOST_SOCKET_BYTES
        assert socket_folder(tmp_path / name / "sockets", "code-server") == found
    finally:
        found.rmdir()


@needs_root
@pytest.mark.parametrize("trap", ["folder", "link"])
def test_whoever_takes_the_name_under_tmp_first_gets_nothing(tmp_path: Path, trap: str) -> None:
    (tmp_path / "with space").mkdir()
    wanted = socket_folder(tmp_path / "with space" / "sockets", "s")
    wanted.rmdir()
    if trap == "folder":
        wanted.mkdir()
        os.chown(wanted, STRANGER, STRANGER)
    else:
        (tmp_path / "trap").mkdir()
        wanted.symlink_to(tmp_path / "trap")
    beside = tmp_path / "with space" / "sockets"
    found = socket_folder(beside, "s")
    foreign = Path(f"{found}x")
    foreign.mkdir()
    os.chown(foreign, STRANGER, STRANGER)
    try:
        assert found != wanted
        assert found.parent == Path("/tmp")
        assert (mode(found), found.stat().st_uid) == (0o700, os.geteuid())
        assert socket_folder(beside, "s") == found, "it is found again"

        (found / "s").touch()
        for ending in ("-00000000", "-zzzzzzzz"):  # left by earlier starts
            wanted.with_name(wanted.name + ending).mkdir(mode=0o700)
        assert socket_folder(beside, "s") == found, "the one that is in use"
        assert set(Path("/tmp").glob(f"{wanted.name}*")) == {wanted, found, foreign}

        remove_socket_folders(beside)
        assert set(Path("/tmp").glob(f"{wanted.name}*")) == {wanted, foreign}
    finally:
        foreign.rmdir()
        wanted.unlink() if wanted.is_symlink() else wanted.rmdir()
