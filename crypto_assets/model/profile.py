"""What the checks of other days need of a stored day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Profile:
    """What others need to know of a stored partition without reading it. Times are UTC, prices quote per base.

    `first_id` to `missing_ids` are set where the exchange numbers its rows (trades), `first_trade_id` and `last_trade_id`
    of the trades that aggregates are made of; prices and `largest_step`, the greatest
    |log(price / price before)| between neighbouring rows, where rows have one. `silent` and `absent` have a bit for each
    minute of the day (180 bytes, the first minute is the highest bit of the first byte), None where no bit is set: minutes in
    which nothing traded, and minutes of which the bar is not there. `hours` is what `crypto_assets.checks.outliers` compares
    later days with. `traded` is false where all rows are bars in which nothing traded.
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
