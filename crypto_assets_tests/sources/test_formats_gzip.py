"""Gzip files, whole and in every way that they are not."""

from __future__ import annotations

import gzip
import random

import pytest

from crypto_assets.errors import BadContainer
from crypto_assets_tests.parsed import gunzipped

KEY = "trading/BTCUSDT/BTCUSDT2024-01-01.csv.gz"
TEXT = random.Random(1).randbytes(300_000).hex().encode()
WHOLE = gzip.compress(TEXT, mtime=0)


def test_the_text_of_a_gzip_file_is_returned():
    assert gunzipped(KEY, WHOLE) == TEXT


def test_members_follow_each_other():
    assert gunzipped(KEY, gzip.compress(b"a,b\n") + gzip.compress(TEXT) + gzip.compress(b"")) == b"a,b\n" + TEXT


def test_a_file_that_was_made_of_nothing_has_an_empty_text():
    named = b"\x1f\x8b\x08\x08" + bytes(6) + b"BTCUSDT2022-12-12.csv\0" + b"\x03\x00" + bytes(8)
    assert len(named) == 42
    assert gunzipped(KEY, named) == b""


@pytest.mark.parametrize("cut", [1, 8, 9, len(WHOLE) - 2, len(WHOLE) - 12, len(WHOLE) // 2])
def test_a_cut_file_is_refused(cut):
    with pytest.raises(BadContainer, match="cut after"):
        gunzipped(KEY, WHOLE[:-cut])


@pytest.mark.parametrize("more", [b"x", b"\0\0", b"<html>"])
def test_bytes_after_the_end_are_refused(more):
    with pytest.raises(BadContainer, match=f"found {len(more)} more bytes"):
        gunzipped(KEY, WHOLE + more)


def test_a_changed_byte_is_refused():
    middle = len(WHOLE) // 2
    with pytest.raises(BadContainer, match="damaged"):
        gunzipped(KEY, WHOLE[:middle] + bytes([WHOLE[middle] ^ 1]) + WHOLE[middle + 1 :])


def test_a_bomb_is_refused_before_it_is_unpacked_whole():
    with pytest.raises(BadContainer, match="found a longer one; not unpacked"):
        gunzipped(KEY, gzip.compress(bytes(30 << 20)))


@pytest.mark.parametrize(
    ("content", "found"), [(b"", "an empty file"), (b"<html>no</html>", "15 bytes that begin with")]
)
def test_anything_else_is_refused(content, found):
    with pytest.raises(BadContainer, match=f"expected a gzip file, found {found}"):
        gunzipped(KEY, content)
