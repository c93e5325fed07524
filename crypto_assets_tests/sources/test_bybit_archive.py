"""Bybit's archive: where files are, and every value of their text."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest

from crypto_assets import datasets, sources
from crypto_assets.errors import BadContainer, BadContent, NoRows
from crypto_assets.model import Series, Span
from crypto_assets.rows.arrange import arranged, descents_over_ascents
from crypto_assets.sources import ArchiveFeed
from crypto_assets.sources.bybit.archive import BybitFiles
from crypto_assets.sources.feeds import Digest
from crypto_assets_tests.parsed import parsed
from crypto_assets_tests.sources.bybit_files import CONTRACT_HEADER, gzipped, rows_of, told

SPOT, LINEAR, INVERSE = (Series.named("bybit", market_type, "trades") for market_type in ("spot", "linear", "inverse"))
DAY = date(2026, 9, 1)

LINES = (
    "1788220800.1169,BTCUSDT,Sell,0.001,78541.70,MinusTick,555a5c11-8b1d-5c5f,7.854169999999999e+09,0.001,78.54169999999999",
    "1788220800.1169,BTCUSDT,Buy,0.038,65065.80,PlusTick,d6b9a5ac-3439,2.4725004e+11,0.038,2472.5004",
    "1788220801.5,BTCUSDT,Buy,1,65065.80,ZeroPlusTick,d6b9a5ad-3439,6.50658e+12,1,65065.8",
)


def in_order(feed: ArchiveFeed, symbol: str, key: str, content: bytes) -> pa.Table:
    """Return the trades of a file as they are stored: oldest first, each with its place."""
    rows = parsed(feed, symbol, key, content)
    newest_first = descents_over_ascents(rows["trade_time"].cast(pa.int64()).to_numpy()) > 0
    return arranged(rows, datasets.get("trades"), newest_first=newest_first).rows


def daily(series: Series) -> BybitFiles:
    return BybitFiles(series, "daily")


def key_of(name: str, series: Series = LINEAR) -> str:
    return daily(series).keys(name, DAY)[0]


def file_of(*lines: str, header: str = CONTRACT_HEADER) -> bytes:
    return gzipped("\n".join((header, *lines)) + "\n")


@pytest.mark.parametrize(
    ("series", "feed", "name", "key", "first", "last"),
    [
        (LINEAR, "daily", "BTCUSDT", "trading/BTCUSDT/BTCUSDT2026-09-01.csv.gz", DAY, DAY),
        (LINEAR, "daily", "BTC-14MAR25", "trading/BTC-14MAR25/BTC-14MAR252026-09-01.csv.gz", DAY, DAY),
        (INVERSE, "daily", "BTCUSDZ24", "trading/BTCUSDZ24/BTCUSDZ242026-09-01.csv.gz", DAY, DAY),
        (SPOT, "daily", "BTCUSDT", "spot/BTCUSDT/BTCUSDT_2026-09-01.csv.gz", DAY, DAY),
        (SPOT, "monthly", "BTCUSDT", "spot/BTCUSDT/BTCUSDT-2026-09.csv.gz", DAY, date(2026, 9, 30)),
    ],
)
def test_each_day_has_one_key_that_covers_it(series, feed, name, key, first, last):
    files = BybitFiles(series, feed)
    assert files.keys(name, DAY) == (key,)
    assert key.startswith(files.prefix(name))
    assert files.covers(key) == Span.of_days(first, last)
    assert files.digest(key) == Digest("md5", None)


@pytest.mark.parametrize(
    ("series", "key"),
    [
        (INVERSE, "trading/DOTUSD/DOTUSDT2021-12-06.csv.gz"),
        (LINEAR, "trading/DOTUSD/DOTUSDT2021-12-06.csv.gz"),
        (LINEAR, "trading/BTCUSDT/BTCUSDT2021-07-26_v2.csv.gz"),
        (LINEAR, "trading/DATAOLD01USDT/DATAOLD01USDT2022-01-01.csv.gz"),
        (LINEAR, "trading/BTCUSD/BTCUSD2022-01-01.csv.gz"),
        (INVERSE, "trading/BTCUSDT/BTCUSDT2022-01-01.csv.gz"),
        (LINEAR, "trading/BTCUSDT/BTCUSDT2022-02-30.csv.gz"),
        (SPOT, "spot/BTCUSDT/BTCUSDT-2022-01.csv.gz"),
        (SPOT, "spot/BTCUSDT/ETHUSDT_2022-01-01.csv.gz"),
    ],
)
def test_misfiled_and_renamed_keys_are_of_no_feed(series, key):
    with pytest.raises(ValueError, match=r"expected a key like|day"):
        daily(series).covers(key)


def test_daily_files_come_before_monthly_ones_and_both_before_rest():
    assert [feed.name for feed in sources.get("bybit").feeds(SPOT)] == ["daily", "monthly", "rest"]
    assert [feed.name for feed in sources.get("bybit").feeds(LINEAR)] == ["daily", "rest"]


@pytest.mark.parametrize(
    ("file", "market_type", "names"),
    [
        ("exchanges/bybit/archive/quoted_delivery_trades.csv", "linear", {"BTC-14MAR25": "BTC/USDC:USDC-250314"}),
        (
            "exchanges/bybit/archive/quoted_perp_and_inverse_trades_RPI.csv",
            "linear",
            {"ATOMUSDT": "ATOM/USDT:USDT", "BTCUSDT": "BTC/USDT:USDT"},
        ),
        ("exchanges/bybit/archive/quoted_perp_and_inverse_trades_RPI.csv", "inverse", {"BTCUSD": "BTC/USD:BTC"}),
        ("loose/bybit-FXSUSDT2023-10-10.head.csv", "linear", {"FXSUSDT": "FXS/USDT:USDT"}),
    ],
)
def test_real_rows_of_contracts_are_their_text(realdata, file, market_type, names):
    header, *lines = (realdata / file).read_text().splitlines()
    series = Series.named("bybit", market_type, "trades")
    for name, symbol in names.items():
        text = "\n".join([header, *(line for line in lines if f",{name}," in line)]) + "\n"
        table = in_order(daily(series), symbol, key_of(name), gzipped(text))
        assert rows_of(table) == told(text, market_type)
        assert table.num_rows >= 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_real_rows_of_spot_are_their_text(realdata, version):
    text = (realdata / f"exchanges/bybit/archive/quoted_spot_trades_{version}.csv").read_text()
    table = in_order(daily(SPOT), "BTC/USDT", key_of("BTCUSDT", SPOT), gzipped(text))
    assert rows_of(table) == told(text, "spot")
    assert table.num_rows == {"v1": 1, "v2": 3}[version]


def test_the_amount_of_an_inverse_contract_is_size_by_price_to_18_digits(realdata):
    header, *lines = (
        (realdata / "exchanges/bybit/archive/quoted_perp_and_inverse_trades_RPI.csv").read_text().splitlines()
    )
    content = file_of(*(line for line in lines if ",BTCUSD," in line), header=header)
    row = in_order(daily(INVERSE), "BTC/USD:BTC", key_of("BTCUSD", INVERSE), content).to_pylist()[0]
    assert row["amount"] == Decimal("0.001006202794441685")  # published as the float 0.0010062027944416848
    assert row["quote_amount"] == 79


def test_a_file_with_the_newest_row_first_is_turned_round():
    turned = in_order(daily(LINEAR), "BTC/USDT:USDT", key_of("BTCUSDT"), file_of(*LINES[::-1]))
    assert turned == in_order(daily(LINEAR), "BTC/USDT:USDT", key_of("BTCUSDT"), file_of(*LINES))


def test_a_file_in_no_order_keeps_it():
    table = parsed(daily(LINEAR), "BTC/USDT:USDT", key_of("BTCUSDT"), file_of(LINES[0], LINES[2], LINES[1]))
    assert table["amount"].to_pylist() == [Decimal("0.001"), Decimal(1), Decimal("0.038")]


def test_notionals_in_the_other_order_say_the_same():
    swapped = [",".join((*cells[:8], cells[9], cells[8])) for cells in (line.split(",") for line in LINES)]
    table = in_order(daily(LINEAR), "BTC/USDT:USDT", key_of("BTCUSDT"), file_of(*swapped))
    assert table == in_order(daily(LINEAR), "BTC/USDT:USDT", key_of("BTCUSDT"), file_of(*LINES))


def changed(cell: int, text: str) -> bytes:
    cells = LINES[1].split(",")
    return file_of(LINES[0], ",".join((*cells[:cell], text, *cells[cell + 1 :])), LINES[2])


@pytest.mark.parametrize(
    ("content", "error", "found"),
    [
        (gzipped(""), NoRows, "an empty text"),
        (file_of(), NoRows, "a header alone"),
        (b"<html>", BadContainer, "expected a gzip file"),
        (file_of(*LINES, header=CONTRACT_HEADER + ",liquidation"), BadContent, "first line"),
        (file_of(*LINES, header=CONTRACT_HEADER.replace("size", "amount")), BadContent, "first line"),
        (changed(0, "1788220801500"), BadContent, "epoch seconds"),
        (changed(0, "1.7882208015e9"), BadContent, "scientific notation in line 3"),
        (changed(1, "ETHUSDT"), BadContent, "trades of BTCUSDT only, found BTCUSDT, ETHUSDT"),
        (changed(2, "buy"), BadContent, "expected Buy or Sell in column side, found 'buy'"),
        (changed(3, "3.8e-02"), BadContent, "column size, found scientific notation in line 3"),
        (changed(4, ""), BadContent, "column price"),
        (changed(4, "65.0658"), BadContent, "expected the notionals of a linear contract"),
        (changed(6, ""), BadContent, "trdMatchID"),
        (changed(9, "nan"), BadContent, "in line 3"),
        (changed(9, "2472.6"), BadContent, "in line 3"),
    ],
)
def test_what_is_no_such_file_is_refused(content, error, found):
    with pytest.raises(error) as raised:
        in_order(daily(LINEAR), "BTC/USDT:USDT", key_of("BTCUSDT"), content)
    assert found in str(raised.value)


def test_amounts_that_differ_are_shown_as_plain_numbers():
    with pytest.raises(BadContent) as raised:
        in_order(daily(LINEAR), "BTC/USDT:USDT", key_of("BTCUSDT"), changed(4, "65.0658"))
    shown = r"contract: size [0-9.]+ and size x price [0-9.]+, found [0-9.]+ and [0-9.]+ in line \d+;"
    assert re.search(shown, str(raised.value)), raised.value


def test_a_linear_file_is_refused_as_an_inverse_one_and_the_other_way_round():
    as_inverse = [line.replace("BTCUSDT", "BTCUSD") for line in LINES]
    with pytest.raises(BadContent, match="notionals of an inverse contract"):
        in_order(daily(INVERSE), "BTC/USD:BTC", key_of("BTCUSD", INVERSE), file_of(*as_inverse))


def test_a_price_of_zero_of_an_inverse_contract_is_refused():
    line = LINES[0].replace("BTCUSDT", "BTCUSD").replace("78541.70", "0")
    with pytest.raises(BadContent, match="prices above 0"):
        in_order(daily(INVERSE), "BTC/USD:BTC", key_of("BTCUSD", INVERSE), file_of(line))
