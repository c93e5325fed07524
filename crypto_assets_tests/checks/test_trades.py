"""Every defect of trades is caught by exactly the checks that are for it, and the evidence names the place."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pytest

from crypto_assets.checks.complete import CHECK as COMPLETE
from crypto_assets.model import Partition
from crypto_assets_tests.checks.judging import DAY_ONE, Edit, at, edited, failed, findings_of, setting
from crypto_assets_tests.synthetic import day_of, read_file, series_of


@pytest.mark.parametrize("market_type", ["spot", "linear"])
@pytest.mark.parametrize("dataset", ["trades", "agg_trades"])
def test_trades_that_end_in_the_middle_of_the_day_are_not_complete(dataset, market_type):
    partition, table = day_of(dataset, DAY_ONE, market_type)
    times = table.column("trade_time").to_pylist()
    for cut in (table.num_rows // 2, table.num_rows // 10):
        findings = findings_of(dataset, table.slice(0, cut), partition, market_type)
        assert failed(findings) == {"complete"}
        evidence = findings["complete"].evidence
        assert evidence["silent_after_s"] == (partition.end - times[cut - 1]).total_seconds()
        assert evidence["silent_before_s"] == 0.0
        longest = max(later - earlier for earlier, later in pairwise(times[:cut]))
        assert evidence["longest_silence_inside_s"] == longest.total_seconds()


def test_trades_that_begin_in_the_middle_of_the_day_are_not_complete():
    partition, table = day_of("trades", DAY_ONE)
    rest = table.slice(table.num_rows // 2)
    findings = findings_of("trades", rest, partition)
    assert failed(findings) == {"complete"}
    assert (
        findings["complete"].evidence["silent_before_s"]
        == (rest.column("trade_time")[0].as_py() - partition.start).total_seconds()
    )


def test_a_symbol_that_seldom_trades_may_be_silent_at_the_edges():
    partition, table = day_of("trades", DAY_ONE)
    hours = [at(60 * hour) for hour in (3, 7, 14, 20)]  # 7 hours inside, 3 before, 4 after
    rows = [row | {"trade_time": time} for row, time in zip(table.to_pylist(), hours, strict=False)]
    assert failed(findings_of("trades", pa.Table.from_pylist(rows, schema=table.schema), partition)) == set()


@pytest.mark.parametrize("market_type", ["spot", "linear"])
@pytest.mark.parametrize(("lost", "complete"), [(0, True), (7, False)])
def test_an_aggregate_id_that_is_left_out_is_no_gap_where_the_trades_run_on(market_type, lost, complete):
    partition, table = day_of("agg_trades", DAY_ONE, market_type)
    rows = table.to_pylist()
    many = 1 if market_type == "spot" else 500
    for row in rows[900:]:
        row["agg_trade_id"] += many
        row["first_trade_id"] += lost
        row["last_trade_id"] += lost
    if market_type == "linear" and lost:  # ids of futures count where nobody trades for a minute
        del rows[900:903]
    findings = findings_of("agg_trades", pa.Table.from_pylist(rows, schema=table.schema), partition, market_type)
    assert findings["complete"].passed is complete
    assert findings["complete"].evidence.get("missing_ids", 0) >= (0 if complete else many)


@pytest.mark.parametrize(
    ("market_type", "silence", "lost", "removed", "missing"),
    [
        ("spot", 0, 7, False, 7),
        ("spot", 0, 7, True, 0),  # the trades are those of the row that names none
        ("linear", 0, 7, False, 0),  # hidden trades
        ("linear", 120, 100, False, 0),
        ("linear", 120, 500, False, 500),
    ],
)
def test_trades_that_aggregates_jump_over_are_missing_though_the_ids_of_the_rows_run_on(
    market_type, silence, lost, removed, missing
):
    partition, table = day_of("agg_trades", DAY_ONE, market_type)
    rows = table.to_pylist()
    for row in rows[900:]:
        row["first_trade_id"] += lost
        row["last_trade_id"] += lost
    if removed:
        rows[900] |= {"first_trade_id": -1, "last_trade_id": -1}
    pause = rows[900]["trade_time"]
    kept = [row for row in rows[900:] if row["trade_time"] >= pause + timedelta(seconds=silence)]
    if silence:  # number what is left one after the other
        shift = kept[0]["agg_trade_id"] - rows[900]["agg_trade_id"]
        trades = kept[0]["first_trade_id"] - rows[900]["first_trade_id"]
        for row in kept:
            row["agg_trade_id"] -= shift
            row["first_trade_id"] -= trades
            row["last_trade_id"] -= trades
    changed = pa.Table.from_pylist([*rows[:900], *kept], schema=table.schema)
    found = findings_of("agg_trades", changed, partition, market_type)["complete"]
    assert found.evidence.get("missing_trades", 0) == found.evidence.get("missing_ids", 0) == missing
    assert found.passed is (missing == 0)
    if missing:
        said = COMPLETE.words(found.evidence, series_of("agg_trades", market_type))
        assert said == f"{missing} trades are missing at 1 place inside the day, by their ids"


@pytest.mark.realdata
def test_a_recorded_part_of_a_real_day_is_not_complete(realdata):

    key = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"
    table = read_file(series_of("trades", "linear"), key, (realdata / "binance_vision" / key).read_bytes())
    findings = findings_of("trades", table, Partition("BTC/USDT:USDT", date(2024, 8, 8)), "linear")
    assert failed(findings) == {"complete"}
    assert 23.8 * 3600 < findings["complete"].evidence["silent_before_s"] < 24 * 3600


TRADE_DEFECTS: dict[str, tuple[Edit, dict[str, dict[str, object]]]] = {
    "an id stands twice": (
        lambda rows: [*rows[:6], rows[5], *rows[6:]],
        {"unique_key": {"doubles": 1}},
    ),
    "an id comes back much later": (
        lambda rows: [*rows[:900], rows[900] | {"trade_id": rows[5]["trade_id"]}, *rows[901:]],
        {"unique_key": {"doubles": 1}, "ascending_time": {"steps_back": 1}},
    ),
    "rows are descending": (lambda rows: rows[::-1], {"ascending_time": {}}),
    "a trade of the next day is at the end": (
        lambda rows: [*rows, rows[-1] | {"trade_time": at(1440), "trade_id": 10**9}],
        {"inside_day": {"rows": 1, "first": "row 3000: 2024-03-02T00:00:00.000000, expected inside 2024-03-01"}},
    ),
    "a price is zero": (
        setting(8, price=Decimal(0), quote_amount=Decimal(0)),
        {
            "contract": {
                "violations": 1,
                "rules": {"price: greater_than(0)": 1},
                "first": "row 8: price = 0.0, expected greater_than(0)",
            }
        },
    ),
    "an amount is negative": (
        setting(2_999, amount=Decimal(-2)),
        {
            "contract": {
                "violations": 1,
                "rules": {"amount: greater_than(0)": 1},
                "first": "row 2999: amount = -2.0, expected greater_than(0)",
            },
            "quote_agrees": {"rows": 1},
        },
    ),
}


@pytest.mark.parametrize("defect", TRADE_DEFECTS)
def test_a_defect_of_trades_is_caught_by_the_checks_that_are_for_it(defect):
    edit, expected = TRADE_DEFECTS[defect]
    partition, table = day_of("trades", DAY_ONE)
    findings = findings_of("trades", edited(table, edit), partition)
    assert failed(findings) == set(expected)
    for name, evidence in expected.items():
        assert evidence.items() <= findings[name].evidence.items()
    if "unique_key" in expected:
        assert findings["unique_key"].evidence["first"] == f"trade_id {table.column('trade_id')[5].as_py()}"


def test_an_aggregate_that_ends_before_it_begins_breaks_the_contract():
    partition, table = day_of("agg_trades", DAY_ONE)
    findings = findings_of("agg_trades", edited(table, setting(4, first_trade_id=10, last_trade_id=9)), partition)
    assert failed(findings) == {"contract"}
    assert "last_trade_id >= first_trade_id" in findings["contract"].evidence["first"]


def test_an_aggregate_whose_trades_were_removed_is_kept_as_published():
    partition, table = day_of("agg_trades", DAY_ONE)
    removed = edited(table, setting(4, first_trade_id=-1, last_trade_id=-1))
    assert failed(findings_of("agg_trades", removed, partition)) == set()
