"""Files that a person downloaded into a folder, plain or in zips. Pure: names and times only.

`engine/archive/user_files.py` reads the folder. A file has the rows of one symbol of many years, so it is offered day by day,
as if an archive had a file for each day: `{prefix}/{name}/{day}.csv`. A file proves only what is between its first and its
last row; a path with a quarter in it (`Kraken_OHLCVT_Q1_2024.zip`) says that the file has this quarter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from crypto_assets.model import Span

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_QUARTER = re.compile(r"(?<![A-Za-z0-9])Q([1-4])_(20\d{2})(?![0-9])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Folder:
    """The names of the files of one series, and where a line has its time.

    `ending` follows the symbol's name in a file's name: `_60.csv`. `time_places`: the place of the time in epoch seconds, by
    the number of columns. `row_length`: how long after its time a row still proves that nothing else was there (a bar's
    length; nothing for trades).
    """

    prefix: str
    ending: str
    time_places: Mapping[int, int]
    row_length: timedelta

    def file_name(self, name: str) -> str:
        return name + self.ending

    def key(self, name: str, day: date) -> str:
        return f"{self.prefix}/{name}/{day}.csv"

    def parsed(self, key: str) -> tuple[str, date]:
        """Return the symbol's name and the day of a key; raises ValueError for another text."""
        name, _, file = key.removeprefix(self.prefix + "/").partition("/")
        text = file.removesuffix(".csv")
        if not key.startswith(self.prefix + "/") or not name or text == file or not _DAY.fullmatch(text):
            raise ValueError(f"{key}: expected {self.prefix}/NAME/YYYY-MM-DD.csv")
        return name, date.fromisoformat(text)


def quarter_in(path: str) -> Span | None:
    """Return the quarter that a path names last; None if it names none."""
    found = _QUARTER.findall(path)
    if not found:
        return None
    quarter, year = int(found[-1][0]), int(found[-1][1])
    end = (year, 3 * quarter + 1) if quarter < 4 else (year + 1, 1)
    return Span(datetime(year, 3 * quarter - 2, 1, tzinfo=UTC), datetime(*end, 1, tzinfo=UTC))
