"""Read the texts that exchanges publish: CSV of numbers. Shared by the exchanges' modules.

Any other content is refused with what was expected and what was found: bytes from a CDN may be cut, replaced by error pages,
saved by spreadsheets, or hostile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from crypto_assets.datasets.types import INSTANT
from crypto_assets.errors import BadContent, NoRows
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import Dataset

# Numbers from 1e14 on are microseconds: as milliseconds that is the year 5138, as microseconds 1973.
FIRST_MICROSECONDS = 10**14

_MILLISECONDS = pa.timestamp("ms", tz="UTC")

_CHUNK = 1 << 20


def has_header(text: bytes | bytearray) -> bool:
    """Return whether the first line has column names; judged by content, because only regenerated files have a header."""
    return text[:1].isalpha() or text[:1] in (b'"', b"_", b"\xef")


def read_csv(
    key: str,
    text: bytes | bytearray,
    columns: Mapping[str, pa.DataType],
    *,
    headers: Sequence[Sequence[str]] = (),
    optional: Mapping[str, pa.DataType] | None = None,
    words: Sequence[bytes] = (),
    use: Sequence[str] | None = None,
) -> pa.Table:
    """Return the columns of a CSV, parsed directly to their types; nothing is guessed, no value may be empty.

    If the file has a header, it gives the order of the columns, in any case and spelling.

    Args:
        columns: every column of a file without a header in order, with its type.
        headers: known header lines, each with the names of `columns` in order.
        optional: columns that may be in a header or not; they are not returned.
        words: allowed words in columns without numbers (`true`, `True`); any other letter is refused.
        use: the columns to return; default: all.

    Raises:
        BadContent: no rows, an unknown header, a wrong count of columns, an empty line, a text that is not of its type, a
            number too large for it, or traces of a spreadsheet, which drops digits: scientific notation, CR line ends.
    """
    expected = columns
    start = 0
    if has_header(text):
        start = text.find(b"\n") + 1 or len(text)
        columns = _named(key, text, columns, headers, optional or {})
    if start == len(text):
        raise NoRows(f"{key}: expected rows, found none")
    _refuse_characters(key, text, words, start)
    _refuse_long_numbers(key, text, start)
    try:
        table = csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=csv.ReadOptions(
                column_names=list(columns),
                skip_rows=1 if start else 0,
                use_threads=False,
                block_size=max(len(text), 1) if len(text) < 1 << 24 else 1 << 24,
            ),
            parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=dict(columns),
                include_columns=[name for name in use or expected if name in columns],
                null_values=[],
                strings_can_be_null=False,
                true_values=["true", "True"],
                false_values=["false", "False"],
            ),
        )
    except (MemoryError, pa.ArrowInvalid) as error:
        raise_if_ours(error, key)
        raise BadContent(
            f"{key}: expected {len(columns)} columns ({', '.join(columns)}); {readable(error, list(columns))}"
        ) from None
    return table


def _named(
    key: str,
    text: bytes | bytearray,
    columns: Mapping[str, pa.DataType],
    headers: Sequence[Sequence[str]],
    optional: Mapping[str, pa.DataType],
) -> dict[str, pa.DataType]:
    """Return the columns in the order of a file's header, with their types.

    A header without the last column, before rows that have it, is a futures header on a spot file.

    Raises:
        BadContent: a name is unknown or appears twice, or a needed column has no name.
    """
    lines = bytes(text[:4096]).removeprefix(_BYTE_ORDER_MARK).split(b"\n", 2)
    cells = lines[0].decode("utf-8", "replace").strip().split(",")
    known = {_plain_name(name): name for name in (*columns, *optional)}
    for header in headers:
        known |= {_plain_name(name): column for name, column in zip(header, columns, strict=False)}
    names = [known.get(_plain_name(cell), "") for cell in cells]
    needed = [name for name in columns if name not in optional]
    if "" in names or len(set(names)) < len(names) or not set(names).issuperset(needed):
        expected = ",".join(headers[0]) if headers else "no header"
        line = bytes(text[:4096]).split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        raise BadContent(f"{key}: expected {expected}, found the first line {line[:200]!r}")
    if names == list(columns)[: len(names)] and len(lines) > 1 and lines[1].count(b",") + 1 == len(columns):
        names = list(columns)
    types = {**optional, **columns}
    return {name: types[name] for name in names}


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _plain_name(name: str) -> str:
    """Return a column's name without case, blanks, quotes and underscores: `isBuyerMaker` is `is_buyer_maker`."""
    return re.sub(r"[\s_\"']", "", name).lower()


def _refuse_characters(key: str, text: bytes | bytearray, words: Sequence[bytes], start: int) -> None:
    """Raise for anything but plain numbers and the allowed words from `start` on.

    Arrow itself would accept 1.7E+12, Infinity, 0x1F, +1, blanks around a number, and the line ends of spreadsheets.
    """
    if words:
        place = _odd_place(text, start)
    elif text[start:].translate(None, _PLAIN):  # five times faster than the search, which is needed for the place only
        match = _NOT_PLAIN.search(text, start)
        place = match.start() if match else -1
    else:
        return
    if place < 0:
        return
    begin = max(text.rfind(b",", 0, place), text.rfind(b"\n", 0, place)) + 1
    cell = re.split(rb"[,\r\n]", text[begin : begin + 60], maxsplit=1)[0].decode("utf-8", "replace")
    if re.match(r"^-?[\d.]+[eE]", cell):
        why = "scientific notation, as spreadsheets write it,"
    elif text[place] == ord("\r"):
        why = "carriage returns, as spreadsheets write them,"
    else:
        why = "letters" if text[place : place + 1].isalpha() else f"{chr(text[place])!r}"
    line = text.count(b"\n", 0, place) + 1
    raise BadContent(f"{key}: expected plain numbers, found {why} in line {line}: {cell!r}", line=line)


def _odd_place(text: bytes | bytearray, start: int) -> int:
    """Return the position of the first character that cannot be in numbers and booleans, or -1.

    `e` is legal only as the last letter of `true` and `false`: after `u` or `s`. Arrow itself refuses the other letters that
    are not checked here.
    """
    odd = [place for character in (b"E", b"X") if (place := text.find(character, start)) >= 0]
    data = np.frombuffer(text, dtype=np.uint8)
    for begin in range(start, len(data), _CHUNK):  # in pieces that stay in the processor's cache
        piece = data[begin - 1 : begin + _CHUNK] if begin else np.concatenate([[0], data[:_CHUNK]])
        here, before = piece[1:], piece[:-1]
        wrong = (here == ord("e")) & (before != ord("u")) & (before != ord("s"))
        # Below the comma are blanks, CR and +, above `u` is x; neither has a place in numbers and booleans.
        wrong |= (here < ord(",")) & (here != ord("\n"))
        wrong |= here > ord("u")
        if wrong.any():
            odd.append(begin + int(wrong.argmax()))
            break
    return min(odd, default=-1)


_PLAIN = b"0123456789.,\n-"
_NOT_PLAIN = re.compile(rb"[^0-9.,\n-]")

_MOST_DIGITS = 20
"""Most digits before the point. Arrow 26 wraps longer numbers silently: 22 ones become 90264010348295720720.88."""


def _refuse_long_numbers(key: str, text: bytes | bytearray, start: int) -> None:
    """Raise for a number with more digits than the 20 that a decimal(38, 18) has before its point."""
    data = np.frombuffer(text, dtype=np.uint8)
    for begin in range(start, len(data), _CHUNK):
        # Pieces that fit the processor's cache make this nearly free. All separators come before `0` in ASCII.
        run = data[begin : begin + _CHUNK + _MOST_DIGITS] >= ord("0")
        for step in (1, 2, 4, 8, 5):  # finds where runs of 2, 4, 8, 16 and 21 digits begin
            run = run[:-step] & run[step:]
        if run.any():
            place = begin + int(run.argmax())
            line = text.count(b"\n", 0, place) + 1
            cell = re.split(rb"[,\n]", text[place : place + 60], maxsplit=1)[0].decode("utf-8", "replace")
            raise BadContent(
                f"{key}: expected at most {_MOST_DIGITS} digits in a row, found more in line {line}: {cell!r}",
                line=line,
            )


def readable(error: BaseException, names: Sequence[str]) -> str:
    """Return Arrow's message about a CSV with names of columns instead of their numbers, and lines instead of rows."""
    message = re.sub(
        r"In CSV column #(\d+): (?:Row #(\d+): )?",
        lambda m: f"found in column {names[int(m[1])]}" + (f", line {m[2]}: " if m[2] else ": "),
        str(error),
    )
    message = re.sub(
        r"CSV parse error: (?:Row #(\d+): )?", lambda m: f"found in line {m[1]}: " if m[1] else "found: ", message
    )
    return " ".join(message.split())[:400]


def instants(key: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return int64 epoch milliseconds or microseconds as UTC microseconds; the unit is decided by magnitude.

    Raises:
        BadContent: both units in one file, or numbers that are neither.
    """
    span = pc.min_max(column).as_py()
    low, high = span["min"], span["max"]
    if low < 10**11 or high >= 10**17:
        raise BadContent(f"{key}: expected epoch milliseconds or microseconds, found {low} … {high}")
    if low < FIRST_MICROSECONDS <= high:
        raise BadContent(f"{key}: expected one unit of time, found milliseconds and microseconds mixed: {low} … {high}")
    if high < FIRST_MICROSECONDS:
        # No multiplication: pyarrow imports pandas for a Python number, which fails when no file can be opened any more.
        column = column.cast(_MILLISECONDS)
    return column.cast(INSTANT)


def sides(taker_sold: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the taker's side from a boolean column that is true if the buyer was the maker."""
    names = pa.array(["buy", "sell"])
    return pa.chunked_array(
        [pa.DictionaryArray.from_arrays(chunk.cast(pa.int8()), names) for chunk in taker_sold.chunks]
    )


def in_schema(dataset: Dataset, columns: Mapping[str, pa.ChunkedArray], rows: int) -> pa.Table:
    """Return the columns in the schema of a dataset; those that are not given are null."""
    schema = dataset.schema
    return pa.table(
        [columns[name] if name in columns else pa.nulls(rows, schema.field(name).type) for name in schema.names],
        schema=schema,
    )
