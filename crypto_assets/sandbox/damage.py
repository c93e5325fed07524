"""Apply a fault to the bytes of one archive object: the result is another file of the same name. Standard library only.

Files are CSV in a zip of one member, or in gzip; a dialect says where the columns are (`Table`).
"""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from typing import Literal

Lines = list[list[str]]

_BOMB_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """The places of columns in a file's rows, from 0.

    Args:
        price: of bars the low.
        high, close, end_time: of bars only.
        quote: the amount in quote units, if the file has one.
        id: of aggregate trades, whose ids the fault `repeated-id` changes.
        header: the header that the fault `header` adds.
        pack: what the CSV is in.
    """

    rows: Literal["bars", "trades", "aggregates", "funding"]
    time: int
    price: int
    amount: int
    quote: int | None = None
    high: int | None = None
    close: int | None = None
    end_time: int | None = None
    id: int | None = None
    header: str = ""
    pack: Literal["zip", "gzip"] = "zip"


_OFF_GRID_MS = 14_789  # as in the published bars of 2018-02-09 (binance-public-data #14)


def damaged(fault: str, key: str, content: bytes, table: Table) -> bytes:
    """Return the bytes of an object under a fault of `faults.OBJECTS`; its checksum is computed elsewhere."""
    if fault == "empty":
        return b""
    if table.pack == "gzip":
        return _damaged_gzip(fault, content, table)
    if fault == "zip-bomb":
        return _bomb(_member(key))
    if fault == "path-traversal":
        return _zip(f"../../../{_member(key)}", _unzip(content))
    return _zip(_member(key), _changed_text(fault, _unzip(content), table))


def _damaged_gzip(fault: str, content: bytes, table: Table) -> bytes:
    if fault == "zip-bomb":
        return gzip.compress(b"0" * _BOMB_BYTES, 9, mtime=0)
    if fault == "path-traversal":  # gzip has one file, and no reader uses its name
        return content
    return gzip.compress(_changed_text(fault, gzip.decompress(content).decode(), table).encode(), 1, mtime=0)


def _changed_text(fault: str, text: str, table: Table) -> str:
    if fault == "header":
        return _other_header(table, text)
    return _rewritten(text, lambda lines: _CHANGES[fault](table, lines))


def _wrong(table: Table, lines: Lines) -> Lines:
    return _other_amount(table, lines, len(lines) // 4)


def _republished(table: Table, lines: Lines) -> Lines:
    lines = _other_amount(table, lines, len(lines) // 2)
    if table.close is not None:
        cells = lines[len(lines) // 2]
        cells[table.price] = cells[table.close] = _changed(
            cells[table.price], -1_000
        )  # closes at a new low: still a valid bar
    return lines


def _other_amount(table: Table, lines: Lines, row: int) -> Lines:
    """Add 1,000 smallest units to the amount of the first traded row from `row` on, and their price to its quote amount."""
    amount, quote = table.amount, table.quote
    # A bar without trades stays unchanged.
    cells = next((cells for cells in lines[row:] if Decimal(cells[amount])), lines[row])
    more = Decimal(changed := _changed(cells[amount], 1_000)) - Decimal(cells[amount])
    if quote is not None:
        grown = Decimal(cells[quote]) + more * Decimal(cells[table.price])
        cells[quote] = f"{grown.quantize(Decimal(cells[quote])):f}"
    cells[amount] = changed
    return lines


def _changed(number: str, units: int) -> str:
    """Return a decimal changed by some of its smallest units, with the same number of digits."""
    value = Decimal(number)
    return f"{value + units * Decimal((0, (1,), int(value.as_tuple().exponent))):f}"


def _without_some(table: Table, lines: Lines) -> Lines:  # noqa: ARG001 - rows are rows
    place = len(lines) // 3
    return lines[:place] + lines[place + 3 :]


def _without_one(table: Table, lines: Lines) -> Lines:  # noqa: ARG001
    place = len(lines) * 2 // 3
    return lines[:place] + lines[place + 1 :]


def _doubled(table: Table, lines: Lines) -> Lines:  # noqa: ARG001
    place = len(lines) // 2
    return [*lines[:place], lines[place], *lines[place:]]


def _conflicting(table: Table, lines: Lines) -> Lines:
    """Repeat a row with an amount, the second time with another amount."""
    amount = table.amount
    place = next((n for n in range(len(lines) // 2, len(lines)) if Decimal(lines[n][amount])), len(lines) // 2)
    return [*lines[: place + 1], *_other_amount(table, [[*lines[place]]], 0), *lines[place + 1 :]]


def _swapped(table: Table, lines: Lines) -> Lines:
    if table.rows == "bars":  # each bar has its own instant
        return lines
    time = table.time
    if len({cells[time] for cells in lines}) == len(lines) > 1:
        place = len(lines) // 2
        lines[place][time] = lines[place - 1][time]
    return [cells for _, group in groupby(lines, lambda cells: cells[time]) for cells in list(group)[::-1]]


def _shuffled(table: Table, lines: Lines) -> Lines:  # noqa: ARG001
    random.Random(len(lines)).shuffle(lines)
    return lines


def _off_grid(table: Table, lines: Lines) -> Lines:
    if table.rows != "bars":
        return lines
    for cells in lines[len(lines) // 4 : len(lines) // 2]:
        for place in (table.time, table.end_time):
            if place is not None:  # microseconds have 16 digits, milliseconds 13, seconds 10
                cells[place] = str(int(cells[place]) + _OFF_GRID_MS * 1_000 // 10 ** (16 - len(cells[place])))
    return lines


def _ids_before(table: Table, lines: Lines) -> Lines:
    if table.id is not None:
        for cells in lines:
            cells[table.id] = str(int(cells[table.id]) - 1)
    return lines


def _reversed(table: Table, lines: Lines) -> Lines:  # noqa: ARG001
    return lines[::-1]


def _inconsistent(table: Table, lines: Lines) -> Lines:
    cells = lines[len(lines) // 2]
    if table.high is not None:
        cells[table.high] = _changed(cells[table.price], -1_000)
    else:
        cells[table.price] = f"-{cells[table.price].lstrip('-')}"
    return lines


_CHANGES: dict[str, Callable[[Table, Lines], Lines]] = {
    "wrong-bytes": _wrong,
    "republished": _republished,
    "republished-stale-checksum": _republished,
    "missing-minutes": _without_some,
    "missing-bar": _without_one,
    "duplicate-rows": _doubled,
    "conflicting-rows": _conflicting,
    "swapped-rows": _swapped,
    "shuffled-rows": _shuffled,
    "off-grid-bars": _off_grid,
    "repeated-id": _ids_before,
    "descending-rows": _reversed,
    "inconsistent-values": _inconsistent,
}


def _rewritten(text: str, change: Callable[[Lines], Lines]) -> str:
    """Change the rows of a CSV; a header stays where it is."""
    lines = text.splitlines()
    header = lines[:1] if lines and lines[0][:1].isalpha() else []
    rows = change([line.split(",") for line in lines[len(header) :]])
    return "".join(f"{line}\n" for line in [*header, *(",".join(cells) for cells in rows)])


def _other_header(table: Table, text: str) -> str:
    """Add a header to rows without one, or remove the existing one."""
    first, _, rest = text.partition("\n")
    return rest if first[:1].isalpha() else f"{table.header}\n{text}"


def _member(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".zip") + ".csv"


def _unzip(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(archive.infolist()[0]).decode("ascii")


def _zip(name: str, text: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@lru_cache(maxsize=8)
def _bomb(member: str) -> bytes:
    return _zip(member, b"0" * _BOMB_BYTES)
