"""Write columns of integers as the exchange's CSV text and zip files, without floats.

pyarrow's own decimal-to-text writes small values as `1E-8`, which the exchange never does, so decimals are built
from two integers.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# The parts of CSV rows, joined without a separator: arrays of text, or scalars that repeat in all rows.
RowParts = list[Any]

_ROWS_AT_ONCE = 250_000
_ZIP64_FROM_ROWS = 10_000_000  # about 1 GB of text; a member over 2 GiB must be announced


@dataclass(frozen=True, slots=True)
class Integer:
    """A column of whole numbers."""

    values: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def pieces(self, rows: slice) -> RowParts:
        return [_digits(self.values[rows])]


@dataclass(frozen=True, slots=True)
class Decimal:
    """A column of numbers >= 0 in units of 10**-scale, written with `digits` >= scale digits after the point."""

    values: NDArray[np.int64]
    scale: int
    digits: int

    def __len__(self) -> int:
        return len(self.values)

    def pieces(self, rows: slice) -> RowParts:
        if self.digits == 0:
            return Integer(self.values).pieces(rows)
        values = self.values[rows]
        whole = values // 10**self.scale
        fraction = (values - whole * 10**self.scale) * 10 ** (self.digits - self.scale)
        # A leading 10**digits makes every fraction equally long; its 1 becomes the point.
        padded = _digits(fraction + 10**self.digits)
        point = pc.binary_replace_slice(padded, start=0, stop=1, replacement=".")
        return [_digits(whole), point]


@dataclass(frozen=True, slots=True)
class Boolean:
    """A column of two words."""

    values: NDArray[np.bool_]
    true: str
    false: str

    def __len__(self) -> int:
        return len(self.values)

    def pieces(self, rows: slice) -> RowParts:
        values = self.values[rows]
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return [
            pc.if_else(
                pa.Array.from_buffers(pa.bool_(), len(values), [None, bits]), _text(self.true), _text(self.false)
            )
        ]


@dataclass(frozen=True, slots=True)
class Constant:
    """The same text in every row."""

    text: str

    def pieces(self, rows: slice) -> RowParts:  # noqa: ARG002 - the same for any rows
        return [_text(self.text)]


# Arrays and scalars are built from buffers: pa.array() and pa.scalar() import pandas first, a second in every process.


def _text(text: str) -> Any:
    content = text.encode()
    offsets = pa.py_buffer(np.array([0, len(content)], dtype=np.int32))
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(content)])[0]


def _digits(values: NDArray[np.int64]) -> Any:
    buffer = pa.py_buffer(np.ascontiguousarray(values, dtype=np.int64))
    return pc.cast(pa.Array.from_buffers(pa.int64(), len(values), [None, buffer]), pa.string())


Column = Integer | Decimal | Boolean | Constant


def csv_rows(columns: Sequence[Column]) -> Iterator[bytes]:
    """Write columns as CSV lines, in chunks with a limited number of rows. At least one column is not a constant."""
    length = next(len(column) for column in columns if not isinstance(column, Constant))
    for start in range(0, length, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        pieces: RowParts = []
        for column in columns:
            pieces += [*column.pieces(rows), _text(",")]
        pieces[-1] = _text("\n")
        lines = pc.binary_join_element_wise(*pieces, _text(""))
        # The lines are already contiguous in memory: validity, offsets, text.
        _, offsets, text = lines.buffers()
        end = np.frombuffer(offsets, np.int32, len(lines) + 1)[-1]
        yield memoryview(text)[:end]  # type: ignore[misc]


def zip_member(name: str, chunks: Iterable[bytes], written: datetime, rows: int) -> bytes:
    """Return a zip with one deflated member. The same input gives the same bytes (with the same zlib)."""
    info = zipfile.ZipInfo(name, date_time=written.timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    # The fastest level: a fifth more bytes, two thirds less time.
    info._compresslevel = 1  # type: ignore[attr-defined]
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w") as archive,
        archive.open(info, "w", force_zip64=rows > _ZIP64_FROM_ROWS) as member,
    ):
        for chunk in chunks:
            member.write(chunk)
    return buffer.getvalue()
