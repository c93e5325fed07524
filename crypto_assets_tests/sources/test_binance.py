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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets import datasets, sources
from crypto_assets.errors import BadContent, MalformedFile
from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets_tests.sources.files import KLINES_HEADER, zipped
from crypto_assets_tests.sources.test_formats import damage

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


@pytest.fixture(scope="module")
def archive() -> SyntheticArchive:
    return SyntheticArchive(
        {"spot": ["BTCUSDT"], "linear": ["BTCUSDT", "BTCUSDT_250328"]},
        date(2024, 12, 1),
        date(2025, 1, 31),
        trades_per_day=2_000,
    )


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
        told_row: dict[str, object] = {}
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
    table = BINANCE.parse(series, key, content)
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
    key = BINANCE.key(BINANCE.prefixes(series, symbol_of(series))[0], series, symbol_of(series), day)
    content = archive.read(key)
    assert content is not None, key
    rows = compare(series, key, content)
    expected = {"ohlcv_1m": 1_440, "ohlcv_5m": 288, "ohlcv_1h": 24, "ohlcv_1d": 1, "trades": 2_000}
    assert len(rows) == expected.get(dataset, len(rows)) > 0


def test_seconds_bars_of_spot_are_read_whole(archive):
    series = series_of("ohlcv_1s")
    key = BINANCE.key(BINANCE.prefixes(series, "BTC/USDT")[0], series, "BTC/USDT", MICROSECONDS)
    assert len(compare(series, key, archive.read(key))) == 86_400


@pytest.mark.parametrize("market_type", ["spot", "linear"])
@pytest.mark.parametrize("dataset", ["ohlcv_1h", "ohlcv_3d", "ohlcv_1w", "ohlcv_1mo", "trades"])
def test_every_value_of_a_monthly_file_is_what_its_text_says(archive, dataset, market_type):
    series = series_of(dataset, market_type)
    key = BINANCE.key(BINANCE.prefixes(series, symbol_of(series))[-1], series, symbol_of(series), date(2025, 1, 17))
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
    key = BINANCE.key(BINANCE.prefixes(series, symbol)[0], series, symbol, MILLISECONDS)
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
    assert BINANCE.prefixes(series_of(dataset, market_type), symbol) == prefixes


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
    assert BINANCE.key(BINANCE.prefixes(series, symbol)[place], series, symbol, date(2024, 2, 29)) == key
    assert BINANCE.checksum_key(key) == f"{key}.CHECKSUM"
    first, last = BINANCE.period(key)
    assert first <= date(2024, 2, 29) <= last


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
    assert BINANCE.universe_prefix(series_of(dataset, market_type)) == prefix


@pytest.mark.parametrize(
    ("name", "period"),
    [
        ("BTCUSDT-1m-2024-02-29.zip", (date(2024, 2, 29), date(2024, 2, 29))),
        ("BTCUSDT-1m-2024-02.zip", (date(2024, 2, 1), date(2024, 2, 29))),
        ("BTCUSDT-1m-2023-02.zip", (date(2023, 2, 1), date(2023, 2, 28))),
        ("BTCUSDT-1m-2023-12.zip", (date(2023, 12, 1), date(2023, 12, 31))),
        ("BTCUSDT_240628-trades-2024-06-28.zip", (date(2024, 6, 28), date(2024, 6, 28))),
    ],
)
def test_a_key_says_the_days_it_holds(name, period):
    assert BINANCE.period(f"data/x/{name}") == period


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT-1m-2024-02-29.zip.CHECKSUM",
        "BTCUSDT-1m-2024-02-29.csv",
        "BTCUSDT-1m-2024.zip",
        "BTCUSDT-1m-2024-13-01.zip",
        "BTCUSDT-1m-2023-02-29.zip",
        "index.html",
    ],
)
def test_a_key_that_is_no_data_has_no_period(name):
    with pytest.raises(ValueError, match=r"."):
        BINANCE.period(f"data/x/{name}")


def test_every_dataset_that_is_named_has_a_place_and_a_contract():
    for market_type in ("spot", "linear"):
        for name in BINANCE.dataset_names(market_type):
            series = series_of(name, market_type)
            assert datasets.get(series.table).schema.names[0] == datasets.get(series.table).time_column
            assert all(prefix.startswith("data/") for prefix in BINANCE.prefixes(series, symbol_of(series)))
    assert "ohlcv_1s" in BINANCE.dataset_names("spot")
    assert "ohlcv_1s" not in BINANCE.dataset_names("linear")
    assert "funding_rates" in BINANCE.dataset_names("linear")
    assert "funding_rates" not in BINANCE.dataset_names("spot")
    assert BINANCE.dataset_names("inverse") == BINANCE.dataset_names("um") == ()


def test_a_day_is_expected_three_days_after_its_end_and_a_month_five_weeks_after():
    spot, funding = series_of("ohlcv_1m"), series_of("funding_rates", "linear")
    assert BINANCE.expected_by(spot, date(2024, 1, 31)) == datetime(2024, 2, 4, tzinfo=UTC)
    assert BINANCE.expected_by(funding, date(2024, 1, 1)) == datetime(2024, 2, 1, tzinfo=UTC) + timedelta(days=35)
    assert BINANCE.expected_by(funding, date(2024, 1, 31)) == datetime(2024, 2, 1, tzinfo=UTC) + timedelta(days=35)


BAR_KEY = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01.zip"
TRADE_KEY = "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-01.zip"
FUNDING_KEY = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip"


def bar(minute: int) -> str:
    """One bar as it is published; the prices 1.5, 1.6, 1.4, 1.55 stand in every bar."""
    time = 1704067200000 + minute * 60_000
    return f"{time},1.5,1.6,1.4,1.55,10.25,{time + 59_999},15.5,3,5.25,7.75,0"


def trade(number: int) -> str:
    return f"{number},1.5,2.25,3.375,{1704067200000 + number},{'True' if number % 2 else 'False'},True"


BARS = [bar(minute) for minute in range(5)]
TRADES = [trade(number) for number in range(5)]


def refused(text: str | bytes, dataset: str = "ohlcv_1m", key: str = BAR_KEY, market_type: str = "spot") -> str:
    """Return the message with which a text is refused: one line that begins with the key."""
    content = zipped(key.rpartition("/")[2].replace(".zip", ".csv"), text)
    with pytest.raises(BadContent) as caught:
        BINANCE.parse(series_of(dataset, market_type), key, content)
    message = str(caught.value)
    assert message.startswith(f"{key}: expected ")
    assert "found" in message
    assert "\n" not in message
    return message


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def changed(old: str, new: str, rows: list[str] = BARS, line: int = 3) -> str:
    """Return rows of which one (counted from 1) has another text."""
    assert old in rows[line - 1]
    return lines(*rows[: line - 1], rows[line - 1].replace(old, new, 1), *rows[line:])


@pytest.mark.parametrize("text", ["", "\n", "\n\n", KLINES_HEADER, KLINES_HEADER + "\n"])
def test_a_file_without_rows_is_refused(text):
    message = refused(text)
    assert "expected rows, found none" in message or "line 1" in message


@pytest.mark.parametrize("header", [[], [KLINES_HEADER]])
@pytest.mark.parametrize("line", [1, 3, 5])
def test_a_row_with_a_column_too_few_or_too_many_is_named_by_its_line(line, header):
    at = line + len(header)
    for row, count in ((bar(0).removesuffix(",0"), 11), (bar(0) + ",0", 13)):
        message = refused(lines(*header, *BARS[: line - 1], row, *BARS[line:]))
        assert "expected 12 columns (open_time, open, high" in message
        # Where the first line is the odd one, Arrow holds it against the names too.
        assert f"found in line {at}: Expected 12 columns, got {count}: {row}" in message


@pytest.mark.parametrize("header", [[], [KLINES_HEADER]])
@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("1.6", "", "column high, line {line}: Empty string"),
        ("1.6", "1-6", "column high, line {line}: The string '1-6' is not a valid decimal"),
        ("1.6", "1.6-", "column high, line {line}: The string '1.6-' is not"),
        ("1.6", "--1.6", "column high, line {line}: The string '--1.6' is not"),
        ("1.6", "-", "column high, line {line}: The string '-' is not"),
        ("1.6", ".", "column high, line {line}: The string '.' is not"),
        ("1.6", "1.6.1", "column high, line {line}: The string '1.6.1' is not"),
        ("1.6", "1.0000000000000000001", "column high, line {line}: Rescaling Decimal value would cause data loss"),
        (",3,", ",3.5,", "column trade_count, line {line}: CSV conversion error to int64: invalid value '3.5'"),
        (",3,", ",99999999999999999999,", "column trade_count, line {line}: CSV conversion error to int64"),
        (",3,", ",,", "column trade_count, line {line}: CSV conversion error to int64: invalid value ''"),
        ("1.6", "9" * 22, "expected at most 20 digits in a row, found more in line {line}: '9999999999999999999999'"),
        ("1.6", "1.6e0", "found scientific notation, as spreadsheets write it, in line {line}: '1.6e0'"),
        ("15.5", "1.55E+01", "found scientific notation, as spreadsheets write it, in line {line}: '1.55E+01'"),
        ("1.6", "nan", "found letters in line {line}: 'nan'"),
        ("1.6", "NaN", "found letters in line {line}: 'NaN'"),
        ("1.6", "-inf", "found letters in line {line}: '-inf'"),
        ("1.6", "Infinity", "found letters in line {line}: 'Infinity'"),
        ("1.6", "0x10", "found letters in line {line}: '0x10'"),
        ("1.6", "1.6a", "found letters in line {line}: '1.6a'"),
        ("1.6", "null", "found letters in line {line}: 'null'"),
        ("1.6", "+1.6", "found '+' in line {line}: '+1.6'"),
        ("1.6", " 1.6", "found ' ' in line {line}: ' 1.6'"),
        ("1.6", "1_6", "found '_' in line {line}: '1_6'"),
        ("1.6", '"1.6"', """found '"' in line {line}: '"1.6"'"""),
        ("1.6", "1;6", "found ';' in line {line}: '1;6'"),
        ("1.6", "1\x006", "found '\\x00' in line {line}: '1\\x006'"),
        (",0", ",#N/A", "found '#' in line {line}: '#N/A'"),
    ],
)
def test_a_cell_of_a_bar_that_is_no_plain_number_is_named_by_line_and_column(old, new, found, header):
    text = lines(*header) + changed(old, new)
    assert found.format(line=3 + len(header)) in refused(text)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("1.5", "1e5", "found scientific notation, as spreadsheets write it, in line 3: '1e5'"),
        ("1.5", "1E5", "found scientific notation, as spreadsheets write it, in line 3: '1E5'"),
        ("1.5", "-1.5E-7", "found scientific notation, as spreadsheets write it, in line 3: '-1.5E-7'"),
        ("1704067200002", "1.7040672E+12", "found scientific notation, as spreadsheets write it, in line 3"),
        ("2,", "0x2,", "found letters in line 3: '0x2'"),
        ("1.5", "nan", "column price, line 3: The string 'nan' is not"),
        ("1.5", "inf", "column price, line 3: The string 'inf' is not"),
        ("1.5", "Infinity", "found letters in line 3: 'Infinity'"),
        ("1.5", "true", "column price, line 3: The string 'true' is not"),
        ("1.5", "", "column price, line 3: Empty string"),
        ("1.5", " 1.5", "found ' ' in line 3: ' 1.5'"),
        ("False", "", "column taker_sold, line 3: CSV conversion error to bool: invalid value ''"),
        ("False", "0", "column taker_sold, line 3: CSV conversion error to bool: invalid value '0'"),
        ("False", "Fals", "column taker_sold, line 3: CSV conversion error to bool: invalid value 'Fals'"),
        ("False", "FALSE", "found letters in line 3: 'FALSE'"),
        ("2.25", "1" * 21, "expected at most 20 digits in a row, found more in line 3"),
        (",True", "", "found in line 3: Expected 7 columns, got 6"),
        (",True", ",True,True", "found in line 3: Expected 7 columns, got 8"),
    ],
)
def test_a_cell_of_a_trade_that_is_not_of_its_kind_is_named_by_line(old, new, found):
    assert found in refused(changed(old, new, TRADES), "trades", TRADE_KEY)


def test_a_futures_row_in_a_spot_file_and_a_spot_row_in_a_futures_file_are_refused():
    futures = [row.removesuffix(",True") for row in TRADES]
    assert "Expected 7 columns, got 6" in refused(lines(*futures), "trades", TRADE_KEY)
    key = TRADE_KEY.replace("spot", "futures/um")
    assert "Expected 6 columns, got 7" in refused(lines(*TRADES), "trades", key, "linear")


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_the_line_ends_of_a_spreadsheet_are_refused_for_it_drops_digits(ends):
    message = refused(ends.join([*BARS, ""]))
    assert "found carriage returns, as spreadsheets write them, in line 1" in message
    assert "carriage returns" in refused(ends.join([*TRADES, ""]), "trades", TRADE_KEY)


def test_quoted_cells_semicolons_and_a_byte_order_mark_before_a_row_are_refused():
    quoted = lines(*('"' + row.replace(",", '","') + '"' for row in BARS))
    assert 'found the first line \'"1704067200000","1.5"' in refused(quoted)
    assert "found ';' in line 1" in refused(lines(*BARS).replace(",", ";"))
    assert "found the first line '\\ufeff1704067200000" in refused("\ufeff" + lines(*BARS))


@pytest.mark.parametrize(
    "header",
    [
        KLINES_HEADER.replace("open_time", "time"),
        KLINES_HEADER.removesuffix(",ignore"),
        KLINES_HEADER.replace("high", "low"),
        f"{KLINES_HEADER},symbol",
        "Open time,Open,High,Low,Close,Volume",
        "<html><head><title>403</title></head></html>",
    ],
)
def test_an_unknown_header_is_refused_with_the_known_one(header):
    message = refused(lines(header, *BARS))
    assert f"expected {KLINES_HEADER}, found the first line {header!r}" in message or "found '<' in line 1" in message


def read(text: str, dataset: str, key: str, market_type: str = "spot") -> list[dict[str, object]]:
    member = key.rpartition("/")[2].replace(".zip", ".csv")
    return parsed(BINANCE.parse(series_of(dataset, market_type), key, zipped(member, text)))


_REST_NAMES = (
    "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
    "Taker buy base asset volume,Taker buy quote asset volume,Ignore"
)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("header", [KLINES_HEADER, KLINES_HEADER.upper(), _REST_NAMES])
def test_a_header_of_spot_bars_is_known_in_every_spelling(header, mark):
    assert read(mark + lines(header, *BARS), "ohlcv_1m", BAR_KEY) == read(lines(*BARS), "ohlcv_1m", BAR_KEY)


@pytest.mark.parametrize(
    "header",
    [
        "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match",
        "id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch",
        "trade_id,price,qty,quote_qty,time,is_buyer_maker,is_best_match",
        "id,price,qty,quote_qty,time,is_buyer_maker",  # that of futures, before the rows of spot
    ],
)
def test_a_header_of_spot_trades_is_known(header):
    assert read(lines(header, *TRADES), "trades", TRADE_KEY) == read(lines(*TRADES), "trades", TRADE_KEY)


def test_columns_in_another_order_are_read_by_their_names():
    names = KLINES_HEADER.split(",")
    order = [11, 0, 2, 1, 3, 4, 10, 9, 8, 7, 6, 5]
    rows = [",".join(row.split(",")[place] for place in order) for row in BARS]
    text = lines(",".join(names[place] for place in order), *rows)
    assert read(text, "ohlcv_1m", BAR_KEY) == read(lines(*BARS), "ohlcv_1m", BAR_KEY)


def test_a_known_column_beside_the_others_is_passed_over():
    rows = [",".join([*cells[:4], "0.5", *cells[4:]]) for cells in (row.split(",") for row in TRADES)]
    header = "id,price,qty,quote_qty,base_qty,time,is_buyer_maker,is_best_match"
    assert read(lines(header, *rows), "trades", TRADE_KEY) == read(lines(*TRADES), "trades", TRADE_KEY)


@pytest.mark.parametrize(
    "header",
    [
        "id,price,qty,base_qty,time,is_buyer_maker,is_best_match",  # COIN-M: no quote amount
        "id,price,qty,quote_qty,time,is_buyer_maker,id",
        "id,price,qty,quote_qty,time,is_seller_maker,is_best_match",
    ],
)
def test_a_header_of_trades_without_a_column_that_is_needed_is_refused(header):
    message = refused(lines(header, *TRADES), "trades", TRADE_KEY)
    assert f"expected id,price,qty,quote_qty,time,is_buyer_maker, found the first line {header!r}" in message


def test_a_second_header_inside_the_file_is_refused():
    assert "found letters in line 3: 'open_time'" in refused(lines(*BARS[:2], KLINES_HEADER, *BARS[2:]))


@pytest.mark.parametrize("place", [0, 2, 5])
def test_an_empty_line_is_refused_by_its_number(place):
    assert f"line {place + 1}: " in refused(lines(*BARS[:place], "", *BARS[place:]))
    assert f"line {place + 1}: " in refused(lines(*TRADES[:place], "", *TRADES[place:]), "trades", TRADE_KEY)


def test_a_last_line_without_its_end_is_read():
    table = BINANCE.parse(
        series_of("ohlcv_1m"), BAR_KEY, zipped("BTCUSDT-1m-2024-01-01.csv", lines(*BARS).removesuffix("\n"))
    )
    assert parsed(table) == told(series_of("ohlcv_1m"), [row.split(",") for row in BARS])


def test_a_negative_number_is_read_as_it_stands_for_the_checks_to_judge():
    table = BINANCE.parse(
        series_of("ohlcv_1m"), BAR_KEY, zipped("BTCUSDT-1m-2024-01-01.csv", changed("10.25", "-10.25"))
    )
    assert [str(v.normalize()) for v in table.column("volume").to_pylist()] == [
        "10.25",
        "10.25",
        "-10.25",
        "10.25",
        "10.25",
    ]


def test_times_in_seconds_or_in_two_units_are_refused():
    seconds = lines(*(row.replace("1704067", "1704", 1) for row in BARS))
    assert "expected epoch milliseconds or microseconds, found 1704200000 … 1704440000" in refused(seconds)
    mixed = changed("1704067320000", "1704067320000000")
    assert (
        "expected one unit of time, found milliseconds and microseconds mixed: 1704067200000 … 1704067320000000"
        in refused(mixed)
    )
    assert "expected one unit of time" in refused(
        changed("1704067200002", "1704067200002000", TRADES), "trades", TRADE_KEY
    )


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("1704067200000,8", "found in line 2: Expected 3 columns, got 2"),
        ("1704067200000,8,1e-4", "scientific notation, as spreadsheets write it, in line 2: '1e-4'"),
        ("1704067200000,40000,0.0001", "column funding_interval_hours, line 2: CSV conversion error to int16"),
        ("1704067200000,8.0,0.0001", "column funding_interval_hours, line 2: CSV conversion error to int16"),
        ("1704067200000,8,", "column funding_rate, line 2: Empty string"),
    ],
)
def test_a_funding_row_that_cannot_be_is_refused(row, found):
    text = lines("calc_time,funding_interval_hours,last_funding_rate", row)
    assert found in refused(text, "funding_rates", FUNDING_KEY, "linear")


def test_a_dataset_that_binance_does_not_publish_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="binance spot order_books: Binance's archive has no such dataset"):
        BINANCE.parse(series_of("order_books"), BAR_KEY, zipped("BTCUSDT-1m-2024-01-01.csv", lines(*BARS)))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        damage(lines(KLINES_HEADER, *BARS).encode()).map(lambda text: ("ohlcv_1m", BAR_KEY, text)),
        damage(lines(*BARS).encode()).map(lambda text: ("ohlcv_1m", BAR_KEY, text)),
        damage(lines(*TRADES).encode()).map(lambda text: ("trades", TRADE_KEY, text)),
    )
)
def test_a_damaged_text_is_refused_or_says_what_was_parsed(case):
    dataset, key, text = case
    series = series_of(dataset)
    content = zipped(key.rpartition("/")[2].replace(".zip", ".csv"), text)
    try:
        table = BINANCE.parse(series, key, content)
    except MalformedFile as error:
        refusal, table = str(error), None
    if table is None:
        assert refusal.startswith(f"{key}: expected ")
    else:
        assert table.schema == datasets.get(series.table).schema
        table.validate(full=True)
        assert parsed(table) == told(series, published(content))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damage(zipped("BTCUSDT-1m-2024-01-01.csv", lines(*BARS))))
def test_a_damaged_zip_is_refused_or_says_what_was_published(content):
    try:
        table = BINANCE.parse(series_of("ohlcv_1m"), BAR_KEY, content)
    except MalformedFile as error:
        refusal, table = str(error), None
    if table is None:
        assert refusal.startswith(f"{BAR_KEY}: expected ")
    else:
        assert parsed(table) == told(series_of("ohlcv_1m"), [row.split(",") for row in BARS])
