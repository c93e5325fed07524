"""Apply a fault to the bytes of one archive object: the result is another file of the same name. Standard library only."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from itertools import groupby

from crypto_assets.sandbox.layout import HEADERS

Lines = list[list[str]]

_BOMB_BYTES = 64 << 20

# Columns, by the folder in the key: the amount that a republished file changes, and its quote amount if any.
_AMOUNTS = {"klines": (5, 7), "trades": (2, 3), "aggTrades": (2, None), "fundingRate": (2, None)}
_PRICES = {"klines": 3, "trades": 1, "aggTrades": 1, "fundingRate": 2}
_TIMES = {"klines": 0, "trades": 4, "aggTrades": 5, "fundingRate": 0}

_OFF_GRID_MS = 14_789  # as in the published bars of 2018-02-09 (binance-public-data #14)


def damaged(fault: str, key: str, content: bytes) -> bytes:
    """Return the bytes of a zip under a fault of `faults.OBJECTS`; its checksum is computed elsewhere."""
    if fault == "empty":
        return b""
    if fault == "zip-bomb":
        return _bomb(_member(key))
    if fault == "path-traversal":
        return _zip(f"../../../{_member(key)}", _unzip(content))
    if fault == "header":
        return _zip(_member(key), _other_header(_folder(key), _unzip(content)))
    return _zip(_member(key), _rewritten(_unzip(content), lambda lines: _CHANGES[fault](_folder(key), lines)))


def _wrong(folder: str, lines: Lines) -> Lines:
    return _other_amount(folder, lines, len(lines) // 4)


def _republished(folder: str, lines: Lines) -> Lines:
    lines = _other_amount(folder, lines, len(lines) // 2)
    if folder == "klines":
        cells = lines[len(lines) // 2]
        cells[3] = cells[4] = _changed(cells[3], -1_000)  # closes at a new low: still a valid bar
    return lines


def _other_amount(folder: str, lines: Lines, row: int) -> Lines:
    """Add 1,000 smallest units to the amount of the first traded row from `row` on, and their price to its quote amount."""
    amount, quote = _AMOUNTS[folder]
    # A bar without trades stays unchanged.
    cells = next((cells for cells in lines[row:] if Decimal(cells[amount])), lines[row])
    more = Decimal(changed := _changed(cells[amount], 1_000)) - Decimal(cells[amount])
    if quote is not None:
        grown = Decimal(cells[quote]) + more * Decimal(cells[_PRICES[folder]])
        cells[quote] = f"{grown.quantize(Decimal(cells[quote])):f}"
    cells[amount] = changed
    return lines


def _changed(number: str, units: int) -> str:
    """Return a decimal changed by some of its smallest units, with the same number of digits."""
    value = Decimal(number)
    return f"{value + units * Decimal((0, (1,), int(value.as_tuple().exponent))):f}"


def _without_some(folder: str, lines: Lines) -> Lines:  # noqa: ARG001 - rows are rows
    place = len(lines) // 3
    return lines[:place] + lines[place + 3 :]


def _without_one(folder: str, lines: Lines) -> Lines:  # noqa: ARG001
    place = len(lines) * 2 // 3
    return lines[:place] + lines[place + 1 :]


def _doubled(folder: str, lines: Lines) -> Lines:  # noqa: ARG001
    place = len(lines) // 2
    return [*lines[:place], lines[place], *lines[place:]]


def _conflicting(folder: str, lines: Lines) -> Lines:
    """Repeat a row with an amount, the second time with another amount."""
    amount, _ = _AMOUNTS[folder]
    place = next((n for n in range(len(lines) // 2, len(lines)) if Decimal(lines[n][amount])), len(lines) // 2)
    return [*lines[: place + 1], *_other_amount(folder, [[*lines[place]]], 0), *lines[place + 1 :]]


def _swapped(folder: str, lines: Lines) -> Lines:
    if folder == "klines":  # each bar has its own instant
        return lines
    time = _TIMES[folder]
    if len({cells[time] for cells in lines}) == len(lines) > 1:
        place = len(lines) // 2
        lines[place][time] = lines[place - 1][time]
    return [cells for _, group in groupby(lines, lambda cells: cells[time]) for cells in list(group)[::-1]]


def _shuffled(folder: str, lines: Lines) -> Lines:  # noqa: ARG001
    random.Random(len(lines)).shuffle(lines)
    return lines


def _off_grid(folder: str, lines: Lines) -> Lines:
    if folder != "klines":
        return lines
    for cells in lines[len(lines) // 4 : len(lines) // 2]:
        for place in (0, 6):
            # Microseconds have 16 digits.
            cells[place] = str(int(cells[place]) + _OFF_GRID_MS * (1_000 if len(cells[place]) == 16 else 1))
    return lines


def _ids_before(folder: str, lines: Lines) -> Lines:
    if folder == "aggTrades":
        for cells in lines:
            cells[0] = str(int(cells[0]) - 1)
    return lines


def _reversed(folder: str, lines: Lines) -> Lines:  # noqa: ARG001
    return lines[::-1]


def _inconsistent(folder: str, lines: Lines) -> Lines:
    cells = lines[len(lines) // 2]
    if folder == "klines":
        cells[2] = _changed(cells[3], -1_000)
    else:
        cells[_PRICES[folder]] = f"-{cells[_PRICES[folder]].lstrip('-')}"
    return lines


_CHANGES: dict[str, Callable[[str, Lines], Lines]] = {
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


def _other_header(folder: str, text: str) -> str:
    """Add a header to rows without one, or remove the existing one."""
    first, _, rest = text.partition("\n")
    return rest if first[:1].isalpha() else f"{HEADERS[folder]}\n{text}"


def _member(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".zip") + ".csv"


def _folder(key: str) -> str:
    return next((part for part in key.split("/") if part in _AMOUNTS), "klines")


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
