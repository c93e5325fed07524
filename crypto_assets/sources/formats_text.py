"""Read CSV that has words beside numbers: ids, sides, symbols. Files of numbers alone are read by `formats.read_csv`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from crypto_assets.datasets.types import DECIMAL, INSTANT
from crypto_assets.errors import BadContent, NoRows
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.sources.formats import readable

_PLAIN, _WITH_EXPONENT = b"0123456789.-", b"0123456789.-+eE"
_MOST_DIGITS = 20
"""Most digits before the point. Arrow 26 wraps longer numbers silently."""

_LONGEST_HEADER = 1 << 12

_MICROSECONDS = pa.decimal128(38, 6)


def read_text_csv(
    key: str,
    text: bytes | bytearray,
    columns: Mapping[str, pa.DataType],
    *,
    beside: Sequence[str] = (),
) -> pa.Table:
    """Return the columns of a CSV by the names in its header line, in any order; each is parsed directly to its type.

    Give numbers that must be exact the type text, and read them with `decimals`: Arrow would accept 1e5 and blanks.

    Args:
        columns: the needed columns. A dictionary type suits words that repeat.
        beside: names that may be in the header or not; they are not returned.

    Raises:
        BadContent: no header, an unknown or missing name, an empty line, another count of columns, a value that is empty or
            not of its type, quotes, or the line ends of a spreadsheet. NoRows: nothing, or a header alone.
    """
    expected = f"the columns {', '.join(columns)}" + (f" (and perhaps {', '.join(beside)})" if beside else "")
    if not text:
        raise NoRows(f"{key}: expected {expected}, found an empty text")
    line = bytes(text[:_LONGEST_HEADER]).split(b"\n", 1)[0]
    names = line.decode("utf-8", "replace").split(",")
    if len(set(names)) < len(names) or not set(columns) <= set(names) <= {*columns, *beside}:
        raise BadContent(f"{key}: expected {expected}, found the first line {line[:200].decode('utf-8', 'replace')!r}")
    if len(line) + 1 >= len(text):
        raise NoRows(f"{key}: expected rows, found a header alone")
    for odd, why in ((b"\r", "carriage returns, as spreadsheets write them"), (b'"', "quotes"), (b"\0", "a zero byte")):
        if (place := text.find(odd)) >= 0:
            number = text.count(b"\n", 0, place) + 1
            raise BadContent(f"{key}: expected plain text, found {why} in line {number}", line=number)
    try:
        table = csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=csv.ReadOptions(use_threads=False, block_size=1 << 24),
            parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=dict(columns),
                include_columns=list(columns),
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except (MemoryError, pa.ArrowInvalid) as error:
        raise_if_ours(error, key)
        raise BadContent(
            f"{key}: expected {len(names)} columns ({', '.join(names)}); {readable(error, names)}"
        ) from None
    if table.num_rows == 0:
        raise NoRows(f"{key}: expected rows, found a header alone")
    return table


def decimals(key: str, name: str, column: pa.ChunkedArray, *, exponents: bool = False) -> pa.ChunkedArray:
    """Return a column of text as exact decimals with up to 18 digits after the point.

    Args:
        exponents: whether 7.98e-05 is allowed; else it is a trace of a spreadsheet or of a float, and is refused.

    Raises:
        BadContent: a text that is not such a number, or has more digits than a decimal(38, 18) holds.
    """
    allowed = _WITH_EXPONENT if exponents else _PLAIN
    if any(characters.translate(None, allowed) for characters in characters(column)):
        _refuse(key, name, column, "[^" + re.escape(allowed.decode()) + "]", "plain numbers")
    if (pc.max(pc.binary_length(column)).as_py() or 0) > _MOST_DIGITS or exponents:
        _refuse_long(key, name, column, exponents)
    try:
        return column.cast(DECIMAL)
    except pa.ArrowInvalid as error:
        raise_if_ours(error, key)
        raise BadContent(
            f"{key}: expected numbers of at most 18 digits after the point in column {name}: {str(error)[:200]}"
        ) from None


def _refuse_long(key: str, name: str, column: pa.ChunkedArray, exponents: bool) -> None:
    if pc.any(
        pc.match_substring_regex(column, f"[0-9]{{{_MOST_DIGITS + 1}}}.*[.eE]|^-?[0-9]{{{_MOST_DIGITS + 1}}}")
    ).as_py():
        _refuse(key, name, column, f"^-?[0-9]{{{_MOST_DIGITS + 1}}}", f"at most {_MOST_DIGITS} digits before the point")
    if exponents:
        for text in column.filter(pc.match_substring_regex(column, "[eE]")).to_pylist():
            if re.fullmatch(r"-?\d+\.?\d*[eE][-+]?\d{1,3}", text, re.ASCII) and Decimal(text).adjusted() < _MOST_DIGITS:
                continue
            raise BadContent(f"{key}: expected numbers below 1E+{_MOST_DIGITS} in column {name}, found {text[:60]!r}")


def _refuse(key: str, name: str, column: pa.ChunkedArray, pattern: str, expected: str) -> NoReturn:
    found = pc.match_substring_regex(column, pattern)
    row = pc.index(found, pa.scalar(True)).as_py()
    text = column[row].as_py()
    why = "scientific notation" if re.match(r"-?[\d.]+[eE]", text) else "other text"
    raise BadContent(
        f"{key}: expected {expected} in column {name}, found {why} in line {row + 2}: {text[:60]!r}", line=row + 2
    )


def characters(column: pa.ChunkedArray) -> list[bytes]:
    """Return all characters of a column of text, without separators."""
    found = []
    for chunk in column.chunks:
        _, offsets, characters = chunk.buffers()
        places = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        found.append(characters.slice(int(places[0]), int(places[-1] - places[0])).to_pybytes() if characters else b"")
    return found


def decimal_seconds(key: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts of epoch seconds with a fraction (`1784851200.0547`) as instants, exact to the microsecond.

    More digits than six are rounded half even; a float64 never comes between.

    Raises:
        BadContent: not plain decimal numbers, or not epoch seconds of the years 2001 to 2100.
    """
    seconds = pc.round(decimals(key, name, column), ndigits=6, round_mode="half_to_even").cast(_MICROSECONDS)
    span = pc.min_max(seconds).as_py()
    if not 10**9 <= span["min"] <= span["max"] < 41 * 10**8:
        raise BadContent(
            f"{key}: expected epoch seconds in column {name}, found {span['min'].normalize():f} … {span['max'].normalize():f}"
        )
    chunks = []
    for chunk in seconds.chunks:
        # A decimal of scale 6 is a 16-byte integer of microseconds, lowest bytes first; these numbers fit eight.
        numbers = np.frombuffer(chunk.buffers()[1], "<i8")[::2][chunk.offset : chunk.offset + len(chunk)]
        chunks.append(pa.array(np.ascontiguousarray(numbers)).cast(INSTANT))
    return pa.chunked_array(chunks, INSTANT)


def words(key: str, name: str, column: pa.ChunkedArray, meaning: Mapping[str, str]) -> pa.ChunkedArray:
    """Return a dictionary column with our words in place of the exchange's; raises BadContent for any other word."""
    chunks = []
    for chunk in column.chunks:
        found = chunk.dictionary.to_pylist()
        if unknown := [word for word in found if word not in meaning]:
            raise BadContent(
                f"{key}: expected {' or '.join(meaning)} in column {name}, found {', '.join(map(repr, unknown[:5]))[:200]}"
            )
        ours = list(dict.fromkeys(meaning.values()))
        places = pa.array([ours.index(meaning[word]) for word in found], pa.int8())
        chunks.append(pa.DictionaryArray.from_arrays(places.take(chunk.indices), pa.array(ours)))
    return pa.chunked_array(chunks)
