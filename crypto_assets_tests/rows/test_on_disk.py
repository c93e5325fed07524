"""Large days on disk give what the same days give in memory: rows, order, bytes, statistics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from crypto_assets import datasets
from crypto_assets.model import Dataset
from crypto_assets.rows.arrange import Arrangement, arranged
from crypto_assets.rows.arrange_on_disk import DayOnDisk
from crypto_assets.rows.derive import trade_statistics
from crypto_assets.rows.on_disk import RowsOnDisk, Spool, pieces_of
from crypto_assets.storage import parquet_writing
from crypto_assets.storage.parquet_writing import encode, encode_on_disk

TRADES = datasets.get("trades")
DAY = datetime(2024, 3, 1, tzinfo=UTC)


def trades(count: int = 2_000, *, numbered: bool = True, uid: bool = False, step_ms: int = 40_000) -> pa.Table:
    draw = np.random.default_rng(7)
    rows = [
        {
            "trade_time": DAY + timedelta(milliseconds=int(n * step_ms // 3 * 3)),
            "trade_id": 10 + n if numbered else None,
            "trade_uid": f"{n:036x}" if uid else None,
            "price": Decimal(int(draw.integers(1, 10**6))) / 100,
            "amount": Decimal(int(draw.integers(1, 10**4))) / 1000,
            "quote_amount": Decimal(int(draw.integers(1, 10**8))) / 1000,
            "side": "buy" if draw.integers(2) else "sell",
        }
        for n in range(count)
    ]
    return pa.Table.from_pylist([{"trade_place": None, **row} for row in rows], schema=TRADES.schema)


@pytest.fixture(autouse=True)
def _short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_assets.rows.arrange_on_disk.PIECE_ROWS", 300)
    monkeypatch.setattr(RowsOnDisk.pieces, "__defaults__", (300,))


def day_on_disk(rows: pa.Table, dataset: Dataset = TRADES, piece: int = 170) -> tuple[RowsOnDisk, Arrangement]:
    day = DayOnDisk(dataset)
    for start in range(0, rows.num_rows, piece):
        day.add(rows.slice(start, piece))
    return day.arranged()


def shuffled(rows: pa.Table) -> pa.Table:
    return rows.take(pa.array(np.random.default_rng(3).permutation(rows.num_rows)))


def doubled(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows.slice(0, 900), rows.slice(500, 100), rows.slice(900)])


def interleaved(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows.slice(1_000), rows.slice(0, 1_000)])


def with_one_key_twice(rows: pa.Table) -> pa.Table:
    other = rows.slice(700, 1).set_column(
        4, rows.schema.field(4), pa.array([Decimal("0.5")], rows.schema.field(4).type)
    )
    return pa.concat_tables([rows, other])


KINDS: list[dict[str, Any]] = [
    {},
    {"numbered": False},
    {"numbered": False, "uid": True},
    {"numbered": False, "step_ms": 1},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [lambda rows: rows, shuffled, doubled, interleaved, with_one_key_twice])
def test_a_day_on_disk_is_arranged_as_in_memory(kind: dict[str, Any], change: Any):
    rows = change(trades(**kind))
    expected = arranged(rows, TRADES)
    found, arrangement = day_on_disk(rows)
    assert arrangement == expected.arrangement
    assert found.table.to_pylist() == expected.rows.to_pylist()
    assert found.table.schema.equals(TRADES.schema)


@pytest.mark.parametrize("change", [lambda rows: rows, doubled, interleaved])
@pytest.mark.parametrize("kind", [{"uid": True}, {"step_ms": 1}])
def test_a_file_with_its_newest_row_first_is_read_backwards(kind: dict[str, Any], change: Any):
    rows = change(trades(numbered=False, **kind)).take(pa.array(np.arange(change(trades()).num_rows)[::-1]))
    expected = arranged(rows, TRADES, newest_first=True)
    day = DayOnDisk(TRADES)
    for start in range(0, rows.num_rows, 170):
        day.add(rows.slice(start, 170))
    found, arrangement = day.arranged(newest_first=True)
    assert arrangement == expected.arrangement
    assert found.table.to_pylist() == expected.rows.to_pylist()


@pytest.mark.parametrize("kind", [{}, {"numbered": False, "uid": True}])
def test_its_file_has_the_same_bytes(kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet_writing, "_GROUP_ROWS", 450)
    rows = arranged(trades(**kind), TRADES).rows
    found, _ = day_on_disk(trades(**kind))
    about = {"crypto_assets.symbol": "BTC/USDT"}
    assert bytes(encode_on_disk(found, about, TRADES)) == encode(rows, about, TRADES)


@pytest.mark.parametrize("step_ms", [40_000, 900, 3])
def test_its_minutes_have_the_same_statistics(step_ms: int):
    rows = trades(step_ms=step_ms)
    found, _ = day_on_disk(rows)
    assert trade_statistics(found).to_pylist() == trade_statistics(rows).to_pylist()


def test_pieces_are_all_rows_in_order():
    rows = trades()
    found, _ = day_on_disk(rows)
    for of in (rows, found):
        pieces = list(pieces_of(of, 450))
        assert [piece.num_rows for piece in pieces] == [450, 450, 450, 450, 200]
        assert pa.concat_tables(pieces).to_pylist() == rows.to_pylist()


def test_a_day_without_rows_has_none():
    spool = Spool(TRADES)
    assert spool.done().table.num_rows == 0
    found, arrangement = DayOnDisk(TRADES).arranged()
    assert (found.num_rows, arrangement) == (0, Arrangement())
