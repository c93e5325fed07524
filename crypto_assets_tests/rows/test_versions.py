"""The difference between two versions of a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.model.correction import Difference, Example
from crypto_assets.rows.versions import compare

START = datetime(2024, 1, 1, tzinfo=UTC)


def bars(closes: dict[int, Any], volumes: dict[int, Any] | None = None) -> pa.Table:
    """Return bars by their minute; every price is the close."""
    schema = datasets.get("ohlcv").schema
    rows = [
        {
            "open_time": START + timedelta(minutes=minute),
            **dict.fromkeys(schema.names[1:], Decimal(close)),
            "volume": Decimal((volumes or {}).get(minute, 1)),
            "quote_volume": Decimal(1),
            "taker_buy_volume": Decimal(1),
            "taker_buy_quote_volume": Decimal(1),
            "trade_count": 7,
        }
        for minute, close in closes.items()
    ]
    return pa.Table.from_pylist(rows, schema)


Trade = tuple[int, Decimal, Decimal, str]


def trades(rows: Sequence[Trade]) -> pa.Table:
    """Return trades of (id, price, amount, side)."""
    records = [
        {
            "trade_time": START,
            "trade_id": number,
            "price": price,
            "amount": amount,
            "quote_amount": Decimal(1),
            "side": side,
        }
        for number, price, amount, side in rows
    ]
    return pa.Table.from_pylist(records, datasets.get("trades").schema)


def of_bars(former: pa.Table, new: pa.Table) -> Difference:
    return compare(former, new, datasets.get("ohlcv"))


def test_equal_rows_have_no_difference() -> None:
    rows = bars({n: n + 1 for n in range(100)})
    difference = of_bars(rows, pa.concat_tables([rows.slice(0, 40), rows.slice(40)]))
    assert difference == Difference(0, 0, 0, grew=True)
    assert difference.equal


def test_added_removed_and_changed_rows_are_counted_and_shown() -> None:
    former = bars(dict.fromkeys(range(10), 100), {4: "2.5"})
    new = bars(dict.fromkeys(range(1, 12), 100) | {6: "101.5"}, {4: "2.25", 5: 4})
    difference = of_bars(former, new)
    assert (difference.added, difference.removed, difference.changed) == (2, 1, 3)
    assert difference.columns == ("open", "high", "low", "close", "volume")
    assert not difference.grew
    assert str(difference.price) == "open at 2024-01-01 00:06:00: 100 → 101.5 (1.5 %)"
    assert str(difference.volume) == "volume at 2024-01-01 00:05:00: 1 → 4 (300 %)"
    assert difference.examples == (
        Example("2024-01-01 00:00:00", "removed", "open 100, volume 1", ""),
        Example("2024-01-01 00:04:00", "volume", "2.5", "2.25"),
        Example("2024-01-01 00:05:00", "volume", "1", "4"),
        *(Example("2024-01-01 00:06:00", name, "100", "101.5") for name in ("open", "high", "low")),
    )


def test_a_change_in_the_last_of_eighteen_decimals_is_found() -> None:
    digits = "40900.123456789012345678"
    difference = of_bars(bars({0: digits}), bars({0: digits[:-1] + "9"}))
    assert difference.changed == 1
    assert difference.price is not None
    assert difference.price.after - difference.price.before == Decimal("0.000000000000000001")


def test_rows_in_another_order_are_the_same_rows() -> None:
    one = [(n, Decimal(n), Decimal(1), "buy") for n in range(1, 50)]
    difference = compare(trades(one), trades(one[::-1]), datasets.get("trades"))
    assert difference.equal
    assert not difference.grew


def test_a_price_that_came_from_zero_has_changed_infinitely() -> None:
    rates = datasets.get("funding_rates")
    tables = [
        pa.Table.from_pylist(
            [{"funding_time": START, "funding_rate": Decimal(rate), "funding_interval_hours": 8}], rates.schema
        )
        for rate in ("0", "0.0001")
    ]
    difference = compare(*tables, rates)
    assert difference.price is not None
    assert difference.price.relative == float("inf")
    assert str(difference.price) == "funding_rate at 2024-01-01 00:00:00: 0 → 0.0001"


@pytest.mark.parametrize("empty_first", [True, False])
def test_all_rows_of_an_empty_version_are_added_or_removed(empty_first: bool) -> None:
    sides = [bars({}), bars(dict.fromkeys(range(30), 1))]
    difference = of_bars(*(sides if empty_first else sides[::-1]))
    assert (difference.added, difference.removed, difference.changed) == ((30, 0, 0) if empty_first else (0, 30, 0))
    assert len(difference.examples) == 6


numbers = st.decimals(min_value=-(10**19), max_value=10**19, places=18) | st.sampled_from([Decimal(0), Decimal(1)])
versions = st.dictionaries(
    st.integers(0, 12), st.tuples(numbers, numbers, st.sampled_from(["buy", "sell"])), max_size=10
)


@given(versions, versions, st.randoms())
@settings(max_examples=150, deadline=None)
def test_the_difference_is_the_one_of_two_dictionaries(former: dict, new: dict, random: Any) -> None:
    keys = [list(version) for version in (former, new)]
    for order in keys:
        random.shuffle(order)
    tables = [
        trades([(key, *version[key]) for key in order]) for version, order in zip((former, new), keys, strict=True)
    ]
    found = compare(*tables, datasets.get("trades"))
    both = former.keys() & new.keys()
    changed = {key for key in both if former[key] != new[key]}
    assert (found.added, found.removed, found.changed) == (
        len(new.keys() - former.keys()),
        len(former.keys() - new.keys()),
        len(changed),
    )
    places = {"price": 0, "amount": 1, "side": 2}
    assert set(found.columns) == {name for name, n in places.items() if any(former[k][n] != new[k][n] for k in both)}
    assert found.grew == (keys[1][: len(keys[0])] == keys[0] and not changed)

    def moves(place: int) -> list[Decimal]:
        return [abs(new[key][place] - former[key][place]) for key in both if new[key][place] != former[key][place]]

    assert (found.volume is None) == (not moves(1))
    if found.volume:
        assert abs(found.volume.after - found.volume.before) == pytest.approx(max(moves(1)), rel=Decimal("1e-15"))
        key = int(found.volume.key)
        assert (former[key][1], new[key][1]) == (found.volume.before, found.volume.after)
    if found.price:
        shares = [
            abs(new[k][0] - former[k][0]) / abs(former[k][0]) if former[k][0] else Decimal("inf")
            for k in both
            if new[k][0] != former[k][0]
        ]
        assert found.price.relative == pytest.approx(float(max(shares)), rel=1e-14)
        key = int(found.price.key)
        assert (former[key][0], new[key][0]) == (found.price.before, found.price.after)
    shown = [int(example.key) for example in found.examples]
    assert shown == sorted(shown)
    differing = sorted(changed | (former.keys() ^ new.keys()))
    assert list(dict.fromkeys(shown)) == differing[: len(set(shown))]
    assert bool(shown) == bool(differing)
