"""A summary of a stored day for the checks of other days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Profile:
    """What other checks need to know of a stored partition without reading it. Times are UTC, prices quote per base.

    `first_id` to `missing_ids` are set if the exchange numbers its rows (trades); `first_trade_id` and `last_trade_id` are
    those of the trades merged into aggregates. Prices and `largest_step`, the greatest |log(price / previous price)| between
    neighbouring rows, are set if rows have a price. `silent` and `absent` have one bit for each minute of the day (180 bytes,
    the first minute is the highest bit of the first byte), None if no bit is set: minutes without a trade, and minutes whose
    bar is missing. `crypto_assets.checks.outliers` compares later days with `hours`. `traded` is false if all rows are bars
    without a trade.
    """

    symbol: str
    day: date
    content_sha256: str
    rows: int
    first_time: datetime
    last_time: datetime
    first_id: int | None = None
    last_id: int | None = None
    missing_ids: int | None = None
    first_trade_id: int | None = None
    last_trade_id: int | None = None
    first_price: float | None = None
    last_price: float | None = None
    largest_step: float | None = None
    silent: bytes | None = None
    absent: bytes | None = None
    hours: bytes | None = None
    traded: bool = True
