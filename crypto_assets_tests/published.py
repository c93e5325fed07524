"""What Binance publishes, read and written with the standard library only: the second opinion of the end-to-end tests.

Nothing here is shared with the package, so that a mistake of its parser is not made twice.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from crypto_assets_tests.sources.files import zipped

Row = tuple[Any, ...]
"""A row in the columns of its dataset: times in microseconds since 1970, decimals and integers exact, sides as text."""

DAY_US = 86_400_000_000


def key(market_type: str, folder: str, symbol: str, name: str, stamp: date | str, frequency: str = "daily") -> str:
    """Return the key of a zip: `folder` is `klines`, `trades`, …, `name` the timeframe of bars, else the folder again."""
    tree = {"spot": "data/spot", "linear": "data/futures/um"}[market_type]
    below = f"{name}/" if folder == "klines" else ""
    return f"{tree}/{frequency}/{folder}/{symbol}/{below}{symbol}-{name}-{stamp}.zip"


def text_of(content: bytes) -> str:
    """Return the CSV that is the only member of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (member,) = archive.namelist()
        return archive.read(member).decode("ascii")


def zip_of(of: str, text: str) -> bytes:
    """Return the zip that has the name of a key, with this CSV."""
    return zipped(of.rpartition("/")[2].replace(".zip", ".csv"), text)


def checksum_of(of: str, content: bytes) -> bytes:
    """Return the content of the .CHECKSUM beside a zip."""
    return f"{hashlib.sha256(content).hexdigest()}  {of.rpartition('/')[2]}\n".encode()


def _micros(text: str) -> int:
    return int(text) if len(text) == 16 else int(text) * 1000


def _side(text: str) -> str:
    return {"true": "sell", "false": "buy"}[text.lower()]


Reader = Callable[[str], Any]
_COLUMNS: dict[str, list[tuple[int, Reader]]] = {
    # Where each column of the dataset stands in the file.
    "klines": [
        *((0, _micros), *((place, Decimal) for place in (1, 2, 3, 4, 5, 7))),
        *((8, int), (9, Decimal), (10, Decimal)),
    ],
    "trades": [(4, _micros), (0, int), (1, Decimal), (2, Decimal), (3, Decimal), (5, _side)],
    "aggTrades": [(5, _micros), (0, int), (1, Decimal), (2, Decimal), (3, int), (4, int), (6, _side)],
    "fundingRate": [(0, _micros), (2, Decimal), (1, int)],
}


def rows_of(folder: str, text: str) -> list[Row]:
    """Return the rows of a CSV of `klines`, `trades`, `aggTrades` or `fundingRate`, in the columns of the dataset."""
    lines = list(csv.reader(io.StringIO(text)))
    if lines and not lines[0][0].isdigit():
        del lines[0]
    columns = [[read(line[place]) for line in lines] for place, read in _COLUMNS[folder]]
    return list(zip(*columns, strict=True))


def of_day(rows: Sequence[Row], day: date) -> list[Row]:
    """Return the rows of one UTC day."""
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    return [row for row in rows if start <= row[0] < start + DAY_US]


def statistics_of(trades: Sequence[Row]) -> list[Row]:
    """Return the rows of trade_statistics_1m without `vwap`: minute, buy and sell volume, quote volume, count, largest."""
    minutes: dict[int, list[Row]] = defaultdict(list)
    for row in trades:
        minutes[row[0] // 60_000_000].append(row)
    return [
        (
            minute * 60_000_000,
            sum((row[3] for row in mine if row[5] == "buy"), Decimal(0)),
            sum((row[3] for row in mine if row[5] == "sell"), Decimal(0)),
            sum((row[4] for row in mine), Decimal(0)),
            len(mine),
            max(row[3] for row in mine),
        )
        for minute, mine in sorted(minutes.items())
    ]


def days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]
