"""Files of Binance that are refused, and headers in other spellings and orders that are read."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets import datasets
from crypto_assets.errors import BadContent, MalformedFile
from crypto_assets_tests.sources.files import KLINES_HEADER, zipped
from crypto_assets_tests.sources.test_binance import parsed, published, series_of, told
from crypto_assets_tests.sources.test_formats import damage
from crypto_assets_tests.synthetic import read_file

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
        read_file(series_of(dataset, market_type), key, content)
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
    return parsed(read_file(series_of(dataset, market_type), key, zipped(member, text)))


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
    table = read_file(
        series_of("ohlcv_1m"), BAR_KEY, zipped("BTCUSDT-1m-2024-01-01.csv", lines(*BARS).removesuffix("\n"))
    )
    assert parsed(table) == told(series_of("ohlcv_1m"), [row.split(",") for row in BARS])


def test_a_negative_number_is_read_as_it_stands_for_the_checks_to_judge():
    table = read_file(series_of("ohlcv_1m"), BAR_KEY, zipped("BTCUSDT-1m-2024-01-01.csv", changed("10.25", "-10.25")))
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
        read_file(series_of("order_books"), BAR_KEY, zipped("BTCUSDT-1m-2024-01-01.csv", lines(*BARS)))


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
        table = read_file(series, key, content)
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
        table = read_file(series_of("ohlcv_1m"), BAR_KEY, content)
    except MalformedFile as error:
        refusal, table = str(error), None
    if table is None:
        assert refusal.startswith(f"{BAR_KEY}: expected ")
    else:
        assert parsed(table) == told(series_of("ohlcv_1m"), [row.split(",") for row in BARS])
