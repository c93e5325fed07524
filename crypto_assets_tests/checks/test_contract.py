"""The contract of each table catches each value that cannot be, and names it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from pandera.errors import SchemaErrors

from crypto_assets import datasets
from crypto_assets.checks.contract import CHECK
from crypto_assets.rows.frames import to_check_frame
from crypto_assets.sources.published import dataset_of, unpublished
from crypto_assets_tests.checks.books import book_rows, book_table, ticker_rows, ticker_table
from crypto_assets_tests.checks.judging import DAY_ONE, edited, finding_of, series_of, setting
from crypto_assets_tests.synthetic import day_of

TABLES = {
    "trades": lambda: day_of("trades", DAY_ONE)[1],
    "agg_trades": lambda: day_of("agg_trades", DAY_ONE)[1],
    "order_books": lambda: book_table(book_rows()),
    "tickers": lambda: ticker_table(ticker_rows([1] * 30)),
}
ZERO, MINUS = Decimal(0), Decimal("-0.00000001")
AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
LISTED = {"ohlcv": "ohlcv_1m"}


@pytest.mark.parametrize("dataset", TABLES)
def test_a_clean_day_passes(dataset):
    table = TABLES[dataset]()
    assert table.num_rows >= 30
    assert finding_of(CHECK, dataset, table).passed


@pytest.mark.parametrize("dataset", TABLES)
def test_every_column_of_the_table_is_in_its_contract_and_described(dataset):
    declared = datasets.get(dataset)
    assert list(declared.contract().columns) == declared.schema.names == [one.name for one in declared.columns]
    assert all(field.metadata[b"doc"] for field in declared.schema)


@pytest.mark.parametrize(
    ("dataset", "column", "value", "rule"),
    [
        ("trades", "price", ZERO, "greater_than(0)"),
        ("trades", "price", MINUS, "greater_than(0)"),
        ("trades", "amount", ZERO, "greater_than(0)"),
        ("trades", "amount", MINUS, "greater_than(0)"),
        ("trades", "quote_amount", MINUS, "greater_than_or_equal_to(0)"),
        ("trades", "trade_id", -1, "greater_than_or_equal_to(0)"),
        ("trades", "side", "bid", "isin(('buy', 'sell'))"),
        ("trades", "side", "BUY", "isin(('buy', 'sell'))"),
        ("agg_trades", "price", ZERO, "greater_than(0)"),
        ("agg_trades", "amount", MINUS, "greater_than(0)"),
        ("agg_trades", "agg_trade_id", -1, "greater_than_or_equal_to(0)"),
        ("agg_trades", "side", "", "isin(('buy', 'sell'))"),
        ("order_books", "price", ZERO, "greater_than(0)"),
        ("order_books", "amount", ZERO, "greater_than(0)"),
        ("order_books", "level", -1, "greater_than_or_equal_to(0)"),
        ("order_books", "update_id", -1, "greater_than_or_equal_to(0)"),
        ("order_books", "side", "buy", "isin(('bid', 'ask'))"),
        ("tickers", "bid_price", MINUS, "greater_than_or_equal_to(0)"),
        ("tickers", "update_id", -1, "greater_than_or_equal_to(0)"),
    ],
)
def test_a_value_that_cannot_be_is_named(dataset, column, value, rule):
    found = finding_of(CHECK, dataset, edited(TABLES[dataset](), setting(17, **{column: value})))
    assert not found.passed
    assert found.evidence["rules"][f"{column}: {rule}"] == 1
    shown = float(value) if isinstance(value, Decimal) else value
    if dataset != "tickers":
        assert found.evidence == {
            "violations": 1,
            "rules": {f"{column}: {rule}": 1},
            "first": f"row 17: {column} = {shown}, expected {rule}",
        }


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({"bid_price": ZERO, "bid_amount": ZERO}, True),  # nobody bids
        ({"ask_price": ZERO, "ask_amount": ZERO}, True),
        ({"bid_price": ZERO}, False),
        ({"bid_amount": ZERO}, False),
        ({"ask_price": ZERO}, False),
        ({"ask_amount": ZERO}, False),
    ],
)
def test_a_side_of_a_ticker_has_price_and_amount_or_neither(values, passes):
    found = finding_of(CHECK, "tickers", edited(TABLES["tickers"](), setting(17, **values)))
    assert found.passed is passes
    if not passes:
        side = next(iter(values)).partition("_")[0]
        rules = {rule.partition(": ")[2] for rule in found.evidence["rules"]}
        assert rules == {f"{side}_price and {side}_amount are both positive or both 0"}
        assert found.evidence["first"].startswith("row 17: ")


def test_a_side_that_is_absent_is_found():
    table = TABLES["trades"]()
    sides = pa.array([None, *table.column("side").to_pylist()[1:]], pa.dictionary(pa.int8(), pa.string()))
    place = table.schema.get_field_index("side")
    found = finding_of(CHECK, "trades", table.set_column(place, pa.field("side", sides.type), sides))
    assert found.evidence["rules"] == {"side: not_nullable": 1}


def test_the_first_case_is_that_of_the_earliest_row_and_all_are_counted():
    def edit(rows):
        return setting(900, price=ZERO)(setting(30, amount=MINUS)(setting(40, price=MINUS)(rows)))

    found = finding_of(CHECK, "trades", edited(TABLES["trades"](), edit))
    assert found.evidence == {
        "violations": 3,
        "rules": {"amount: greater_than(0)": 1, "price: greater_than(0)": 2},
        "first": "row 30: amount = -1e-08, expected greater_than(0)",
    }


def test_a_column_of_another_type_is_told_once_whatever_the_rows():
    table = TABLES["trades"]()
    place = table.schema.get_field_index("trade_id")
    wrong = edited(table, setting(9, price=ZERO)).set_column(place, "trade_id", table.column(place).cast(pa.float64()))
    found = finding_of(CHECK, "trades", wrong)
    assert found.evidence == {
        "violations": 1,
        "rules": {"trade_id: dtype('int64')": 1},
        "first": "row None: trade_id = float64, expected dtype('int64')",
    }


def test_a_funding_rate_of_two_hundred_percent_is_none():
    table = edited(day_of("funding_rates", DAY_ONE, "linear")[1], setting(1, funding_rate=Decimal(2)))
    found = finding_of(CHECK, "funding_rates", table, "linear")
    assert not found.passed
    assert found.evidence["first"] == "row 1: funding_rate = 2.0, expected in_range(-1, 1)"


ODD = (None, ZERO, MINUS, Decimal("0.00000001"), 0, -1, 1, 2**40, "", "buy", "ask", "other", True, AT)


@pytest.mark.parametrize("dataset", [*TABLES, "ohlcv", "funding_rates"])
def test_what_is_found_to_meet_the_contract_without_pandera_is_what_pandera_accepts(dataset):
    """One odd value in each column, then each column of another type, missing or in another place."""
    market_type = "linear" if dataset == "funding_rates" else "spot"
    series = series_of(LISTED.get(dataset, dataset), market_type)
    table = TABLES[dataset]() if dataset in TABLES else day_of(series.dataset, DAY_ONE, market_type)[1]
    table, declared = table.slice(0, 30), dataset_of(series)
    clean = to_check_frame(table, unpublished(series))
    frames = [clean, clean.iloc[:, ::-1], clean.assign(more=1)]
    for name in clean.columns:
        for value in ODD:
            with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError):  # a value that the table itself refuses
                frames.append(to_check_frame(edited(table, setting(1, **{name: value})), unpublished(series)))
        frames += [clean.drop(columns=name), clean.assign(**{name: clean[name].astype(object)})]
    accepted = [accepts(declared.contract(), frame) for frame in frames]
    assert [declared.is_met(frame) for frame in frames] == accepted
    assert accepted[:3] == [True, False, False]
    assert accepted.count(True) > 10


def accepts(contract, frame):
    try:
        contract.validate(frame.copy(), lazy=True)
    except SchemaErrors:
        return False
    return True


_TWO_THREADS = """
import importlib.abc, sys, threading, time
import pandas as pd
from crypto_assets.checks.contract import violations
from crypto_assets.model import Series

reached, found = threading.Event(), []

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pandera.engines":  # in the middle of importing Pandera
            reached.set()
            time.sleep(0.5)

def work():
    found.append(violations(pd.DataFrame({"price": [1.0]}), Series("binance", "spot", "trades")) is not None)

sys.meta_path.insert(0, Slow())
threads = [threading.Thread(target=work) for _ in range(2)]
threads[0].start()
assert reached.wait(60)
threads[1].start()
for thread in threads:
    thread.join()
print(found)
"""


def test_two_threads_may_be_the_first_to_judge():
    """Pandera is imported late; without a lock one of the threads ended with a _DeadlockError of the import system."""
    done = subprocess.run(
        [sys.executable, "-c", _TWO_THREADS], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[True, True]\n", "")
