"""Stored days for the tests of outages, causes and incidents: made by hand, or from files that an exchange published."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from crypto_assets.checks._minutes import MINUTES, to_bits
from crypto_assets.ledger.minutes import StoredDay
from crypto_assets.model import Outcome, Profile
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.published import rows_of, text_of

Spans = Iterable[tuple[int, int]]

KLINES = "binance_vision/data/futures/um/daily/klines"


def flags(spans: Spans) -> np.ndarray:
    minutes = np.zeros(MINUTES, dtype=bool)
    for first, end in spans:
        minutes[first:end] = True
    return minutes


def stored(
    symbol: str, day: date, silent: Spans = (), absent: Spans = (), dataset: str = "ohlcv_1m", **ids: int
) -> StoredDay:
    """Return a stored day whose rows reach midnight."""
    last = datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC)
    return StoredDay(symbol, dataset, day, last, to_bits(flags(silent)), to_bits(flags(absent)), **ids)


def profile(one: StoredDay) -> Profile:
    """Return the profile that a stored day is read from."""
    start = datetime(one.day.year, one.day.month, one.day.day, tzinfo=UTC)
    return Profile(
        one.symbol,
        one.day,
        "c" * 64,
        1,
        start,
        one.last_time,
        one.first_id,
        one.last_id,
        one.missing_ids,
        silent=one.silent,
        absent=one.absent,
    )


def published(realdata: Path, exchange_symbol: str, symbol: str) -> list[StoredDay]:
    """Return the daily 1m files of a USD-M symbol, read with the standard library."""
    made = []
    for file in sorted((realdata / KLINES / exchange_symbol / "1m").glob("*.zip")):
        day = date.fromisoformat(file.stem[-10:])
        rows = [
            (datetime.fromtimestamp(row[0] / 1e6, UTC), row[5]) for row in rows_of("klines", text_of(file.read_bytes()))
        ]
        made.append(_of_bars(symbol, "ohlcv_1m", day, rows, 1))
    return made


def published_5m(realdata: Path) -> list[StoredDay]:
    """Return BTC/USDT around the outage of 2023-03-24, 5m bars of the spot market."""
    (file,) = (realdata / "loose").glob("binance_spot_BTCUSDT-5m_20230323-*.csv")
    lines = csv.DictReader(line for line in file.read_text().splitlines() if not line.startswith("#"))
    by_day: dict[date, list[tuple[datetime, object]]] = {}
    for line in lines:
        time = datetime.fromisoformat(line["date"]).replace(tzinfo=UTC)
        by_day.setdefault(time.date(), []).append((time, float(line["volume"])))
    return [_of_bars("BTC/USDT", "ohlcv_5m", day, rows, 5) for day, rows in by_day.items()]


def _of_bars(symbol: str, dataset: str, day: date, rows: list[tuple[datetime, object]], step: int) -> StoredDay:
    silent, absent = flags(()), flags([(0, MINUTES)])
    for time, volume in rows:
        first = time.hour * 60 + time.minute
        absent[first : first + step] = False
        silent[first : first + step] = volume == 0
    return StoredDay(symbol, dataset, day, rows[-1][0], to_bits(silent), to_bits(absent))


def days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def put_files(folder: Path, outcomes: Iterable[Outcome]) -> None:
    """Let a lake in a folder have the files that some outcomes say are stored: as many bytes, none of them rows."""
    lake = Lake(str(folder))
    for outcome in outcomes:
        if outcome.stored:
            path = folder / lake.path(outcome.series, outcome.partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(outcome.stored.size_bytes))
