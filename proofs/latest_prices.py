"""Prove that `market.latest_prices` of 100 symbols × 3 years of 1m bars answers within 100 ms.

    python -m proofs.latest_prices [--symbols 100] [--months 36]

The database is the embedded one, new, in a temporary folder (1 GB). Honest: the number of symbols, of monthly leaves and of
recorded loads (one for each symbol and day), and the newest month, which has every minute. Scaled: the other months have one
day of every tenth minute for each symbol. Every twentieth symbol was delisted, the first of them two years before the end.
The query runs eleven times on a new connection each, which plans it anew; its answer is compared with the newest bars.
Exit code 1 if the answer is wrong or the median is above 100 ms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from crypto_assets.model import days_between
from crypto_assets.storage.embedded_postgres import delete_server, ensure_server
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import leaf_of
from proofs.world import say

FIRST = date(2021, 1, 1)
MOST_MS = 100.0
RUNS = 11

_LOADS = """
INSERT INTO collection.warehouse_loads (table_name, exchange, market_type, symbol, dataset, day, content, rows)
SELECT 'ohlcv', 'binance', 'spot', %(symbol)s, 'ohlcv_1m', d::date, md5(d::text), 1440
FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') AS d
"""

# A third of the digits is noise, as in published bars.
_BARS = """
INSERT INTO market.ohlcv
SELECT 'binance', 'spot', %(symbol)s, '1m', t, 100 + n %% 97 + 0.01, 101 + n %% 97 + 0.25, 99 + n %% 97 + 0.5,
    (100 + n %% 97)::numeric + (%(place)s / 1000.0)::numeric(10, 3), 1.5 + n %% 13, 150.25 + n %% 1301, 40 + n %% 11,
    0.75 + n %% 7, 75.125 + n %% 601, 'archive'
FROM generate_series(%(first)s::timestamptz, %(last)s::timestamptz, %(step)s::interval) WITH ORDINALITY AS g (t, n)
"""


def months(count: int) -> list[date]:
    """Return the first days of some months, ascending."""
    return [date(FIRST.year + number // 12, number % 12 + 1, 1) for number in range(count)]


def last_day(place: int, starts: Sequence[date]) -> date:
    """Return the last day of a symbol: that of the newest month, or of an earlier one for every twentieth symbol."""
    month = len(starts) - 1 - (24 - place // 20 * 4 if place % 20 == 7 else 0)
    return leaf_of("ohlcv", starts[max(month, 0)])[2] - timedelta(days=1)


def fill(connection: psycopg.Connection[Any], symbols: Sequence[str], starts: Sequence[date]) -> int:
    """Write bars and loads; return the number of bars."""
    for start in starts:
        leaf, first, after = leaf_of("ohlcv", start)
        connection.execute(
            f"CREATE TABLE market.{leaf} PARTITION OF market.ohlcv FOR VALUES FROM ('{first}T00:00Z') TO ('{after}T00:00Z')"
        )
    rows = 0
    for place, symbol in enumerate(symbols):
        end = last_day(place, starts)
        connection.execute(_LOADS, {"symbol": symbol, "first": FIRST, "last": end})
        for start in starts:
            first, after = leaf_of("ohlcv", start)[1:]
            if first > end:
                break
            is_full = start == starts[-1]
            until = datetime(after.year, after.month, after.day, tzinfo=UTC) - timedelta(minutes=1)
            begin = first if is_full else after - timedelta(days=1)
            rows += connection.execute(
                _BARS,
                {
                    "symbol": symbol,
                    "place": place,
                    "first": datetime(begin.year, begin.month, begin.day, tzinfo=UTC),
                    "last": until,
                    "step": "1 minute" if is_full else "10 minutes",
                },
            ).rowcount
        connection.commit()
    return rows


def wrong_answers(connection: psycopg.Connection[Any], symbols: Sequence[str], starts: Sequence[date]) -> list[str]:
    """Return what the view says otherwise than the bars of each symbol do, read one by one."""
    found = {row[2]: row[3:6] for row in connection.execute("SELECT * FROM market.latest_prices").fetchall()}
    wrong = [] if set(found) == set(symbols) else [f"expected {len(symbols)} symbols, found {len(found)}"]
    for place, symbol in enumerate(symbols):
        leaf = leaf_of("ohlcv", last_day(place, starts))[0]
        ((opened, close),) = connection.execute(
            f"SELECT open_time, close FROM market.{leaf} WHERE symbol = %s ORDER BY open_time DESC LIMIT 1", (symbol,)
        ).fetchall()
        expected = (close, opened + timedelta(minutes=1), "ohlcv_1m")
        if found.get(symbol) != expected:
            wrong.append(f"{symbol}: expected {expected}, found {found.get(symbol)}")
    return wrong


def measure(url: str) -> list[float]:
    """Return the milliseconds of each run, on a connection of its own."""
    took = []
    for _ in range(RUNS):
        with psycopg.connect(url) as connection:
            began = time.perf_counter()
            connection.execute("SELECT * FROM market.latest_prices").fetchall()
            took.append((time.perf_counter() - began) * 1000)
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--months", type=int, default=36)
    given = parser.parse_args()
    symbols = [f"C{number:03}/USDT" for number in range(given.symbols)]
    starts = months(given.months)
    with tempfile.TemporaryDirectory(prefix="latest-prices-") as folder:
        home = Path(folder)
        try:
            url = ensure_server(home, durable=False)
            migrate(url)
            with psycopg.connect(url) as connection:
                connection.execute("SET timezone = 'UTC'; SET synchronous_commit = off")
                rows = fill(connection, symbols, starts)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
                wrong = wrong_answers(connection, symbols, starts)
                days = len(days_between(FIRST, leaf_of("ohlcv", starts[-1])[2])) - 1
                bytes_ = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            took = measure(url)
        finally:
            delete_server(home)
    median = statistics.median(took)
    say(
        f"{len(symbols)} symbols × {days:,} days, {len(starts)} leaves, {rows:,} bars, {(bytes_ or (0,))[0] / 1e9:.1f} GB: "
        f"median {median:.0f} ms, longest {max(took):.0f} ms (at most {MOST_MS:.0f} ms)"
    )
    for problem in wrong[:10]:
        say(problem)
    return 1 if wrong or median > MOST_MS else 0


if __name__ == "__main__":
    sys.exit(main())
