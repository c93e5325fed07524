"""CSV with words beside numbers: every value exact, anything else refused with its line."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.errors import BadContent, NoRows
from crypto_assets.sources.formats_text import decimal_seconds, decimals, read_text_csv, words

KEY = "some.csv.gz"
COLUMNS = {"time": pa.string(), "side": pa.dictionary(pa.int32(), pa.string()), "value": pa.float64()}


def read(text: str, **options) -> pa.Table:
    return read_text_csv(KEY, text.encode(), COLUMNS, **options)


def column(*texts: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts)])


def test_columns_are_found_by_name_and_known_ones_beside_them_are_left_out():
    table = read("value,RPI,side,time\n7.8e+09,0,Buy,1.5\n1,1,Sell,2\n", beside=("RPI", "other"))
    assert table.to_pydict() == {"time": ["1.5", "2"], "side": ["Buy", "Sell"], "value": [7.8e9, 1.0]}


@pytest.mark.parametrize("text", ["", "time,side,value\n", "time,side,value"])
def test_a_text_without_rows_is_told_from_a_bad_one(text):
    with pytest.raises(NoRows):
        read(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,Buy,2\n", "found the first line '1,Buy,2'"),
        ("time,side\n1,Buy\n", "found the first line 'time,side'"),
        ("time,side,value,new\n1,Buy,2,3\n", "found the first line 'time,side,value,new'"),
        ("time,side,value,value\n1,Buy,2,3\n", "found the first line"),
        ("time,side,value\n1,Buy\n", "found in line 2: Expected 3 columns, got 2"),
        ("time,side,value\n1,Buy,2\n\n1,Buy,2\n", "found in column value, line 3: CSV conversion error to double"),
        ("time,side,value\n1,Buy,\n", "found in column value, line 2: CSV conversion error to double"),
        ("time,side,value\n1,Buy,2\r\n", "carriage returns"),
        ('time,side,value\n"1",Buy,2\n', "quotes"),
        ("<!DOCTYPE html>\n<html>", "found the first line '<!DOCTYPE html>'"),
    ],
)
def test_any_other_text_is_refused(text, found):
    with pytest.raises(BadContent, match="expected") as error:
        read(text)
    assert found in str(error.value)
    assert not isinstance(error.value, NoRows)


@given(
    st.lists(st.decimals(-(10**19), 10**19, places=18, allow_nan=False).map(lambda d: f"{d:f}"), min_size=1, max_size=5)
)
def test_every_digit_is_kept(texts):
    assert decimals(KEY, "price", column(*texts)).to_pylist() == [Decimal(text) for text in texts]


def test_numbers_of_a_piece_are_read_where_the_piece_begins():
    piece = pa.chunked_array([pa.array(["e", "1.5", "2", "x"]).slice(1, 2), pa.array(["3"])])
    assert decimals(KEY, "price", piece).to_pylist() == [Decimal("1.5"), Decimal(2), Decimal(3)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1e5", "found scientific notation in line 3: '1e5'"),
        ("nan", "found other text in line 3: 'nan'"),
        (" 1", "found other text in line 3: ' 1'"),
        ("+1", "found other text in line 3: '+1'"),
        ("123456789012345678901", "at most 20 digits before the point"),
        ("0.1234567890123456789", "18 digits after the point"),
        ("1.2.3", "18 digits after the point"),
        ("", "18 digits after the point"),
        ("-", "18 digits after the point"),
    ],
)
def test_what_is_no_plain_number_is_refused(text, found):
    with pytest.raises(BadContent) as error:
        decimals(KEY, "price", column("1", text, "2"))
    assert found in str(error.value)
    assert "column price" in str(error.value)


def test_numbers_with_exponents_are_exact_where_they_are_allowed():
    texts = "7.98e-05", "1E+1", "-2.5e3", "12.5", "123456789012345678.123456789012345678", "1e-18"
    assert decimals(KEY, "size", column(*texts), exponents=True).to_pylist() == [Decimal(text) for text in texts]


@pytest.mark.parametrize(
    "text", ["1e20", "12345678901234567890e5", "e5", "1e", "1e-19", "1e5e5", "123456789012345678901.5"]
)
def test_numbers_with_exponents_are_refused_where_digits_would_be_lost(text):
    with pytest.raises(BadContent):
        decimals(KEY, "size", column("1", text), exponents=True)


def test_decimal_seconds_are_exact_to_the_microsecond_and_rounded_half_even_beyond():
    texts = (
        "1784851200.0547",
        "1784851200",
        "1569974396.557895",
        "1583107199.6860001",
        "1583107199.0000005",
        "1583107199.0000015",
    )
    found = decimal_seconds(KEY, "timestamp", column(*texts))
    assert [int(each.timestamp()) * 10**6 + each.microsecond for each in found.to_pylist()] == [
        1784851200054700,
        1784851200000000,
        1569974396557895,
        1583107199686000,
        1583107199000000,
        1583107199000002,
    ]
    assert found.to_pylist()[0] == datetime(2026, 7, 24, 0, 0, 0, 54700, UTC)


def test_seconds_of_a_piece_are_read_where_the_piece_begins():
    piece = pa.chunked_array([pa.array(["x", "1784851200.5", "1784851201"]).slice(1), pa.array(["1784851202"])])
    assert [each.second for each in decimal_seconds(KEY, "t", piece).to_pylist()] == [0, 1, 2]


@pytest.mark.parametrize("text", ["1784851200054", "17", "1.784851200e9", "-1784851200"])
def test_other_units_of_time_are_refused(text):
    with pytest.raises(BadContent):
        decimal_seconds(KEY, "timestamp", column("1784851200.0547", text))


def test_words_are_replaced_and_others_refused():
    found = read("time,side,value\n1,Sell,2\n1,Buy,2\n1,Sell,2\n")["side"]
    assert words(KEY, "side", found, {"Buy": "buy", "Sell": "sell"}).to_pylist() == ["sell", "buy", "sell"]
    with pytest.raises(BadContent, match="expected Buy in column side, found 'Sell'"):
        words(KEY, "side", found, {"Buy": "buy"})
