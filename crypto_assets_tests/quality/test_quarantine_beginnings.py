"""The beginning of a refused file can be shown, whatever is damaged in it."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from crypto_assets.quality.quarantine.refused_files import (
    content_of,
    drop,
    find,
)
from crypto_assets_tests.quality.test_quarantine import OF, files, running, sandbox, work
from crypto_assets_tests.sources.files import zipped
from crypto_assets_tests.workbench import Workbench

__all__ = ["running", "sandbox", "work"]


@pytest.mark.parametrize(
    ("content", "kind", "first"),
    [
        (zipped("a.csv", "1,2\n3,\x1b[2J4\n"), "zip, ", "1,2"),
        (zipped("a.csv", "x,y\n" * 40_000)[:-30], "cannot be unpacked", "PK"),
        (b"<!doctype html>\n<p>busy", "cannot be unpacked", "<!doctype html>"),
        (b"\x1f\x8bnothing", "cannot be unpacked", "."),
        (b"", "0 bytes that cannot", ""),
    ],
    ids=["zip", "cut", "html", "no gzip", "empty"],
)
def test_the_beginning_of_any_content_can_be_shown(work: Workbench, content: bytes, kind: str, first: str) -> None:
    path = work.lake.quarantine(OF, content, {})
    shown = content_of(work.lake, find(files(work), path)[0], 2)
    assert kind in shown.kind
    assert "".join(shown.lines[:1]).startswith(first)
    assert len(shown.lines) <= 2
    assert "\x1b" not in "".join(shown.lines)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_whatever_is_damaged_in_a_zip_its_beginning_can_be_shown(work: Workbench, method: int) -> None:
    """Decoders of methods that no exchange uses raise errors of their own, and are not asked."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("a.csv", random.Random(7).randbytes(600) + b"1,2\n" * 600)
    whole = packed.getvalue()
    chance = random.Random(11)
    damaged = [bytearray(whole) for _ in range(30)]
    damaged[0][60:600] = bytes(byte ^ 0x5A for byte in whole[60:600])
    for number, content in enumerate(damaged[1:]):
        low = len(whole) - 120 if number % 2 else 0  # the directory lies at the end
        for _ in range(3):
            content[chance.randrange(low, len(whole))] ^= 1 << chance.randrange(8)
    for content in (whole, *map(bytes, damaged)):
        path = work.lake.quarantine(OF, content, {})
        [file] = files(work)
        shown = content_of(work.lake, file, 2)
        assert len(shown.lines) <= 2
        if content == whole and method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            assert f"the first is not unpacked: expected deflate, found compression method {method}" in shown.kind
        drop(work.lake, find([file], path)[0])
