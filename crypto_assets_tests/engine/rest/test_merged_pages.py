"""Merged pages: rows that come once, rows that come twice, and missing rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.engine.rest.feed import source_of
from crypto_assets.engine.rest.merged_pages import merged
from crypto_assets.errors import InvalidRows
from crypto_assets.sources.paging.rows_of_pages import missing_spans
from crypto_assets_tests.synthetic import day_of, series_of

DAY = date(2024, 3, 5)
START = datetime(2024, 3, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def parts(dataset: str, *slices: tuple[int, int]) -> list[pa.Table]:
    rows = day_of(dataset, DAY)[1]
    return [rows.slice(begin, end - begin) for begin, end in slices]


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "trades", "agg_trades"])
def test_rows_that_come_twice_are_kept_once_and_every_page_has_its_place(dataset: str) -> None:
    whole = day_of(dataset, DAY)[1]
    pages = parts(dataset, (500, 1440), (0, 510), (1430, whole.num_rows), (3, 4))
    assert merged(series_of(dataset), "key", pages).equals(whole)


def test_ids_are_numbers_not_texts() -> None:
    rows = day_of("trades", DAY)[1].slice(0, 3)
    pages = [rows.set_column(1, rows.schema.field(1), [ids]) for ids in ([999, 1000, 1001], [97, 98, 99])]
    found = merged(series_of("trades"), "key", [page.cast(rows.schema) for page in pages])
    assert found.column("trade_id").to_pylist() == [97, 98, 99, 999, 1000, 1001]


@pytest.mark.parametrize(("dataset", "column"), [("ohlcv_1m", "volume"), ("trades", "price")])
def test_two_rows_of_one_key_that_differ_are_refused(dataset: str, column: str) -> None:
    first, second = parts(dataset, (0, 20), (10, 30))
    place = second.schema.get_field_index(column)
    values = second.column(column).to_pylist()
    values[4] += 1
    other = second.set_column(place, second.schema.field(place), pa.array(values, second.schema.field(place).type))
    with pytest.raises(InvalidRows, match="found two that differ"):
        merged(series_of(dataset), "rest/somewhere", [first, other])


def test_the_interval_of_a_funding_event_is_as_the_later_page_has_it() -> None:
    rows = day_of("funding_rates", DAY, "linear")[1]
    place = rows.schema.get_field_index("funding_interval_hours")
    field = rows.schema.field(place)
    first, later = (rows.set_column(place, field, pa.array([hours] * rows.num_rows, field.type)) for hours in (16, 8))
    assert merged(series_of("funding_rates", "linear"), "key", [first, later]).equals(later)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_missing_spans_and_stored_bars_together_are_the_day(there: list[bool]) -> None:
    rows = day_of("ohlcv_1m", DAY)[1].slice(0, len(there)).filter(pa.array(there))
    spans = missing_spans(rows, START, START + len(there) * MINUTE, MINUTE)
    missing = [begin + n * MINUTE for begin, end in spans for n in range((end - begin) // MINUTE)]
    assert missing == [START + n * MINUTE for n, here in enumerate(there) if not here]
    assert all(spans[n][1] < spans[n + 1][0] for n in range(len(spans) - 1)), "neighbours are one span"


def test_a_source_is_known_by_its_rows_alone() -> None:
    series, rows = series_of("trades"), day_of("trades", DAY)[1]
    source, content = source_of(series, "BTC/USDT", rows)
    in_pieces = pa.concat_tables(parts("trades", (0, 7), (7, 1000), (1000, rows.num_rows)))
    assert source_of(series, "BTC/USDT", in_pieces) == (source, content)
    assert source_of(series, "BTC/USDT", rows.slice(1))[0].sha256 != source.sha256
    first = rows.slice(0, 1).to_pylist()[0]
    cells = dict(zip(rows.column_names, content.split(b"\n")[0].decode().split(","), strict=True))
    time, number, price, side = (cells[name] for name in ("trade_time", "trade_id", "price", "side"))
    assert (int(time), int(number), side) == (
        int(first["trade_time"].timestamp() * 1_000_000),
        first["trade_id"],
        first["side"],
    )
    assert price == f"{first['price']:.18f}"
    assert (source.source, source.key) == ("rest", "rest/api/v3/historicalTrades?symbol=BTCUSDT")
    assert source.size_bytes == len(content)
