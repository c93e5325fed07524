"""Read the minutes of stored days, in every dataset of one exchange and market.

A day's minutes are one integer of 1,440 bits, the first minute the highest (the bytes of a profile as a number): Python
combines such numbers of a thousand symbols faster than arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any

import psycopg

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.model import DAY, TIMEFRAME_LENGTHS

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class StoredDay:
    """The minutes of one stored day; `silent`, `absent` and the ids are those of its `Profile`."""

    symbol: str
    dataset: str
    day: date
    last_time: datetime
    silent: bytes | None = None
    absent: bytes | None = None
    first_id: int | None = None
    last_id: int | None = None
    missing_ids: int | None = None
    first_time: datetime | None = None

    @property
    def is_bars(self) -> bool:
        return self.dataset.startswith("ohlcv_")

    @property
    def untraded(self) -> int:
        """The minutes that are silent or missing."""
        return bits(self.silent) | bits(self.absent)

    @property
    def traded(self) -> int:
        """The minutes that traded; for bars longer than a minute, all minutes of a bar that traded."""
        seen = (self.last_time - start_of(self.day)) // MINUTE + (resolution(self.dataset) or 1)
        # On its first day a symbol did not trade before its first row; these minutes are not known to be silent.
        first = (self.first_time - start_of(self.day)) // MINUTE if self.first_time else 0
        return mask(max(0, first), min(seen, MINUTES)) & ~self.untraded


@cache
def resolution(dataset: str) -> int | None:
    """Return the dataset's resolution in minutes, a divisor of 1,440; None if it does not show minutes."""
    if dataset in ("trades", "agg_trades"):
        return 1
    length = TIMEFRAME_LENGTHS.get(dataset.removeprefix("ohlcv_")) if dataset.startswith("ohlcv_") else None
    return max(1, length // MINUTE) if length is not None and length <= DAY else None


def bits(minutes: bytes | None) -> int:
    """Return the minutes of a profile as a number."""
    return int.from_bytes(minutes, "big") if minutes else 0


def mask(first: int, end: int, length: int = MINUTES) -> int:
    """Return the number with the minutes of [first, end) set, of `length` minutes."""
    return ((1 << (end - first)) - 1) << (length - end) if first < end else 0


def every(step: int) -> int:
    """Return every step-th minute of a day, the first included."""
    return int(("1" + "0" * (step - 1)) * (MINUTES // step), 2)


def joined(days: Iterable[int]) -> int:
    """Return the minutes of consecutive days as one number."""
    whole = 0
    for minutes in days:
        whole = whole << MINUTES | minutes
    return whole


def runs(number: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of set minutes of a day as (first, one after the last)."""
    while number:
        first = MINUTES - number.bit_length()
        rest = ~number & mask(first, MINUTES)
        end = MINUTES - rest.bit_length() if rest else MINUTES
        yield first, end
        number &= mask(end, MINUTES)


def long_runs(number: int, shortest: int) -> int:
    """Return the minutes of the runs that are `shortest` minutes long or longer: at the cost of some numbers, not of runs."""
    starts = number
    for n in range(1, shortest):
        starts &= number << n
    whole = starts
    for n in range(1, shortest):
        whole |= starts >> n
    return whole


def edge_runs(number: int) -> int:
    """Return the minutes of the runs that begin a day or end it."""
    unset = ~number & mask(0, MINUTES)
    return mask(0, MINUTES - unset.bit_length()) | number & ~(number + 1)


def whole_bars(minutes: int, step: int) -> int:
    """Return all minutes of the bars in which at least one minute is set; bars are `step` minutes long."""
    if step == 1:
        return minutes
    whole = 0
    for first, end in runs(minutes):
        whole |= mask(first // step * step, -(-end // step) * step)
    return whole


def start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def moment(day: date, minute: int) -> datetime:
    """Return the instant at which a minute of a day begins; 1440 is the next midnight."""
    return start_of(day) + minute * MINUTE


def covered(start: datetime, end: datetime, day: date) -> int:
    """Return the minutes of a day that are entirely inside [start, end)."""
    first = max(0, -((start_of(day) - start) // MINUTE))
    last = min(MINUTES, (end - start_of(day)) // MINUTE)
    return mask(first, last) if first < last else 0


def read_minutes(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, days: Iterable[date]
) -> list[StoredDay]:
    """Return the stored days of a market with their minutes, without datasets that do not show minutes; one query."""
    names = ", ".join(StoredDay.__dataclass_fields__)
    rows = connection.execute(
        f"""SELECT {names} FROM collection.profiles
        WHERE exchange = %s AND market_type = %s AND day = ANY(%s) ORDER BY day, symbol, dataset""",
        (exchange, market_type, sorted(set(days))),
        binary=True,
    )
    found = (StoredDay(*row) for row in rows)
    return [one for one in found if resolution(one.dataset) is not None]
