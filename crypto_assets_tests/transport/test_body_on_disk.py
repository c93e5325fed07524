"""Large bodies in temporary files: whole, or begun again; a full disk is told as one."""

from __future__ import annotations

import errno
import io
import tempfile
from mmap import mmap
from typing import Any

import httpx
import pytest

from crypto_assets.errors import OutOfResources
from crypto_assets.machine.temporary import temporary_file
from crypto_assets.transport import body
from crypto_assets.transport.body import Body, Pace
from crypto_assets.transport.bounds import file_bound

CONTENT = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MOST_IN_MEMORY", 20_000)


def begun(*, to_disk: bool = True) -> Body:
    made = Body("https://a.example/file", Pace(), file_bound(len(CONTENT)), to_disk=to_disk)
    made.begin(httpx.Response(200, headers={"content-length": str(len(CONTENT)), "etag": '"v1"'}))
    return made


def add_all(made: Body) -> None:
    for start in range(made.size, len(CONTENT), 5_000):
        made.add(CONTENT[start : start + 5_000])


@pytest.mark.parametrize(("to_disk", "kind"), [(True, mmap), (False, bytes)])
def test_a_large_body_is_on_disk_where_that_is_allowed(to_disk: bool, kind: type):
    made = begun(to_disk=to_disk)
    add_all(made)
    found = made.whole()
    assert isinstance(found, kind)
    assert found[:] == CONTENT


class FullOnce(io.BytesIO):
    """A temporary file on a disk that is full once; then there is room again."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def write(self, data: Any) -> int:
        if self.tell() >= self._at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("at", [0, 50_000])
def test_after_a_full_disk_the_body_begins_again_and_has_no_hole(at: int, monkeypatch: pytest.MonkeyPatch):
    made = begun()
    files = iter([FullOnce(at)])
    monkeypatch.setattr(body, "temporary_file", lambda: next(files, None) or temporary_file())
    with pytest.raises(OutOfResources, match="no room left"):
        add_all(made)
    assert made.range_headers() == {}
    made.begin(httpx.Response(200, headers={"content-length": str(len(CONTENT)), "etag": '"v1"'}))
    add_all(made)
    assert made.whole()[:] == CONTENT


def test_no_folder_for_temporary_files_is_told_as_that(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    with pytest.raises(OutOfResources, match="set TMPDIR"):
        add_all(begun())
