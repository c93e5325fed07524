"""Bars rebuilt from trades are those of a slow reference, of the sandbox and of Binance, in any cut into pieces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.checks import _minute_bars
from crypto_assets.checks._minute_bars import minute_bars
from crypto_assets_tests.synthetic import day_of, series_of

DAY = date(2024, 3, 1)
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)
BARS = datasets.get("ohlcv").schema
Row = dict[str, object]


def built_slowly(table: str, rows: Iterable[Row]) -> list[Row]:
    """Return the 1m bars of trades, one by one in exact arithmetic."""
    minutes: dict[datetime, list[Row]] = defaultdict(list)
    for row in rows:
        if row.get("first_trade_id", 0) >= 0:
            minutes[row["trade_time"].replace(second=0, microsecond=0)].append(row)
    result = []
    with localcontext() as context:
        context.prec = 120
        unit = Decimal("1e-18")
        for opening, group in sorted(minutes.items()):
            quotes = [r["quote_amount"] if table == "trades" else r["price"] * r["amount"] for r in group]
            bought = [r["side"] == "buy" for r in group]
            prices = [r["price"] for r in group]
            result.append(
                {
                    "open_time": opening,
                    "open": prices[0],
                    "high": max(prices),
                    "low": min(prices),
                    "close": prices[-1],
                    "volume": sum(r["amount"] for r in group),
                    "quote_volume": sum(quotes).quantize(unit, ROUND_HALF_EVEN),
                    "trade_count": len(group)
                    if table == "trades"
                    else sum(r["last_trade_id"] - r["first_trade_id"] + 1 for r in group),
                    "taker_buy_volume": sum((r["amount"] for r, b in zip(group, bought, strict=True) if b), Decimal(0)),
                    "taker_buy_quote_volume": sum(
                        (q for q, b in zip(quotes, bought, strict=True) if b), Decimal(0)
                    ).quantize(unit, ROUND_HALF_EVEN),
                }
            )
    return result


def number(most_digits: int) -> st.SearchStrategy[Decimal]:
    """Positive numbers with up to 18 decimals, of any magnitude up to `most_digits` before the point."""
    return st.tuples(st.integers(1, 10**9), st.integers(-18, most_digits - 9)).map(
        lambda pair: Decimal(pair[0]).scaleb(pair[1])
    )


@st.composite
def trade_tables(draw: st.DrawFn, table: str) -> pa.Table:
    """Trades of any size, in gaps of any length, of a token counted in wei as of one of which a million cost a cent."""
    sizes = draw(st.sampled_from([(4, 4), (9, 9)]))
    price, amount = (number(digits) for digits in sizes)
    ids, time, rows = 1, MIDNIGHT, []
    for gap in draw(st.lists(st.integers(0, 200_000_000), min_size=1, max_size=30)):
        time += timedelta(microseconds=gap)
        row: Row = {"trade_time": time, "price": draw(price), "amount": draw(amount)}
        row["side"] = draw(st.sampled_from(["buy", "sell"]))
        if table == "trades":
            row |= {"trade_id": ids, "quote_amount": draw(number(9))}
        else:
            last = ids + draw(st.integers(0, 3))
            removed = draw(st.integers(0, 9)) == 0
            row |= {"agg_trade_id": len(rows), "first_trade_id": -1 if removed else ids}
            row["last_trade_id"] = -1 if removed else last
            ids = last
        ids += 1
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=datasets.get(table).schema)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), st.sampled_from(["trades", "agg_trades"]))
def test_any_trades_in_any_pieces_make_the_bars_of_the_slow_reference(data, table):
    rows = data.draw(trade_tables(table))
    cuts = data.draw(st.sets(st.integers(0, rows.num_rows), max_size=5))
    edges = sorted({0, rows.num_rows, *cuts})
    pieces = [rows.slice(first, last - first) for first, last in pairwise(edges)]
    found = minute_bars(series_of(table), iter(pieces))
    assert found.schema == BARS
    assert found.to_pylist() == built_slowly(table, rows.to_pylist())


@pytest.mark.parametrize(("dataset", "market_type"), [("trades", "spot"), ("trades", "linear"), ("agg_trades", "spot")])
@pytest.mark.parametrize("rows_at_once", [7, 1 << 16])
def test_a_day_of_the_sandbox_makes_the_bars_that_it_publishes(monkeypatch, dataset, market_type, rows_at_once):
    monkeypatch.setattr(_minute_bars, "_ROWS", rows_at_once)
    _, rows = day_of(dataset, DAY, market_type)
    _, published = day_of("ohlcv_1m", DAY, market_type)
    assert published.num_rows == 1440
    assert minute_bars(series_of(dataset, market_type), [rows]).equals(published)


def test_one_minute_in_many_pieces_keeps_its_first_open_and_last_close():
    _, rows = day_of("trades", DAY)
    pieces = [rows.slice(n, 1) for n in range(rows.num_rows)]
    assert minute_bars(series_of("trades"), pieces).equals(day_of("ohlcv_1m", DAY)[1])


def test_pieces_may_have_sides_in_dictionaries_of_their_own():
    _, rows = day_of("trades", DAY)
    expected = minute_bars(series_of("trades"), [rows]).to_pylist()
    plain = rows.to_pylist()
    pieces = [pa.Table.from_pylist(plain[n : n + 1], schema=rows.schema) for n in range(50)]
    sides = {tuple(piece.column("side").chunk(0).dictionary.to_pylist()) for piece in pieces}
    assert sides == {("buy",), ("sell",)}
    found = minute_bars(series_of("trades"), pieces).to_pylist()
    assert len(found) > 10
    assert found[:-1] == expected[: len(found) - 1]


def test_no_rows_make_no_bars():
    empty = datasets.get("agg_trades").schema.empty_table()
    for pieces in ([], [empty]):
        found = minute_bars(series_of("agg_trades"), pieces)
        assert (found.num_rows, found.schema) == (0, BARS)


def test_numbers_beyond_what_any_exchange_has_do_not_overflow():
    """A minute of the whole supply of SHIB, five times a second, in prices with 18 decimals."""
    rows = pa.Table.from_pylist(
        [
            {
                "trade_time": MIDNIGHT + timedelta(milliseconds=200 * n),
                "agg_trade_id": n,
                "price": Decimal("0.000012345678901234"),
                "amount": Decimal("589500000000000.12345678"),
                "first_trade_id": 1,
                "last_trade_id": 10**9,
                "side": "buy",
            }
            for n in range(300)
        ],
        schema=datasets.get("agg_trades").schema,
    )
    (bar,) = minute_bars(series_of("agg_trades"), [rows]).to_pylist()
    assert bar["volume"] == Decimal("176850000000000037.037034")
    with localcontext() as context:
        context.prec = 80
        exact = 300 * Decimal("0.000012345678901234") * Decimal("589500000000000.12345678")
        assert bar["quote_volume"] == bar["taker_buy_quote_volume"] == exact.quantize(Decimal("1e-18"), ROUND_HALF_EVEN)
    assert bar["trade_count"] == 300 * 10**9
