"""Containers and texts that are not what their names promise."""

from __future__ import annotations

import random
import re
import zipfile

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crypto_assets.datasets.types import DECIMAL, INSTANT
from crypto_assets.errors import BadContainer, BadContent, CryptoAssetsError
from crypto_assets.sources.formats import _CHUNK, has_header, instants, read_csv, sides
from crypto_assets_tests.parsed import unzipped
from crypto_assets_tests.sources.files import in_directory, zipped, zipped_all

KEY = "data/spot/daily/klines/BTCUSDT/1d/BTCUSDT-1d-2024-01-01.zip"
MEMBER = "BTCUSDT-1d-2024-01-01.csv"
TEXT = "1704067200000,1.5,1.6,1.4,1.5,10\n" * 20
GOOD = zipped(MEMBER, TEXT)


def refused(content: bytes) -> str:
    """Return the message with which a container is refused; it begins with the key and is one line."""
    with pytest.raises(BadContainer) as caught:
        unzipped(KEY, content)
    message = str(caught.value)
    assert message.startswith(f"{KEY}: expected ")
    assert "found" in message
    assert "\n" not in message
    return message.removeprefix(f"{KEY}: ")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, _CHUNK, _CHUNK + 1, 3 * _CHUNK])
def test_the_only_member_is_returned_whole_whatever_its_size(method, size):
    text = random.Random(1).randbytes(size)
    assert unzipped(KEY, zipped(MEMBER, text, method)) == text


def test_an_empty_file_is_refused():
    assert refused(b"").startswith("expected a zip, found an empty file")


@pytest.mark.parametrize("kept", [1, 4, 30, 60, len(GOOD) // 2, len(GOOD) - 23, len(GOOD) - 22, len(GOOD) - 1])
def test_a_cut_zip_is_refused_wherever_it_is_cut(kept):
    assert refused(GOOD[:kept]).startswith(f"expected a whole zip, found {kept} bytes that are not one")


def test_a_page_of_html_is_refused():
    page = b"<html><body>Access denied</body></html>"
    assert refused(page).startswith(f"expected a whole zip, found {len(page)} bytes that are not one")


def test_a_zip_without_members_is_refused():
    assert refused(zipped_all([])).startswith(f"expected one member {MEMBER}, found 0 (nothing)")


def test_two_members_are_refused_by_their_names():
    message = refused(zipped_all([(MEMBER, TEXT), (f"__MACOSX/._{MEMBER}", "x")]))
    assert message.startswith(f"expected one member {MEMBER}, found 2 ({MEMBER}, __MACOSX/._{MEMBER})")


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT-1d-2024-01-02.csv",
        "ETHUSDT-1d-2024-01-01.csv",
        MEMBER.upper(),
        f"data/{MEMBER}",
        f"../../{MEMBER}",
        f"/etc/{MEMBER}",
        f"{MEMBER}.txt",
        MEMBER + "/",
    ],
)
def test_a_member_of_another_name_is_refused_and_nothing_is_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(zipped(name, TEXT)).startswith(f"expected one member {MEMBER}, found 1 ({name})")
    assert list(tmp_path.iterdir()) == []


def test_a_zip_that_claims_far_more_than_it_holds_is_not_unpacked():
    claimed = in_directory(GOOD, 24, "<I", 4_000_000_000)
    message = refused(claimed)
    assert message.startswith(
        f"expected a text of at most {4096 + 200 * len(GOOD)} bytes in the {len(GOOD)} bytes of the zip, "
        "found one that claims"
    )
    assert "4000000000 bytes; not unpacked" in message


def test_a_bomb_is_not_unpacked():
    bomb = zipped(MEMBER, b"0" * 20_000_000)
    assert len(bomb) < 40_000
    assert "claims 20000000 bytes; not unpacked" in refused(bomb)


def test_a_bomb_that_claims_to_be_small_is_refused_without_being_unpacked():
    bomb = in_directory(zipped(MEMBER, b"0" * 20_000_000), 24, "<I", 1_000)
    assert refused(bomb).startswith("expected a whole zip")


def test_an_encrypted_member_is_refused():
    assert refused(in_directory(GOOD, 8, "<H", 1)) == "expected a plain zip, found an encrypted member"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_refused(method):
    assert refused(zipped(MEMBER, TEXT, method)) == f"expected a deflated member, found compression method {method}"


def test_damaged_bytes_inside_the_member_are_refused():
    place = len(MEMBER) + 30 + 10
    damaged = GOOD[:place] + bytes([GOOD[place] ^ 0xFF]) + GOOD[place + 1 :]
    assert refused(damaged).startswith("expected a whole zip")


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, overwrite, remove and insert bytes of some content."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(damaged) - 1)))
        match draw(st.sampled_from(["overwrite", "overwrite", "insert", "remove", "cut"])):
            case "overwrite" if damaged:
                damaged[place] = draw(st.integers(0, 255))
            case "insert":
                damaged[place:place] = draw(st.binary(min_size=1, max_size=5))
            case "remove":
                del damaged[place : place + draw(st.integers(1, 40))]
            case _:
                del damaged[place:]
    return bytes(damaged)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damage(GOOD))
@example(in_directory(GOOD, 42, "<I", 2**31))  # zipfile: ValueError, negative seek
@example(in_directory(GOOD, 10, "<H", 14))  # LZMAError where the method is not checked
@example(in_directory(GOOD, 8, "<H", 1 << 11)[:-1])
def test_a_damaged_zip_is_refused_or_gives_the_right_bytes(content):
    try:
        found = unzipped(KEY, content)
    except BadContainer as error:
        refusal, found = str(error), None
    if found is None:
        assert refusal.startswith(f"{KEY}: expected ")
    else:
        assert found == TEXT.encode()  # the CRC vouches for it


COLUMNS = {"time": pa.int64(), "price": DECIMAL, "sold": pa.bool_()}
HEADER = ("time", "price", "is_sold")


def read(text: str | bytes, **arguments: object) -> pa.Table:
    content = text.encode() if isinstance(text, str) else text
    return read_csv("KEY", content, COLUMNS, headers=[HEADER], words=(b"true", b"false"), **arguments)


def test_a_header_is_told_from_rows_by_its_first_character():
    assert has_header(b"open_time,open")
    assert has_header(b'"open_time"')
    assert has_header(b"\xef\xbb\xbf1704067200000")
    assert not has_header(b"1704067200000,1")
    assert not has_header(b"-1,1")
    assert not has_header(b"")


@pytest.mark.parametrize("header", ["", "time,price,is_sold\n"])
def test_values_are_read_digit_for_digit_with_a_header_and_without(header):
    table = read(header + "1,1.10,true\n-2,12345678901234567890.123456789012345678,False\n3,0,True")
    assert table.column("time").to_pylist() == [1, -2, 3]
    assert [str(v) for v in table.column("price").to_pylist()] == [
        "1.100000000000000000",
        "12345678901234567890.123456789012345678",
        "0E-18",
    ]
    assert table.column("sold").to_pylist() == [True, False, True]


def test_only_the_columns_asked_for_are_returned():
    assert read("1,2,true\n", use=["price"]).column_names == ["price"]


@pytest.mark.parametrize("digits", [21, 22, 25, 30, 37, 38, 39, 60])
@pytest.mark.parametrize("digit", "19")
def test_a_number_too_long_for_the_column_is_refused_and_never_wraps_around(digits, digit):
    with pytest.raises(BadContent, match=r"^KEY: expected at most 20 digits in a row, found more in line 2: '[19]+'$"):
        read(f"1,1,true\n2,{digit * digits},true\n")


def test_long_numbers_are_found_across_the_pieces_in_which_they_are_looked_for():
    row = "1,1.5,true\n"
    rows = _CHUNK // len(row)
    for shift in range(0, 44, 3):
        text = row * rows + "1" * shift + ",1,true\n1," + "7" * 21 + ",true\n"
        with pytest.raises(BadContent, match=f"more in line ({rows + 1}|{rows + 2}): "):
            read(text)


@given(st.lists(st.decimals(-(10**20) + 1, 10**20 - 1, places=18, allow_nan=False), min_size=1, max_size=20))
def test_every_decimal_that_fits_is_what_it_was(values):
    table = read("".join(f"{n},{value:f},true\n" for n, value in enumerate(values)))
    assert table.column("price").to_pylist() == values


@settings(max_examples=400, deadline=None)
@given(damage(b"time,price,is_sold\n" + b"1704067200000,1.50000000,true\n1704067200001,-2.5,False\n" * 4))
@example(b"")
@example(b"\n")
@example(b"time,price,is_sold")
@example(b"e")
@example(b",,\n")
def test_a_damaged_text_is_refused_or_read_in_the_types_of_its_columns(text):
    try:
        table = read(text)
    except BadContent as error:
        refusal, table = str(error), None
    if table is None:
        assert refusal.startswith("KEY: expected ")
        assert "found" in refusal
        assert "\n" not in refusal
    else:
        assert table.schema.types == list(COLUMNS.values())
        table.validate(full=True)
        lines = [line for line in text.decode().split("\n") if line]
        assert table.num_rows == len(lines) - has_header(text)
        cells = [line.split(",") for line in lines[int(has_header(text)) :]]
        assert [int(row[0]) for row in cells] == table.column("time").to_pylist()


def test_milliseconds_and_microseconds_become_the_same_instants():
    milliseconds = pa.chunked_array([pa.array([1704067200000, 1704067260001])])
    microseconds = pa.chunked_array([pa.array([1704067200000000, 1704067260001000])])
    assert instants("KEY", milliseconds).type == INSTANT
    assert instants("KEY", milliseconds) == instants("KEY", microseconds)
    assert instants("KEY", microseconds).cast(pa.int64()).to_pylist() == [1704067200000000, 1704067260001000]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1704067200, 1704067260], "expected epoch milliseconds or microseconds, found 1704067200 … 1704067260"),
        ([1704067200000000000], "expected epoch milliseconds or microseconds, found 1704067200000000000"),
        ([0, 1704067200000], "expected epoch milliseconds or microseconds, found 0 … 1704067200000"),
        ([-1], "expected epoch milliseconds or microseconds, found -1 … -1"),
        ([2**63 - 1], "expected epoch milliseconds or microseconds"),
        (
            [1704067200000, 1704067260000000],
            "expected one unit of time, found milliseconds and microseconds mixed: 1704067200000 … 1704067260000000",
        ),
    ],
)
def test_times_of_another_unit_or_of_two_are_refused(times, message):
    with pytest.raises(BadContent, match=re.escape(f"KEY: {message}")):
        instants("KEY", pa.chunked_array([pa.array(times)]))


def test_the_side_is_the_takers():
    sold = pa.chunked_array([pa.array([True, False]), pa.array([False])])
    assert sides(sold).cast(pa.string()).to_pylist() == ["sell", "buy", "buy"]


def test_every_refusal_is_one_of_our_errors():
    assert issubclass(BadContainer, CryptoAssetsError)
    assert issubclass(BadContent, CryptoAssetsError)
