"""Trades that the exchange does not number: kept in the order of the file, each with its place among those of its instant."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_assets import datasets, sources
from crypto_assets.checks import rules_of
from crypto_assets.checks._minute_bars import minute_bars
from crypto_assets.checks.complete import CHECK as COMPLETE
from crypto_assets.checks.silence_agrees import CHECK as SILENCE
from crypto_assets.engine.publication.validation import sentence, validate
from crypto_assets.engine.rest.merged_pages import merged
from crypto_assets.errors import InvalidRows
from crypto_assets.model import Partition, Series, SourceFile
from crypto_assets.rows.arrange import arranged
from crypto_assets.rows.derive import silent_bars, trade_statistics
from crypto_assets.rows.frames import to_check_frame, to_frame
from crypto_assets.rows.loads import Load
from crypto_assets.rows.row_ends import traded_before
from crypto_assets.rows.versions import compare
from crypto_assets.sources.published import dataset_of, unpublished
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.warehouse import Warehouse

TRADES = datasets.get("trades")
LINEAR, SPOT = Series("bybit", "linear", "trades"), Series("bybit", "spot", "trades")
DAY = date(2024, 3, 1)
START = datetime(2024, 3, 1, tzinfo=UTC)
SOURCE = SourceFile("a.csv.gz", 1, "", "a" * 64)
SECONDS = 86_400


def rows_of(seconds: Sequence[float], uids: Sequence[str] | None = None, **more: Any) -> pa.Table:
    """Return trades without numbers; the price is the place in the file, from 1."""
    rows = [
        {
            "trade_time": START + timedelta(seconds=second),
            "price": Decimal(number + 1),
            "amount": Decimal(2),
            "side": "buy",
            **({"trade_uid": uids[number]} if uids else {}),
            **more,
        }
        for number, second in enumerate(seconds)
    ]
    return pa.Table.from_pylist(rows, TRADES.schema)


def whole_day(uids: bool) -> pa.Table:
    seconds = [n * 60 for n in range(SECONDS // 60)]
    rows = rows_of(seconds, [f"u{n}" for n in seconds] if uids else None)
    return arranged(rows, TRADES).rows


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_trades_of_one_instant_are_read_back_in_the_order_of_the_file(seconds: list[int]) -> None:
    published = rows_of(seconds)
    expected = sorted(zip(seconds, range(1, len(seconds) + 1), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        lake.write(SPOT, Partition("BTC/USDT", DAY), arranged(published, TRADES).rows, SOURCE)
        found = lake.read(SPOT, "BTC/USDT", DAY, DAY)
    assert found.column("price").to_pylist() == [Decimal(price) for _, price in expected]
    times = [second for second, _ in expected]
    assert found.column("trade_place").to_pylist() == [times[:n].count(time) for n, time in enumerate(times)]
    assert found.column("trade_id").null_count == found.column("quote_amount").null_count == len(seconds)


def test_the_warehouse_gives_them_back_in_order_and_refuses_two_of_one_place(postgres_url: str) -> None:
    migrate(postgres_url)
    rows = arranged(rows_of([1, 1, 0, 1]), TRADES).rows
    with Warehouse(postgres_url) as warehouse:
        load = ("trades", "bybit", "spot", "BTC/USDT", "trades", DAY)
        warehouse.replace([Load(*load, "one", rows)])
        track = (SPOT, "BTC/USDT")
        found = warehouse.read("trades", track, DAY, DAY + timedelta(days=1))
        assert found["price"].tolist() == [3, 1, 2, 4]
        assert found["trade_place"].tolist() == [0, 0, 1, 2]
        assert found["trade_id"].isna().all()
        assert found["quote_amount"].isna().all()
        with pytest.raises(Exception, match="duplicate key value"):
            warehouse.replace([Load(*load, "two", pa.concat_tables([rows, rows]))])


def test_equal_trades_are_two_unless_the_exchange_gives_them_one_text() -> None:
    twice = pa.concat_tables([rows_of([1]), rows_of([1])])
    found = arranged(twice, TRADES)
    assert (found.rows.num_rows, found.arrangement.doubles, found.arrangement.moved) == (2, 0, 0)
    assert found.rows.column("trade_place").to_pylist() == [0, 1]

    named = rows_of([3, 1, 2], ["c", "a", "b"])
    found = arranged(pa.concat_tables([named, named.slice(1, 1)]), TRADES)
    assert (found.rows.column("trade_uid").to_pylist(), found.arrangement.doubles) == (["a", "b", "c"], 1)
    assert found.arrangement.moved == 3


def test_one_text_of_two_different_trades_is_refused() -> None:
    rows = arranged(pa.concat_tables([whole_day(True), rows_of([SECONDS - 1], ["u60"])]), TRADES)
    assert [row["trade_uid"] for row in rows.arrangement.conflict] == ["u60", "u60"]
    (verdict,) = validate(LINEAR, [(Partition("BTC/USDT:USDT", DAY), rows.rows)])
    assert verdict.findings["unique_key"].evidence == {"doubles": 1, "first": "two rows with one trade_uid"}
    with pytest.raises(InvalidRows, match="expected one row for each trade_uid"):
        merged(LINEAR, "rest", [rows_of([1], ["a"]), rows_of([2], ["a"])])


def test_pages_that_overlap_have_each_trade_once() -> None:
    one, two = rows_of([1, 2, 2]), rows_of([1, 2, 2, 2, 3])
    found = merged(SPOT, "rest", [one, two.slice(1)])
    assert found.column("trade_time").to_pylist() == [START + timedelta(seconds=n) for n in (1, 2, 2, 2, 3)]
    assert found.column("trade_place").to_pylist() == [0, 0, 1, 2, 0]
    named = [rows_of([1, 2], ["a", "b"]), rows_of([1, 2, 2], ["a", "b", "c"]).slice(1)]
    assert merged(LINEAR, "rest", named).column("trade_uid").to_pylist() == ["a", "b", "c"]


@pytest.mark.parametrize("series", [LINEAR, SPOT], ids=["text", "none"])
def test_a_day_is_judged_by_silence_and_checks_without_their_column_say_so(series: Series) -> None:
    rows = whole_day(series is LINEAR)
    if series is LINEAR:
        quotes = pa.array([Decimal(1)] * rows.num_rows, pa.decimal128(38, 18))
        rows = rows.set_column(rows.schema.get_field_index("quote_amount"), TRADES.schema.field("quote_amount"), quotes)
    (verdict,) = validate(series, [(Partition("BTC/USDT", DAY), rows)])
    assert {name for name, one in verdict.findings.items() if not one.passed} <= {"quote_agrees"}
    assert verdict.findings["complete"].evidence["numbered"] is False
    assert sentence(COMPLETE, series, verdict.findings["complete"]).endswith(
        "(by silence only: the exchange does not number its trades)"
    )
    assert verdict.profile is not None
    assert (verdict.profile.first_id, verdict.profile.first_price, verdict.profile.last_price) == (None, 1.0, 1440.0)
    rules = {rule.name: rule for rule in rules_of(series)}
    assert rules["ids_continue"].judge(None, verdict.profile, None, series).evidence == {
        "not_judged": "bybit does not publish trade_id"
    }
    quote = verdict.findings["quote_agrees"]
    assert quote.judged is (series is LINEAR)
    if series is SPOT:
        assert quote.evidence == {"not_judged": "bybit does not publish quote_amount"}

    (cut,) = validate(series, [(Partition("BTC/USDT", DAY), rows.slice(0, 600))])
    assert not cut.findings["complete"].passed


@pytest.mark.parametrize(
    ("column", "value"), [("trade_id", 7), ("quote_amount", Decimal(1)), ("trade_uid", "x")], ids=str
)
def test_a_value_in_a_column_that_is_not_published_is_refused(column: str, value: object) -> None:
    rows = arranged(rows_of([0, 1]), TRADES).rows
    kind = TRADES.schema.field(column)
    rows = rows.set_column(rows.schema.get_field_index(column), kind, pa.array([value, None], kind.type))
    (verdict,) = validate(SPOT, [(Partition("BTC/USDT", DAY), rows)])
    assert not verdict.findings["contract"].passed
    assert column in str(verdict.findings["contract"].evidence)


@pytest.mark.parametrize("missing", [[None, 1], [None, None]], ids=["one", "all"])
def test_a_number_that_is_missing_where_trades_are_numbered_is_refused(missing: list[int | None]) -> None:
    rows = rows_of([0, 1], quote_amount=Decimal(1))
    rows = rows.set_column(1, TRADES.schema.field("trade_id"), pa.array(missing, pa.int64()))
    rows = arranged(rows, TRADES).rows
    (verdict,) = validate(Series("binance", "spot", "trades"), [(Partition("BTC/USDT", DAY), rows)])
    assert not verdict.findings["contract"].passed


def test_versions_are_compared_by_time_and_place() -> None:
    former = arranged(rows_of([1, 1, 2]), TRADES).rows
    prices = pa.array([Decimal(1), Decimal(9), Decimal(3)], pa.decimal128(38, 18))
    new = former.set_column(former.schema.get_field_index("price"), TRADES.schema.field("price"), prices)
    found = compare(former, new, TRADES)
    assert (found.added, found.removed, found.changed, found.columns) == (0, 0, 1, ("price",))
    assert found.price is not None
    assert (found.price.key, found.price.before, found.price.after) == ("2024-03-01 00:00:01 (2)", 2, 9)
    grown = compare(former, arranged(rows_of([1, 1, 2, 2]), TRADES).rows, TRADES)
    assert (grown.added, grown.grew) == (1, True)
    quoted = compare(former, arranged(rows_of([1, 1, 2], quote_amount=Decimal(5)), TRADES).rows, TRADES)
    assert (quoted.columns, quoted.volume) == (("quote_amount",), None)
    assert (quoted.examples[0].before, quoted.examples[0].after) == ("no value", "5")


def test_without_quote_amounts_statistics_and_bars_have_none() -> None:
    rows = arranged(rows_of([0, 1, 61]), TRADES).rows
    statistics = trade_statistics(rows).to_pylist()
    assert [(one["vwap"], one["quote_volume"], one["buy_volume"]) for one in statistics] == [
        (None, None, 4),
        (None, None, 2),
    ]
    bars = minute_bars(SPOT, [rows]).to_pylist()
    assert [(one["close"], one["volume"], one["quote_volume"]) for one in bars] == [(2, 4, None), (3, 2, None)]
    assert not traded_before(rows)
    frame = to_frame(rows)
    assert frame["trade_id"].isna().all()
    assert frame["trade_place"].tolist() == [0, 0, 0]


def bars_of(series: Series, minutes: Sequence[int]) -> pa.Table:
    leave = unpublished(series)
    row = dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume"), Decimal(1))
    row |= {"trade_count": 1, "taker_buy_volume": Decimal(1), "taker_buy_quote_volume": Decimal(1)}
    rows = [
        {name: None if name in leave else value for name, value in row.items()}
        | {"open_time": START + timedelta(minutes=n)}
        for n in minutes
    ]
    return pa.Table.from_pylist(rows, datasets.get("ohlcv").schema)


def test_a_missing_bar_is_not_judged_where_silent_minutes_have_none() -> None:
    kraken = Series("kraken", "spot", "ohlcv", "1m")
    rows = bars_of(kraken, [0, 1, 3])
    (verdict,) = validate(kraken, [(Partition("BTC/USD", DAY), rows)])
    found = verdict.findings["complete"]
    assert (found.passed, found.judged) == (True, False)
    assert found.evidence == {
        "not_judged": "the exchange publishes no bar for a time without trades",
        "expected": 1440,
        "found": 3,
    }
    assert verdict.findings["contract"].passed
    assert verdict.profile is not None
    assert verdict.profile.absent is None or not any(verdict.profile.absent)


def test_bars_without_counts_are_judged_by_what_they_have() -> None:
    bybit = Series("bybit", "linear", "ohlcv", "1m")
    rows = bars_of(bybit, range(1440))
    (verdict,) = validate(bybit, [(Partition("BTC/USDT:USDT", DAY), rows)])
    assert {name for name, one in verdict.findings.items() if not one.passed} == set()
    assert verdict.findings[SILENCE.name].evidence == {"not_judged": "bybit does not publish trade_count"}
    assert not silent_bars(rows).any()


def test_every_source_leaves_out_only_columns_that_are_optional() -> None:
    seen = set()
    for name in sources.names():
        for market_type in ("spot", "linear", "inverse"):
            for dataset in sources.get(name).dataset_names(market_type):
                series = Series.named(name, market_type, dataset)
                has = {column.name for column in dataset_of(series).columns}
                assert not has & unpublished(series)
                assert set(dataset_of(series).key) <= has
                seen.add(name)
    assert {"binance", "bybit", "kraken", "okx"} <= seen


def test_a_check_frame_is_without_columns_that_are_not_published() -> None:
    rows = arranged(rows_of([0]), TRADES).rows
    assert "trade_id" not in to_check_frame(rows, unpublished(SPOT))
