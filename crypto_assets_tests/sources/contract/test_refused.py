"""Bad input: a file that is not what its key says gives no rows; the error names it. And the memory that reading takes."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

from crypto_assets import sources
from crypto_assets.errors import BadContent, InvalidRows, MalformedFile
from crypto_assets.sources import file_pieces, formats_gzip, formats_zip, packing
from crypto_assets_tests.sources.contract.conftest import Lab
from crypto_assets_tests.sources.contract.subjects import SPARSE, Subject, holds, skip

HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><a href='/'>here</a></body></html>\n"

MOST_ROWS = 2_000
"""So many rows of a file are enough to show a fault."""

Packed = Callable[[bytes], bytes]


def unpacked(content: bytes) -> tuple[bytes, Packed]:
    """Return the text of a file, and the function that puts another text into such a file, not made smaller."""
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content), lambda text: gzip.compress(text, 0, mtime=0)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (member,) = archive.namelist()
        inside = archive.read(member)

    def packed(text: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(member, text)
        return buffer.getvalue()

    return inside, packed


def bad_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield files that are not what they should be, each with its fault."""
    text, packed = unpacked(content)
    lines = text.decode("latin-1").splitlines()[:MOST_ROWS]
    last = lines[-1].split(",")
    yield "empty", b""
    yield "cut", content[: len(content) // 2]
    yield "a page", HTML
    yield "a page inside", packed(HTML)
    yield "nothing inside", packed(b"")
    yield "a cut row", packed("\n".join([*lines[:-1], ",".join(last[: len(last) // 2])]).encode("latin-1"))
    yield "a column more", packed("".join(f"{line},1\n" for line in lines).encode("latin-1"))
    yield "bytes of zero", packed(bytes(len(text)))


@holds("refused")
def test_a_file_that_is_not_what_its_key_says_is_refused_by_its_name(lab: Lab, subject: Subject) -> None:
    key = subject.light.keys(subject.name, lab.day(subject))[-1]
    accepted, messages = [], {}
    for fault, content in bad_files(lab.content(subject, key)):
        try:
            lab.parsed(subject, key, content)
        except (MalformedFile, InvalidRows) as error:
            messages[fault] = str(error)
        else:
            accepted.append(fault)
    assert accepted == []
    assert [fault for fault, message in messages.items() if key.rpartition("/")[2] not in message] == []


@holds("other symbol")
def test_a_file_of_another_symbol_is_refused(lab: Lab, subject: Subject) -> None:
    feed, day = subject.light, lab.day(subject)
    if feed.bundles:
        skip("a file has all symbols")
    key = feed.keys(subject.name, day)[-1]
    other = sources.name_of(subject.series, SPARSE[subject.series.market_type])
    content = lab.content(subject, feed.keys(other, day)[-1])
    text, _ = unpacked(content)
    if other.encode() not in text and other.encode() not in content:
        skip("nothing in a file names its symbol")
    with pytest.raises((MalformedFile, InvalidRows), match=key.rpartition("/")[2]):
        lab.parsed(subject, key, content)


@holds("exponents")
def test_a_number_with_an_exponent_is_read_exactly_or_refused(lab: Lab, subject: Subject) -> None:
    key = subject.light.keys(subject.name, lab.day(subject))[-1]
    text, packed = unpacked(lab.content(subject, key))
    table = lab.dialect(subject.series.exchange).table(key)
    lines = text.decode("latin-1").splitlines()
    cells = lines[-1].split(",")
    value = Decimal(cells[table.price])
    cells[table.price] = f"{value:E}"
    if table.rows == "bars":  # the price is the low
        assert "E" in cells[table.price]
    changed = packed("\n".join([*lines[:-1], ",".join(cells), ""]).encode("latin-1"))
    if subject.facts.exponents:
        assert lab.parsed(subject, key, changed) == lab.parsed(subject, key)
    else:
        with pytest.raises(MalformedFile, match=key.rpartition("/")[2]):
            lab.parsed(subject, key, changed)


MOST_GROWTH = 1.3
"""How many times the memory of a file the reading of one with four times the rows may take: it stays, but for noise."""


_POOLS: list[pa.MemoryPool] = []
"""All of them: no table may outlive the pool that it is in."""


@holds("memory")
def test_memory_does_not_grow_with_a_large_file(lab: Lab, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    key = subject.light.keys(subject.name, lab.day(subject))[-1]
    text, packed = unpacked(lab.content(subject, key))
    first, *rows = text.splitlines(keepends=True)
    header = [first] if not first[:1].isdigit() or first.count(b"_") else []
    rows = rows if header else [first, *rows]
    rows = (rows * -(-MOST_ROWS // len(rows)))[:MOST_ROWS]
    # As for a file of gigabytes, with a smaller one.
    piece = len(b"".join(rows)) // 4
    monkeypatch.setattr(packing, "MOST_WHOLE_BYTES", piece)
    monkeypatch.setattr(packing, "PIECE_BYTES", piece)
    monkeypatch.setattr(formats_zip, "_CHUNK", piece // 2)
    monkeypatch.setattr(formats_gzip, "_CHUNK", piece // 2)

    def peak(times: int) -> tuple[int, int]:
        content = packed(b"".join(header + rows * times))
        usual = pa.default_memory_pool()
        pool = pa.proxy_memory_pool(usual)
        _POOLS.append(pool)
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            count = sum(found.num_rows for found in lab.pieces(subject, key, content))
            ours = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(usual)
        return (pool.max_memory() or 0) + ours, count

    if subject.light.whole:  # its files are not cut, so there is a longest one
        monkeypatch.setattr(file_pieces, "MOST_JOINED_BYTES", 8 * piece)
        assert peak(1)[1] > 0
        with pytest.raises(BadContent, match="because its rows depend on each other"):
            peak(4)
        return
    peak(1)
    (few, count), (many, times_4) = peak(1), peak(4)
    assert few > 0
    assert times_4 == 4 * count > 0
    assert many <= few * MOST_GROWTH, f"expected the same memory for 4 times the rows: {few}, {many}"
