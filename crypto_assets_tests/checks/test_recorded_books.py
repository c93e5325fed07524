"""Order books and tickers as Binance sent them pass every check of theirs.

The recording holds one snapshot of 1,000 levels a side and the changes of five minutes. The book that they make has, after
each change, the best prices of the ticker stream beside it, so it is the exchange's book.
"""

from __future__ import annotations

import csv
import gzip
import json
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from crypto_assets.checks import (
    ascending_time,
    book_depth,
    book_not_crossed,
    contract,
    inside_day,
    levels_ordered,
    spread_bounded,
    unique_key,
)
from crypto_assets.model import Check, Finding, Partition
from crypto_assets.rows.frames import to_check_frame
from crypto_assets_tests.checks.books import book_table, ticker_table
from crypto_assets_tests.checks.judging import Rows
from crypto_assets_tests.synthetic import series_of

TICKER_CHECKS = (
    ascending_time.CHECK,
    book_not_crossed.CHECK,
    contract.CHECK,
    inside_day.CHECK,
    spread_bounded.CHECK,
    unique_key.CHECK,
)
BOOK_CHECKS = (*TICKER_CHECKS, book_depth.CHECK, levels_ordered.CHECK)
LEVELS = 20
CHANGES = 1_500

pytestmark = pytest.mark.realdata


def instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def judged(checks: tuple[Check, ...], dataset: str, table, day: datetime) -> dict[str, Finding]:
    """Return what the checks find in the rows; in pieces of 700, which end inside of snapshots, the same."""
    frame, series = to_check_frame(table), series_of(dataset, "linear")
    partition = Partition("BTC/USDT:USDT", day.date())
    found = {check.name: check.run(frame, partition, series) for check in checks}
    for check in checks:
        assert check.fold is not None
        fold = check.fold(partition, series)
        for first in range(0, len(frame), 700):
            fold.add(frame.iloc[first : first + 700])
        assert fold.finding() == found[check.name]
    return found


def ticker(time: int, update_id: int, bid: str, bid_amount: str, ask: str, ask_amount: str) -> dict[str, object]:
    return {
        "ticker_time": instant(time),
        "update_id": update_id,
        "bid_price": Decimal(bid),
        "bid_amount": Decimal(bid_amount),
        "ask_price": Decimal(ask),
        "ask_amount": Decimal(ask_amount),
    }


def test_published_tickers_pass(realdata: Path):
    with (realdata / "loose" / "BTCUSDT-bookTicker-2023-10-02-short.csv").open() as file:
        rows = [
            ticker(
                int(row["transaction_time"]),
                int(row["update_id"]),
                *(row[f"best_{name}"] for name in ("bid_price", "bid_qty", "ask_price", "ask_qty")),
            )
            for row in csv.DictReader(file)
        ]
    assert len(rows) == 9_999
    found = judged(TICKER_CHECKS, "tickers", ticker_table(rows), datetime(2023, 10, 2, tzinfo=UTC))
    assert {name for name, finding in found.items() if not finding.passed} == set()
    assert found["spread_bounded"].evidence["widest"] == 0.000182
    crossed = [*rows[:50], rows[50] | {"ask_price": rows[50]["bid_price"]}, *rows[51:]]
    found = judged(TICKER_CHECKS, "tickers", ticker_table(crossed), datetime(2023, 10, 2, tzinfo=UTC))
    assert {name for name, finding in found.items() if not finding.passed} == {"book_not_crossed"}


@pytest.fixture(scope="module")
def messages(realdata: Path) -> list[dict]:
    """The messages of the recording in their order, up to a number of changes of the book."""
    found: list[dict] = []
    changes = 0
    with gzip.open(realdata / "recordings" / "binance_um_btcusdt_20240808.gz", "rt") as lines:
        for line in lines:
            found.append(json.loads(line.partition(" ")[2]))
            changes += "@depth" in found[-1].get("stream", "")
            if changes == CHANGES:
                break
    return found


def tickers(messages: list[dict]) -> Rows:
    return [
        ticker(*(message["data"][name] for name in "TubBaA"))
        for message in messages
        if message.get("stream") == "btcusdt@bookTicker"
    ]


def books(messages: list[dict]) -> Iterator[tuple[int, int, dict[Decimal, Decimal], dict[Decimal, Decimal]]]:
    """Yield time, update id, bids and asks after each change from the snapshot on (amounts by price; they live on)."""
    (snapshot,) = (message for message in messages if "lastUpdateId" in message)
    bids, asks = ({Decimal(p): Decimal(a) for p, a in snapshot[side]} for side in ("bids", "asks"))
    for message in messages:
        change = message.get("data", {})
        if change.get("e") != "depthUpdate" or change["u"] < snapshot["lastUpdateId"]:
            continue
        for side, levels in (("b", bids), ("a", asks)):
            for price, amount in change[side]:
                levels[Decimal(price)] = Decimal(amount)
                if Decimal(amount) == 0:
                    del levels[Decimal(price)]
        yield change["T"], change["u"], bids, asks


def test_recorded_tickers_pass(messages: list[dict]):
    rows = tickers(messages)
    assert len(rows) > 10_000
    found = judged(TICKER_CHECKS, "tickers", ticker_table(rows), datetime(2024, 8, 8, tzinfo=UTC))
    assert {name for name, finding in found.items() if not finding.passed} == set()
    assert found["spread_bounded"].judged


def test_a_rebuilt_book_has_the_best_prices_of_the_tickers_beside_it(messages: list[dict]):
    rows = tickers(messages)
    ids = [row["update_id"] for row in rows]
    compared = 0
    for _, update_id, bids, asks in books(messages):
        beside = rows[bisect_right(ids, update_id) - 1]
        assert (max(bids), min(asks)) == (beside["bid_price"], beside["ask_price"])
        compared += 1
    assert compared > CHANGES - 10


def snapshots(messages: list[dict], every: int = 10) -> Rows:
    rows: Rows = []
    for number, (time, update_id, bids, asks) in enumerate(books(messages)):
        if number % every == 0:
            sides = {"bid": (sorted(bids, reverse=True), bids), "ask": (sorted(asks), asks)}
            rows += [
                {
                    "book_time": instant(time),
                    "update_id": update_id,
                    "side": side,
                    "level": level,
                    "price": price,
                    "amount": amounts[price],
                }
                for side, (prices, amounts) in sides.items()
                for level, price in enumerate(prices[:LEVELS])
            ]
    return rows


def test_snapshots_of_a_recorded_book_pass(messages: list[dict]):
    rows = snapshots(messages)
    assert len(rows) >= 2 * LEVELS * (CHANGES - 10) // 10
    found = judged(BOOK_CHECKS, "order_books", book_table(rows), datetime(2024, 8, 8, tzinfo=UTC))
    assert {name for name, finding in found.items() if not finding.passed} == set()
    assert found["book_depth"].evidence["fewest_bids"] == found["book_depth"].evidence["fewest_asks"] == LEVELS


def test_a_recorded_book_that_missed_changes_is_found(messages: list[dict]):
    """A recorder that loses messages keeps levels that are gone: its book crosses."""
    lost = [m for n, m in enumerate(messages) if "@depth" not in m.get("stream", "") or not 5_000 < n < 9_000]
    found = judged(BOOK_CHECKS, "order_books", book_table(snapshots(lost)), datetime(2024, 8, 8, tzinfo=UTC))
    assert not found["book_not_crossed"].passed
