"""Long texts come in pieces with whole lines and the header of the file; short ones at once."""

from __future__ import annotations

import gzip
import io
import mmap
import tempfile
import zipfile
from collections.abc import Callable
from itertools import accumulate

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
    monkeypatch.setattr(packing, "MOST_WHOLE_BYTES", 20_000)
    monkeypatch.setattr(packing, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(formats_zip, "_CHUNK", 4_000)
    monkeypatch.setattr(formats_gzip, "_CHUNK", 4_000)


def zipped(text: bytes, name: str = "BTCUSDT-trades-2024-03-01.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
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
def test_pieces_have_whole_lines(
    way: Packing, pack: Callable[[bytes], bytes], header: bytes, end: bytes, held: Callable[[bytes], Content]
):
    text = header + b"".join(LINES) + end
    pieces = list(way.texts(KEY, held(pack(text))))
    assert len(pieces) > 1
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert b"".join(pieces) == text


@pytest.mark.parametrize(("way", "pack"), PACKINGS)
def test_a_short_text_is_one_piece(way: Packing, pack: Callable[[bytes], bytes]):
    text = HEADER + b"".join(LINES[:300])
    assert list(map(bytes, way.texts(KEY, pack(text)))) == [text]


@pytest.mark.parametrize("header", [HEADER, b""])
def test_the_rows_of_the_pieces_are_the_rows_of_the_file(header: bytes, monkeypatch: pytest.MonkeyPatch):
    content = zipped(header + b"".join(LINES))
    pieces = list(sources.pieces(TRADES, "BTC/USDT:USDT", KEY, content))
    monkeypatch.setattr(packing, "MOST_WHOLE_BYTES", 1 << 30)
    (whole,) = sources.pieces(TRADES, "BTC/USDT:USDT", KEY, content)
    assert len(pieces) > 1
    assert sum(piece.num_rows for piece in pieces) == whole.num_rows == 2_000
    assert [row for piece in pieces for row in piece.to_pylist()] == whole.to_pylist()


def funding_file() -> tuple[str, bytes]:
    """Return a file of OKX with the funding of 400 perpetuals every four hours, in the order of time; and its key."""
    times = [1_709_222_400_000 + hours * 3_600_000 for hours in range(0, 24, 4)]
    lines = [f"C{n}-USDT-SWAP,0.0001,{time}\n" for time in times for n in range(400)]
    name = "allswap-fundingrates-2024-03-01"
    text = "".join(["instrument_name,funding_rate,funding_time\n", *lines]).encode()
    return f"cdn/okex/traderecords/swaprates/daily/20240301/{name}.zip", zipped(text, f"{name}.csv")


def test_a_file_whose_rows_depend_on_each_other_is_not_cut():
    key, content = funding_file()
    assert len(list(CSV_IN_ZIP.texts(key, content))) > 3
    (rows,) = sources.pieces(Series("okx", "linear", "funding_rates"), "C7/USDT:USDT", key, content)
    assert rows["funding_interval_hours"].to_pylist() == [4] * 6


def test_such_a_file_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch):
    key, content = funding_file()
    monkeypatch.setattr("crypto_assets.sources.file_pieces.MOST_JOINED_BYTES", 50_000)
    with pytest.raises(BadContent, match="at most 50000 bytes, because its rows depend on each other"):
        list(sources.pieces(Series("okx", "linear", "funding_rates"), "C7/USDT:USDT", key, content))


ONE_UNIT, SIX = "expected one unit of time", "Expected 6 columns|expected 6 columns"


@pytest.mark.parametrize("header", [HEADER, b""])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: line.replace(b"61000.5", b"61e3"), "scientific notation"),
        (lambda line: line.replace(b",True", b",maybe"), "found letters in line"),
        (lambda line: b"\n" + line, "columns"),
        (lambda line: line.replace(b",True", b",True,True"), SIX),
    ],
)
def test_a_wrong_line_deep_in_a_file_is_told_as_in_a_short_one(
    header: bytes, change: Callable[[bytes], bytes], reason: str, monkeypatch: pytest.MonkeyPatch
):
    content = zipped(header + b"".join([*LINES[:1500], change(LINES[1500]), *LINES[1501:]]))
    with pytest.raises(BadContent, match=reason) as found:
        list(sources.pieces(TRADES, "BTC/USDT:USDT", KEY, content))
    monkeypatch.setattr(packing, "MOST_WHOLE_BYTES", 1 << 30)
    with pytest.raises(BadContent) as whole:
        list(sources.pieces(TRADES, "BTC/USDT:USDT", KEY, content))
    assert str(found.value) == str(whole.value)
    assert found.value.evidence == whole.value.evidence


BYBIT_HEADER = b"timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1704413200.1,BTCUSDT,Buy,0.5,100,PlusTick,u,5e9,,50\n", r"found in column homeNotional, line 1402: .*"),
        (b"1704413200.1,BTCUSDT,Buy,0.5,100,PlusTick\n", r"found in line 1402: Expected 10 columns, got 6: .*"),
        (b"\n", r"line 1402"),
        (b"1704413200.1,BTCUSDT,Buy,0.5,1e2,PlusTick,u,5e9,0.5,50\n", r"scientific notation in line 1402"),
        (b"1704413200.1,BTCUSDT,Buy,0.5,line 7,PlusTick,u,5e9,0.5,50\n", r"other text in line 1402: 'line 7'"),
        (b'1704413200.1,BTCUSDT,"Buy",0.5,1,PlusTick,u,5e9,0.5,50\n', r"quotes in line 1402"),
        (b"1704413200.1,BTCUSDT,Buy,0.5,100,PlusTick,u,5e9,7,7\n", r"in line 1402; look"),
    ],
)
def test_a_wrong_line_deep_in_a_file_with_words_is_named_by_its_number_in_the_file(
    line: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
):
    lines = [b"17044128%02d.%d,BTCUSDT,Buy,0.5,100,PlusTick,u%d,5e9,0.5,50\n" % (n // 40, n, n) for n in range(2_000)]
    content = gzip.compress(BYBIT_HEADER + b"".join([*lines[:1400], line, *lines[1400:]]))
    key, told = "trading/BTCUSDT/BTCUSDT2024-01-05.csv.gz", []
    for most in (20_000, 1 << 30):
        monkeypatch.setattr(packing, "MOST_WHOLE_BYTES", most)
        with pytest.raises(BadContent, match=reason) as found:
            list(sources.pieces(Series("bybit", "linear", "trades"), "BTC/USDT:USDT", key, content))
        told.append((str(found.value), found.value.evidence))
    assert told[0] == told[1]


def cuts(content: bytes) -> list[int]:
    """Return where the pieces of a file begin."""
    return list(accumulate(map(len, CSV_IN_ZIP.texts(KEY, content))))


@pytest.mark.parametrize("header", [HEADER, b""])
@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ([line.replace(b"17092512", b"17092512000") for line in LINES], ONE_UNIT),
        ([HEADER.replace(b"price,qty", b"qty,price"), *LINES], "found letters in line"),
        ([line.replace(b",True", b",True,True") for line in LINES], SIX),
    ],
    ids=["another unit of time", "a header", "another number of columns"],
)
def test_what_the_beginning_of_a_file_decides_holds_for_all_pieces(header: bytes, rest: list[bytes], reason: str):
    texts = (header + b"".join(LINES[:cut]) for cut in range(300, 1_500))
    text = next(text for text in texts if len(text) in cuts(zipped(text + b"".join(rest))))
    with pytest.raises(BadContent, match=reason):
        list(sources.pieces(TRADES, "BTC/USDT:USDT", KEY, zipped(text + b"".join(rest))))


def test_a_damaged_zip_is_told_as_one_though_its_damage_is_in_the_numbers():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("BTCUSDT-trades-2024-03-01.csv", HEADER + b"".join(LINES))
    content = bytearray(packed.getvalue())
    content[60_000] = ord("x")
    with pytest.raises(BadContainer, match="Bad CRC-32"):
        list(sources.pieces(TRADES, "BTC/USDT:USDT", KEY, bytes(content)))


@pytest.mark.parametrize(("way", "pack"), PACKINGS[:2])
def test_a_file_cut_at_its_end_is_refused_after_its_pieces(way: Packing, pack: Callable[[bytes], bytes]):
    content = pack(HEADER + b"".join(LINES))
    with pytest.raises(BadContainer):
        list(way.texts(KEY, content[:-9]))


def test_a_long_text_without_line_ends_is_refused_at_once():
    with pytest.raises(BadContent, match="without a line end"):
        list(PLAIN.texts(KEY, b"1" * 200_000))
