"""Long texts come in pieces with whole lines and the header of the file; short ones at once."""

from __future__ import annotations

import gzip
import io
import mmap
import tempfile
import zipfile
from collections.abc import Callable

import pytest

from crypto_assets import sources
from crypto_assets.errors import BadContainer, BadContent
from crypto_assets.model import Series
from crypto_assets.model.content import Content
from crypto_assets.sources import formats_gzip, formats_zip, packing
from crypto_assets.sources.packing import CSV_IN_ZIP, GZIP, PLAIN, Packing

KEY = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-03-01.zip"
HEADER = b"id,price,qty,quote_qty,time,is_buyer_maker\n"
LINES = [b"%d,61000.5,0.1,6100.05,17092512%05d,True\n" % (n, n) for n in range(2_000)]
TRADES = Series("binance", "linear", "trades")


@pytest.fixture(autouse=True)
def _short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_WHOLE", 20_000)
    monkeypatch.setattr(packing, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(formats_zip, "_CHUNK", 4_000)
    monkeypatch.setattr(formats_gzip, "_CHUNK", 4_000)


def zipped(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("BTCUSDT-trades-2024-03-01.csv", text)
    return packed.getvalue()


def mapped(content: bytes) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


PACKINGS = [(CSV_IN_ZIP, zipped), (GZIP, gzip.compress), (PLAIN, bytes)]


@pytest.mark.parametrize("held", [bytes, mapped])
@pytest.mark.parametrize(("way", "pack"), PACKINGS)
@pytest.mark.parametrize("header", [HEADER, b""])
@pytest.mark.parametrize("end", [b"", b"2000,61000.5,0.1,6100.05,1709251299999,True"])
def test_pieces_have_whole_lines_and_the_header(
    way: Packing, pack: Callable[[bytes], bytes], header: bytes, end: bytes, held: Callable[[bytes], Content]
):
    text = header + b"".join(LINES) + end
    pieces = list(way.texts(KEY, held(pack(text))))
    assert len(pieces) > 1
    assert all(piece.startswith(header) for piece in pieces)
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert header + b"".join(bytes(piece).removeprefix(header) for piece in pieces) == text


@pytest.mark.parametrize(("way", "pack"), PACKINGS)
def test_a_short_text_is_one_piece(way: Packing, pack: Callable[[bytes], bytes]):
    text = HEADER + b"".join(LINES[:300])
    assert list(map(bytes, way.texts(KEY, pack(text)))) == [text]


@pytest.mark.parametrize("header", [HEADER, b""])
def test_the_rows_of_the_pieces_are_the_rows_of_the_file(header: bytes, monkeypatch: pytest.MonkeyPatch):
    content = zipped(header + b"".join(LINES))
    pieces = list(sources.pieces(TRADES, "BTC/USDT:USDT", KEY, content))
    monkeypatch.setattr(packing, "MOST_WHOLE", 1 << 30)
    (whole,) = sources.pieces(TRADES, "BTC/USDT:USDT", KEY, content)
    assert len(pieces) > 1
    assert sum(piece.num_rows for piece in pieces) == whole.num_rows == 2_000
    assert [row for piece in pieces for row in piece.to_pylist()] == whole.to_pylist()


def test_a_wrong_line_deep_in_a_file_is_named_by_its_line():
    lines = [*LINES[:1500], b"1500,61e3,0.1,6100.05,1709251200000,True\n", *LINES[1501:]]
    with pytest.raises(BadContent, match=r"scientific notation.*counted after the first [\d,]+ rows") as found:
        list(sources.pieces(TRADES, "BTC/USDT:USDT", KEY, zipped(HEADER + b"".join(lines))))
    assert found.value.evidence["line"] == 1502


@pytest.mark.parametrize(("way", "pack"), PACKINGS[:2])
def test_a_file_cut_at_its_end_is_refused_after_its_pieces(way: Packing, pack: Callable[[bytes], bytes]):
    content = pack(HEADER + b"".join(LINES))
    with pytest.raises(BadContainer):
        list(way.texts(KEY, content[:-9]))


def test_a_text_without_line_ends_is_one_piece():
    assert list(map(bytes, PLAIN.texts(KEY, b"1" * 50_000))) == [b"1" * 50_000]
