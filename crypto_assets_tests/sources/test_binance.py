"""Binance: where it publishes, and every value of every dataset as it stands in the text of its files."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from crypto_assets import datasets, sources
from crypto_assets.model import Series, Span
from crypto_assets.sources.feeds import Digest
from crypto_assets_tests.sources.files import zipped
from crypto_assets_tests.synthetic import key_of, read_file

BINANCE = sources.get("binance")


MILLISECONDS, MICROSECONDS = date(2024, 12, 31), date(2025, 1, 1)


# The column of the file (counted from 0) behind each column of the dataset.
PLACES = {
    "ohlcv": dict(
        zip(
            datasets.get("ohlcv").schema.names,
            (0, 1, 2, 3, 4, 5, 7, 8, 9, 10),
            strict=True,
        )
    ),
    "trades": {"trade_time": 4, "trade_id": 0, "price": 1, "amount": 2, "quote_amount": 3, "side": 5},
    "agg_trades": {
        "trade_time": 5,
        "agg_trade_id": 0,
        "price": 1,
        "amount": 2,
        "first_trade_id": 3,
        "last_trade_id": 4,
        "side": 6,
    },
    "funding_rates": {"funding_time": 0, "funding_rate": 2, "funding_interval_hours": 1},
}


def series_of(dataset: str, market_type: str = "spot") -> Series:
    return Series.named("binance", market_type, dataset)


def symbol_of(series: Series) -> str:
    return "BTC/USDT" if series.market_type == "spot" else "BTC/USDT:USDT"


def published(content: bytes) -> list[list[str]]:
    """Return the rows of the only member of a zip as text, without the header."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        rows = list(csv.reader(io.StringIO(archive.read(archive.namelist()[0]).decode())))
    return rows[1:] if rows[0][0][0].isalpha() else rows


def told(series: Series, rows: list[list[str]]) -> list[dict[str, object]]:
    """Return what the text of a file says, in the terms of the dataset; every number as a Decimal or int."""
    unit = 1 if int(rows[0][PLACES[series.table][datasets.get(series.table).time_column]]) >= 10**14 else 1_000
    result = []
    for row in rows:
        # Binance numbers its trades: they have neither a place nor a text of their own.
        told_row: dict[str, object] = dict.fromkeys(("trade_place", "trade_uid")) if series.table == "trades" else {}
        for name, place in PLACES[series.table].items():
            text = row[place]
            if name.endswith("_time"):
                told_row[name] = int(text) * unit
            elif name == "side":
                told_row[name] = {"true": "sell", "false": "buy"}[text.lower()]
            else:
                told_row[name] = Decimal(text)
        result.append(told_row)
    return result


def parsed(table: pa.Table) -> list[dict[str, object]]:
    """Return the rows of a table with instants as epoch microseconds."""
    columns = {
        name: table.column(name).cast(pa.int64()) if name.endswith("_time") else table.column(name)
        for name in table.column_names
    }
    return pa.table(columns).to_pylist()


def compare(series: Series, key: str, content: bytes) -> list[list[str]]:
    """Check that every value is what the text of the file says, and return that text."""
    table = read_file(series, key, content)
    assert table.schema == datasets.get(series.table).schema
    table.validate(full=True)
    rows = published(content)
    assert parsed(table) == told(series, rows)
    return rows


@pytest.mark.parametrize("day", [MILLISECONDS, MICROSECONDS])
@pytest.mark.parametrize("market_type", ["spot", "linear"])
@pytest.mark.parametrize("dataset", ["ohlcv_1m", "ohlcv_5m", "ohlcv_1h", "ohlcv_1d", "trades", "agg_trades"])
def test_every_value_of_a_daily_file_is_what_its_text_says(archive, dataset, market_type, day):
    series = series_of(dataset, market_type)
    key = key_of(series, symbol_of(series), day)
    content = archive.read(key)
    assert content is not None, key
    rows = compare(series, key, content)
    expected = {"ohlcv_1m": 1_440, "ohlcv_5m": 288, "ohlcv_1h": 24, "ohlcv_1d": 1, "trades": 2_000}
    assert len(rows) == expected.get(dataset, len(rows)) > 0


def test_seconds_bars_of_spot_are_read_whole(archive):
    series = series_of("ohlcv_1s")
    key = key_of(series, "BTC/USDT", MICROSECONDS)
    assert len(compare(series, key, archive.read(key))) == 86_400


@pytest.mark.parametrize("market_type", ["spot", "linear"])
@pytest.mark.parametrize("dataset", ["ohlcv_1h", "ohlcv_3d", "ohlcv_1w", "ohlcv_1mo", "trades"])
def test_every_value_of_a_monthly_file_is_what_its_text_says(archive, dataset, market_type):
    series = series_of(dataset, market_type)
    key = key_of(series, symbol_of(series), date(2025, 1, 17), -1)
    assert key.endswith("-2025-01.zip")
    assert compare(series, key, archive.read(key))


def test_funding_rates_are_read_with_their_sign(archive):
    series = series_of("funding_rates", "linear")
    key = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2025-01.zip"
    rows = compare(series, key, archive.read(key))
    assert len(rows) == 93
    assert {row[2].startswith("-") for row in rows} == {True, False}


def test_a_dated_future_has_files_of_its_own(archive):
    series, symbol = series_of("ohlcv_1h", "linear"), "BTC/USDT:USDT-250328"
    key = key_of(series, symbol, MILLISECONDS)
    assert key == "data/futures/um/daily/klines/BTCUSDT_250328/1h/BTCUSDT_250328-1h-2024-12-31.zip"
    assert len(compare(series, key, archive.read(key))) == 24


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("dataset", "market_type", "key", "rows"),
    [
        ("ohlcv_1m", "spot", "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-01.zip", 1_440),
        ("ohlcv_1h", "spot", "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-05-08.zip", 24),
        ("ohlcv_1m", "linear", "data/futures/um/daily/klines/ALGOUSDT/1m/ALGOUSDT-1m-2024-09-02.zip", 1_440),
        ("trades", "linear", "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip", None),
        ("funding_rates", "linear", "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-04.zip", 90),
    ],
)
def test_every_value_of_a_real_file_is_what_its_text_says(realdata: Path, dataset, market_type, key, rows):
    found = compare(series_of(dataset, market_type), key, (realdata / "binance_vision" / key).read_bytes())
    assert len(found) == (rows or len(found)) > 0


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "rows"), [("BTCUSDT-1m-2021-01.slice-headerless", None), ("BTCUSDT-1m-2023-04-15", 1_440)]
)
def test_real_futures_bars_are_read_with_a_header_and_without(realdata: Path, name, rows):
    key = f"data/futures/um/daily/klines/BTCUSDT/1m/{name}.zip"
    content = zipped(f"{name}.csv", (realdata / "loose" / f"{name}.csv").read_bytes())
    found = compare(series_of("ohlcv_1m", "linear"), key, content)
    assert len(found) == (rows or len(found)) > 0


@pytest.mark.parametrize(
    ("dataset", "market_type", "symbol", "prefixes"),
    [
        (
            "ohlcv_1m",
            "spot",
            "BTC/USDT",
            ["data/spot/daily/klines/BTCUSDT/1m/", "data/spot/monthly/klines/BTCUSDT/1m/"],
        ),
        ("trades", "spot", "BTC/USDT", ["data/spot/daily/trades/BTCUSDT/", "data/spot/monthly/trades/BTCUSDT/"]),
        (
            "agg_trades",
            "linear",
            "1000SHIB/USDT:USDT",
            ["data/futures/um/daily/aggTrades/1000SHIBUSDT/", "data/futures/um/monthly/aggTrades/1000SHIBUSDT/"],
        ),
        (
            "trades",
            "linear",
            "BTC/USDT:USDT-240628",
            ["data/futures/um/daily/trades/BTCUSDT_240628/", "data/futures/um/monthly/trades/BTCUSDT_240628/"],
        ),
        ("funding_rates", "linear", "BTC/USDT:USDT", ["data/futures/um/monthly/fundingRate/BTCUSDT/"]),
        ("ohlcv_3d", "spot", "BTC/USDT", ["data/spot/monthly/klines/BTCUSDT/3d/"]),
        ("ohlcv_1w", "linear", "BTC/USDT:USDT", ["data/futures/um/monthly/klines/BTCUSDT/1w/"]),
        ("ohlcv_1mo", "spot", "BTC/USDT", ["data/spot/monthly/klines/BTCUSDT/1mo/"]),
    ],
)
def test_daily_files_are_asked_for_before_monthly_ones_and_some_are_monthly_only(
    dataset, market_type, symbol, prefixes
):
    series = series_of(dataset, market_type)
    assert [feed.prefix(sources.name_of(series, symbol)) for feed in sources.archives(series)] == prefixes


@pytest.mark.parametrize(
    ("dataset", "market_type", "symbol", "place", "key"),
    [
        ("ohlcv_1m", "spot", "BTC/USDT", 0, "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02-29.zip"),
        ("ohlcv_1m", "spot", "BTC/USDT", 1, "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02.zip"),
        ("trades", "spot", "ETH/BTC", 0, "data/spot/daily/trades/ETHBTC/ETHBTC-trades-2024-02-29.zip"),
        (
            "agg_trades",
            "linear",
            "BTC/USDT:USDT",
            0,
            "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-02-29.zip",
        ),
        (
            "funding_rates",
            "linear",
            "BTC/USDT:USDT",
            0,
            "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-02.zip",
        ),
        (
            "trades",
            "linear",
            "BTC/USDT:USDT-240628",
            0,
            "data/futures/um/daily/trades/BTCUSDT_240628/BTCUSDT_240628-trades-2024-02-29.zip",
        ),
    ],
)
def test_a_key_is_the_path_that_binance_documents(dataset, market_type, symbol, place, key):
    series = series_of(dataset, market_type)
    assert key_of(series, symbol, date(2024, 2, 29), place) == key
    feed = sources.archives(series)[place]
    assert feed.digest(key) == Digest("sha256", f"{key}.CHECKSUM")
    span = feed.covers(key)
    assert span.first_day <= date(2024, 2, 29) <= span.last_day


@pytest.mark.parametrize(
    ("dataset", "market_type", "prefix"),
    [
        ("ohlcv_1m", "spot", "data/spot/daily/klines/"),
        ("trades", "linear", "data/futures/um/daily/trades/"),
        ("funding_rates", "linear", "data/futures/um/monthly/fundingRate/"),
        ("ohlcv_1w", "spot", "data/spot/monthly/klines/"),
    ],
)
def test_the_symbols_of_a_series_are_the_folders_below_its_prefix(dataset, market_type, prefix):
    assert sources.archives(series_of(dataset, market_type))[0].universe == prefix


@pytest.mark.parametrize(
    ("name", "period"),
    [
        ("BTCUSDT-1m-2024-02-29.zip", (date(2024, 2, 29), date(2024, 2, 29))),
        ("BTCUSDT-1m-2024-02.zip", (date(2024, 2, 1), date(2024, 2, 29))),
        ("BTCUSDT-1m-2023-02.zip", (date(2023, 2, 1), date(2023, 2, 28))),
        ("BTCUSDT-1m-2023-12.zip", (date(2023, 12, 1), date(2023, 12, 31))),
    ],
)
def test_a_key_says_the_days_it_holds(name, period):
    frequency = "daily" if len(name) == len("BTCUSDT-1m-2024-02-29.zip") else "monthly"
    span = sources.span_of(series_of("ohlcv_1m"), f"data/spot/{frequency}/klines/BTCUSDT/1m/{name}")
    assert span == Span.of_days(*period)
    assert (span.first_day, span.last_day) == period


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT-1m-2024-02-29.zip.CHECKSUM",
        "BTCUSDT-1m-2024-02-29.csv",
        "BTCUSDT-1m-2024.zip",
        "BTCUSDT-1m-2024-13-01.zip",
        "BTCUSDT-1m-2023-02-29.zip",
        "index.html",
        "ETHUSDT-1m-2024-02-29.zip",
        "BTCUSDT-5m-2024-02-29.zip",
        "BTCUSDT-1m-2024-02.zip",
    ],
)
def test_a_key_that_is_no_data_of_a_series_covers_nothing(name):
    with pytest.raises(ValueError, match=r"."):
        sources.span_of(series_of("ohlcv_1m"), f"data/spot/daily/klines/BTCUSDT/1m/{name}")


def test_every_dataset_that_is_named_has_a_place_and_a_contract():
    for market_type in ("spot", "linear", "inverse"):
        for name in BINANCE.dataset_names(market_type):
            series = series_of(name, market_type)
            assert datasets.get(series.table).schema.names[0] == datasets.get(series.table).time_column
            assert all(feed.prefix(symbol_of(series)).startswith("data/") for feed in sources.archives(series))
    assert "ohlcv_1s" in BINANCE.dataset_names("spot")
    assert "ohlcv_1s" not in BINANCE.dataset_names("linear")
    assert "funding_rates" in BINANCE.dataset_names("linear")
    assert "funding_rates" not in BINANCE.dataset_names("spot")
    assert BINANCE.dataset_names("inverse") == BINANCE.dataset_names("linear")
    assert BINANCE.dataset_names("um") == ()


def test_a_day_is_expected_three_days_after_its_end_and_a_month_five_weeks_after():
    spot, funding = series_of("ohlcv_1m"), series_of("funding_rates", "linear")
    assert sources.expected_by(spot, date(2024, 1, 31)) == datetime(2024, 2, 4, tzinfo=UTC)
    assert sources.expected_by(funding, date(2024, 1, 1)) == datetime(2024, 2, 1, tzinfo=UTC) + timedelta(days=35)
    assert sources.expected_by(funding, date(2024, 1, 31)) == datetime(2024, 2, 1, tzinfo=UTC) + timedelta(days=35)
