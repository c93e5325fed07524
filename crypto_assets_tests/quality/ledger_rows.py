"""Rows of a ledger as the engine and the quality code write them, for tests of what is made from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import psycopg

from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 30)
NOW = datetime(2024, 1, 31, 12, tzinfo=UTC)
BARS_A_DAY, BYTES_A_DAY = 1_440, 70_000
REFUSED = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{}.zip: sha256 differs"

STATES: dict[str, dict[str, range | list[int]]] = {
    # By symbol: the days of January in each state. ETH/USDT lacks the record of the 12th and 13th.
    "BTC/USDT": {
        "no_data": range(1, 4),
        "missing": [9, 10],
        "degraded": [17],
        "corrected": [20],
        "provisional": [29],
        "pending": [30],
        "available": [*range(4, 9), *range(11, 17), 18, 19, *range(21, 29)],
    },
    "ETH/USDT": {"available": [*range(1, 12), *range(14, 31)]},
}

SCORED = {("BTC/USDT", 17): 0.9, ("ETH/USDT", 5): 0.995}
"""Totals of days that are not 1."""


def collection() -> Collection:
    entry = {
        "exchange": "binance",
        "market_type": "spot",
        "datasets": ["ohlcv_1m"],
        "symbols": ["BTC/USDT", "ETH/USDT"],
        "start": FIRST,
        "warehouse": False,  # nothing of it is in Postgres
    }
    return parse_collection({"series": [entry], "quality": {"threshold": 0.99}})


def fill(url: str) -> None:
    """Write thirty days of two symbols: those of BTC/USDT have every state among them."""
    migrate(url)
    with psycopg.connect(url) as connection:
        for record in records():
            _insert(connection, "partitions", record)
            if record["state"] in ("available", "degraded"):
                _insert(connection, "archive_objects", _object(record))
                total = SCORED.get((record["symbol"], record["day"].day), 1.0)
                keys = {name: record[name] for name in ("exchange", "market_type", "symbol", "dataset", "day", "state")}
                # An older score, which no longer counts.
                _insert(connection, "quality", keys | {"scored_at": NOW - timedelta(days=1), "total": 0.1})
                _insert(connection, "quality", keys | {"scored_at": NOW, "completeness": total, "total": total})
        for incident in incidents():
            _insert(connection, "incidents", incident)


def put_files(url: str, folder: Path) -> None:
    """Put a file of the right size into a lake for every stored day of a ledger; nobody opens it."""
    lake = Lake(str(folder))
    with Ledger(url) as ledger:
        for record in ledger.partitions():
            if record.path is not None:
                file = folder / lake.path(record.track.series, Partition(record.symbol, record.day))
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
                os.truncate(file, record.size_bytes or 0)


def records() -> Iterator[dict[str, Any]]:
    for symbol, states in STATES.items():
        for state, days in states.items():
            for number in days:
                yield _record(symbol, state, date(2024, 1, number))


def _record(symbol: str, state: str, day: date) -> dict[str, Any]:
    stored = state in ("available", "provisional", "degraded", "corrected")
    reasons = {
        "no_data": "not listed before 2024-01-04",
        "missing": REFUSED.format(day),
        "degraded": "complete: 20 of 1440 bars lack <script>",
        "corrected": "republished",
        "pending": "not published yet",
    }
    return {
        "exchange": "binance",
        "market_type": "spot",
        "symbol": symbol,
        "dataset": "ohlcv_1m",
        "day": day,
        "state": state,
        "reason": reasons.get(state, ""),
        "evidence": psycopg.types.json.Jsonb({"error": "ChecksumMismatch"} if state == "missing" else {}),
        "rows": (BARS_A_DAY - 20 * (state == "degraded")) if stored else None,
        "size_bytes": BYTES_A_DAY if stored else None,
        "path": f"{symbol}/{day}" if stored else None,
        "source": {"provisional": "rest"}.get(state, "archive") if stored else None,
        "source_key": _key(symbol, day) if stored else None,
        "findings": psycopg.types.json.Jsonb(
            {"complete": {"passed": state != "degraded"}, "contract": {"passed": True}}
        )
        if stored
        else psycopg.types.json.Jsonb({}),
        "failed_checks": ["complete"] if state == "degraded" else [],
        "corrections": int(state == "available" and symbol == "ETH/USDT" and day.day == 2),
        "updated_at": NOW,
    }


def _object(record: dict[str, Any]) -> dict[str, Any]:
    """Return the file of a day: published 8 hours after it, on the 28th after 40."""
    end = datetime.combine(record["day"] + timedelta(days=1), time(), UTC)
    published = end + timedelta(hours=40 if record["day"].day == 28 else 8)
    return {
        "exchange": "binance",
        "key": record["source_key"],
        "size_bytes": 1,
        "etag": "x",
        "last_modified": published,
        "first_modified": published,
        # The first ten days were looked at a month later.
        "first_seen": published + timedelta(minutes=5 if record["day"].day > 10 else 60 * 24 * 30),
    }


def incidents() -> list[dict[str, Any]]:
    def one(kind: str, start: datetime, end: datetime, symbol: str | None, **more: Any) -> dict[str, Any]:
        keys = {"exchange": "binance", "market_type": "spot", "symbol": symbol, "dataset": None, "source": "found"}
        return {**keys, "kind": kind, "start_time": start, "end_time": end, **more}

    def at(day: int, hour: int = 0) -> datetime:
        return datetime(2024, 1, day, hour, tzinfo=UTC)

    return [
        one("exchange_outage", at(17, 3), at(17, 5), None, source="known", reference="status page"),
        one("upstream_bad_file", at(9), at(11), "BTC/USDT"),
        one("before_listing", at(1), at(4), "BTC/USDT"),
        one("illiquid", datetime(2023, 6, 1, tzinfo=UTC), datetime(2023, 6, 2, tzinfo=UTC), "BTC/USDT"),
        one("unexplained", at(3), at(4), "DOGE/USDT"),
    ]


def _insert(connection: psycopg.Connection[Any], table: str, values: dict[str, Any]) -> None:
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    connection.execute(f"INSERT INTO collection.{table} ({names}) VALUES ({places})", list(values.values()))


def _key(symbol: str, day: date) -> str:
    name = symbol.replace("/", "")
    return f"data/spot/daily/klines/{name}/1m/{name}-1m-{day}.zip"
