"""OKX's archive files: published rows come out digit for digit, whatever the header, the order and the encoding."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crypto_assets.errors import BadContainer, BadContent, HostRefused, ListingError, NoRows
from crypto_assets.model import Instrument, Series, Span
from crypto_assets.sources.feeds import Digest
from crypto_assets.sources.listings import ListRequest, Wanted
from crypto_assets.sources.okx import SOURCE
from crypto_assets.sources.okx.archive import OkxFiles
from crypto_assets_tests.parsed import parsed
from crypto_assets_tests.sources.files import zipped

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TRADES = Series.named("okx", "spot", "trades")
SWAPS = Series.named("okx", "linear", "trades")
INVERSE = Series.named("okx", "inverse", "trades")
BARS = Series.named("okx", "linear", "ohlcv_1m")
FUNDING = Series.named("okx", "linear", "funding_rates")
BTC_SWAP = "BTC/USDT:USDT"


def instrument(series: Series, symbol: str, size: str) -> Instrument:
    name = SOURCE.exchange_symbol(series.market_type, symbol)
    base, quote = name.split("-")[:2]
    settle = quote if series.market_type == "linear" else base
    inverse = series.market_type == "inverse"
    return Instrument("okx", series.market_type, symbol, name, base, quote, settle, Decimal(size), inverse)


def rows(
    series: Series, symbol: str, text: str | bytes, size: str = "1", day: str = "2024-01-31"
) -> list[dict[str, Any]]:
    """Return the rows of a file with this text, as the archive publishes it."""
    feed = OkxFiles(series)
    key = feed.keys(SOURCE.exchange_symbol(series.market_type, symbol), date.fromisoformat(day))[0]
    content = zipped(key.rpartition("/")[2].replace(".zip", ".csv"), text)
    found: list[dict[str, Any]] = parsed(feed, symbol, key, content, instrument(series, symbol, size)).to_pylist()
    return found


def sample(realdata: Path, name: str) -> tuple[str, list[list[str]]]:
    """Return the header and the rows of a real sample."""
    path = realdata / "exchanges/okx/archive" / name
    if not path.is_file():
        pytest.skip(f"no sample {path}")
    header, *lines = path.read_text().splitlines()
    return header, list(csv.reader(lines))


def at(milliseconds: str) -> datetime:
    return EPOCH + timedelta(milliseconds=int(milliseconds))


# ---- real rows -------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["quoted_trades_legacy6.csv", "quoted_trades_source7.csv"])
def test_real_trades_of_six_and_seven_columns_are_read_digit_for_digit(realdata: Path, name: str) -> None:
    header, lines = sample(realdata, name)
    cases = {"BTC-USDT": (TRADES, "BTC/USDT", "1"), "BTC-USDT-SWAP": (SWAPS, BTC_SWAP, "0.01")}
    seen = 0
    for line in lines:
        if line[0] not in cases:
            continue
        series, symbol, size = cases[line[0]]
        (row,) = rows(series, symbol, f"{header}\n{','.join(line)}\n", size)
        seen += 1
        assert (row["trade_id"], row["side"], row["trade_time"]) == (int(line[1]), line[2], at(line[5]))
        assert row["price"] == Decimal(line[3])
        assert row["amount"] == Decimal(line[4]) * Decimal(size)
        assert (row["quote_amount"], row.get("trade_uid"), row.get("trade_place")) == (None, None, None)
    assert seen == (4 if "legacy6" in name else 2)


@pytest.mark.realdata
def test_a_real_inverse_trade_is_contracts_of_100_dollars(realdata: Path) -> None:
    header, lines = sample(realdata, "quoted_trades_source7.csv")
    line = next(line for line in lines if line[0] == "BTC-USD-SWAP")
    (row,) = rows(INVERSE, "BTC/USD:BTC", f"{header}\n{','.join(line)}\n", "100")
    assert row["quote_amount"] == Decimal(line[4]) * 100
    assert row["amount"] == (Decimal(line[4]) * 100 / Decimal(line[3])).quantize(Decimal("1e-18"))


@pytest.mark.realdata
def test_a_real_minute_of_trades_rebuilds_its_published_bar(realdata: Path) -> None:
    # The bar of 1692547260000 that OKX published: o, h, l, c, contracts, base, quote (README of the samples).
    header, lines = sample(realdata, "MATIC-USDT-SWAP-trades-2023-08-21.slice.csv")
    text = "\n".join([header, *map(",".join, lines)]) + "\n"
    found = rows(SWAPS, "MATIC/USDT:USDT", text, "10", day="2023-08-21")
    prices = [row["price"] for row in found]
    bar = (prices[0], max(prices), min(prices), prices[-1])
    assert bar == tuple(map(Decimal, ("0.5747", "0.5748", "0.5744", "0.5744")))
    assert sum(row["amount"] for row in found) == 11990
    assert sum(row["amount"] * row["price"] for row in found) == Decimal("6889.352")
    assert {row["trade_time"].replace(second=0, microsecond=0) for row in found} == {at("1692547260000")}
    ids = [row["trade_id"] for row in found]
    assert ids == list(range(ids[0], ids[0] + 14))


@pytest.mark.realdata
def test_a_real_bar_of_a_swap_has_its_volume_in_base(realdata: Path) -> None:
    header, (line,) = sample(realdata, "quoted_candlesticks.csv")
    (row,) = rows(BARS, "ETH/USDT:USDT", f"{header}\n{','.join(line)}\n")
    columns = ("open", "high", "low", "close", "volume", "quote_volume")
    assert [row[name] for name in columns] == [Decimal(line[place]) for place in (1, 2, 3, 4, 6, 7)]
    assert row["open_time"] == at(line[8])
    assert row["trade_count"] is row["taker_buy_volume"] is row["taker_buy_quote_volume"] is None
    assert Decimal(line[5]) * Decimal("0.1") == row["volume"]  # contracts of 0.1 ETH


@pytest.mark.realdata
def test_real_funding_rates_are_read_digit_for_digit(realdata: Path) -> None:
    header, lines = sample(realdata, "quoted_fundingrates.csv")
    for line in lines:
        (row,) = rows(FUNDING, BTC_SWAP, f"{header}\n{','.join(line)}\n")
        assert row["funding_rate"] == Decimal(line[1])
        assert row["funding_time"] == at(line[2])


# ---- forms of a file -------------------------------------------------------------------------------------------------

HEADER = "instrument_name,trade_id,side,price,size,created_time"
TWO = "BTC-USDT,11,sell,42000.5,0.25,1706630400001\nBTC-USDT,10,buy,42000.1,7.98e-05,1706630400000\n"


def test_rows_stay_in_the_order_of_the_file() -> None:
    found = rows(TRADES, "BTC/USDT", f"{HEADER}\n{TWO}")
    assert [(row["trade_id"], row["side"], row["amount"]) for row in found] == [
        (11, "sell", Decimal("0.25")),
        (10, "buy", Decimal("0.0000798")),
    ]


def test_an_old_header_in_two_languages_names_the_columns() -> None:
    header = "trade_id/撮合id,side/交易方向,size/数量,price/价格,created_time/成交时间".encode("gbk")
    found = rows(TRADES, "BTC/USDT", header + b"\n10,buy,0.25,42000.1,1706630400000\n")
    assert [(row["trade_id"], row["side"], row["price"], row["amount"]) for row in found] == [
        (10, "buy", Decimal("42000.1"), Decimal("0.25"))
    ]
    with pytest.raises(UnicodeDecodeError):
        header.decode("utf-8")


def test_spot_bars_have_their_volume_in_the_first_column_and_open_ones_are_left_out() -> None:
    header = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
    text = f"{header}\nBTC-USDT,1,4,0.5,2,10,20,20.5,1706630400000,1\nBTC-USDT,2,2,2,2,1,2,2,1706630460000,0\n"
    found = rows(Series.named("okx", "spot", "ohlcv_1m"), "BTC/USDT", text)
    assert [(row["open_time"], row["volume"], row["quote_volume"]) for row in found] == [
        (at("1706630400000"), Decimal(10), Decimal("20.5"))
    ]


def funding(name: str, *hours: int) -> str:
    start = 1706630400  # 2024-01-30 16:00 UTC
    return "".join(f"{name},0.0001,{(start + hour * 3600) * 1000 + 4}\n" for hour in hours)


FUNDING_HEADER = "instrument_name,funding_rate,funding_time\n"


def test_a_bundle_gives_the_events_of_one_symbol() -> None:
    text = FUNDING_HEADER + funding("ETH-USDT-SWAP", 0, 8, 16) + funding("BTC-USDT-SWAP", 16, 0, 8)
    found = rows(FUNDING, BTC_SWAP, text)
    assert [row["funding_time"].hour for row in found] == [8, 16, 0]
    assert [row["funding_interval_hours"] for row in found] == [8, 8, 8]
    assert rows(FUNDING, "SOL/USDT:USDT", text) == []


@pytest.mark.parametrize(
    ("hours", "intervals"),
    [
        ((0, 8, 16), [8, 8, 8]),
        (
            (0, 4, 8, 16),
            [4, 4, 4, 8],
        ),  # changed to eight hours, or one event is missing: the longer one says the change
        ((0, 4, 12, 16, 20), [4, 4, 4, 4, 4]),  # one is missing
        ((0,), [8]),
    ],
)
def test_a_missing_funding_event_does_not_lengthen_the_interval(hours: tuple[int, ...], intervals: list[int]) -> None:
    found = rows(FUNDING, BTC_SWAP, FUNDING_HEADER + funding("BTC-USDT-SWAP", *hours))
    assert [row["funding_interval_hours"] for row in found] == intervals


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", NoRows, "empty"),
        (HEADER + "\n", NoRows, "header alone"),
        ("<html>no</html>\n", BadContent, "expected a header"),
        ("BTC-USDT,10,buy,1,1,1706630400000\n", BadContent, "expected a header"),
        (
            f"{HEADER}\nETH-USDT,10,buy,1,1,1706630400000\n",
            BadContent,
            "expected rows of BTC-USDT alone, found 'ETH-USDT'",
        ),
        (
            f"{HEADER}\nBTC-USDT,10,Buy,1,1,1706630400000\n",
            BadContent,
            "expected buy or sell in column side, found 'Buy'",
        ),
        (f"{HEADER}\nBTC-USDT,10,buy,1,,1706630400000\n", BadContent, "size"),
        (f"{HEADER}\nBTC-USDT,10,buy,0x1,1,1706630400000\n", BadContent, "price"),
        (f"{HEADER}\nBTC-USDT,10,buy,1,1,1706630400\n", BadContent, "epoch milliseconds"),
        (f"{HEADER},colour\nBTC-USDT,10,buy,1,1,1706630400000,red\n", BadContent, "colour"),
    ],
)
def test_a_text_that_is_no_file_of_trades_is_refused(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        rows(TRADES, "BTC/USDT", text)


def test_contracts_without_a_known_size_are_refused() -> None:
    feed = OkxFiles(SWAPS)
    key = feed.keys("BTC-USDT-SWAP", date(2024, 1, 31))[0]
    content = zipped("BTC-USDT-SWAP-trades-2024-01-31.csv", f"{HEADER}\n{TWO}".replace("BTC-USDT", "BTC-USDT-SWAP"))
    with pytest.raises(BadContent, match="collect instruments first"):
        parsed(feed, BTC_SWAP, key, content)
    with pytest.raises(BadContainer):
        parsed(feed, BTC_SWAP, key, content[:-30])


# ---- keys and days ---------------------------------------------------------------------------------------------------


def test_two_files_from_16_to_16_hold_a_day() -> None:
    feed = OkxFiles(SWAPS)
    keys = feed.keys("BTC-USDT-SWAP", date(2024, 1, 31))
    assert keys == (
        "cdn/okex/traderecords/trades/daily/20240131/BTC-USDT-SWAP-trades-2024-01-31.zip",
        "cdn/okex/traderecords/trades/daily/20240201/BTC-USDT-SWAP-trades-2024-02-01.zip",
    )
    noon = datetime(2024, 1, 31, 16, tzinfo=UTC)
    assert [feed.covers(key) for key in keys] == [
        Span(noon - timedelta(days=1), noon),
        Span(noon, noon + timedelta(days=1)),
    ]
    assert feed.digest(keys[0]) == Digest("md5", None)
    assert feed.bundles is False


def test_funding_rates_of_all_symbols_are_in_one_file() -> None:
    feed = OkxFiles(FUNDING)
    key = "cdn/okex/traderecords/swaprates/daily/20240131/allswap-fundingrates-2024-01-31.zip"
    assert feed.bundles is True
    assert feed.keys("BTC-USDT-SWAP", date(2024, 1, 31))[0] == feed.keys("ETH-USDT-SWAP", date(2024, 1, 31))[0] == key
    assert feed.covers(key).start == datetime(2024, 1, 30, 16, tzinfo=UTC)
    assert feed.prefix("BTC-USDT-SWAP") != feed.prefix("ETH-USDT-SWAP")


@pytest.mark.parametrize(
    "key",
    [
        "cdn/okex/traderecords/trades/daily/20240131/allswap-trades-2024-01-31.zip",
        "cdn/okex/traderecords/candlesticks/daily/20240131/BTC-USDT-candlesticks-2024-01-31.zip",
        "cdn/okex/traderecords/trades/monthly/202401/BTC-USDT-trades-2024-01.zip",
        "cdn/okex/traderecords/trades/daily/20240131/BTC-USDT-trades-2024-01-32.zip",
    ],
)
def test_other_files_are_none_of_the_feed(key: str) -> None:
    with pytest.raises(ValueError, match=r"expected a key like|day|range"):
        OkxFiles(TRADES).covers(key)


# ---- the index -------------------------------------------------------------------------------------------------------

INDEX = "https://www.okx.com/api/v5/public/market-data-history"


def listed(feed: OkxFiles, name: str, span: Span) -> tuple[Wanted, ListRequest]:
    wanted = Wanted(feed.prefix(name), span=span)
    return wanted, feed.listing.first(wanted)


def answer(*urls: str) -> bytes:
    files = [{"dataTs": "0", "filename": url.rpartition("/")[2], "sizeMB": "3.61", "url": url} for url in urls]
    details = [{"instFamily": "BTC-USDT", "groupDetails": files}]
    return json.dumps({"code": "0", "msg": "", "data": [{"details": details, "ts": "0"}]}).encode()


@pytest.mark.parametrize(
    ("series", "name", "asked"),
    [
        (TRADES, "BTC-USDT", {"module": "1", "instType": "SPOT", "instIdList": "BTC-USDT"}),
        (SWAPS, "BTC-USDT-SWAP", {"module": "1", "instType": "SWAP", "instFamilyList": "BTC-USDT"}),
        (INVERSE, "BTC-USD-240628", {"module": "1", "instType": "FUTURES", "instFamilyList": "BTC-USD"}),
        (BARS, "BTC-USDT-SWAP", {"module": "2", "instType": "SWAP", "instFamilyList": "BTC-USDT"}),
        (FUNDING, "BTC-USDT-SWAP", {"module": "3", "instType": "SWAP", "instFamilyList": "ANY"}),
    ],
)
def test_the_index_is_asked_in_the_words_of_okx(series: Series, name: str, asked: dict[str, str]) -> None:
    feed = OkxFiles(series)
    keys = feed.keys(name, date(2024, 1, 31))
    span = Span(feed.covers(keys[0]).start, feed.covers(keys[1]).end)
    _, request = listed(feed, name, span)
    assert request.path == "api/v5/public/market-data-history"
    # 2024-01-31 00:00 of UTC+8, and the last millisecond of 2024-02-01.
    begin, end = {"begin": "1706630400000"}, {"end": str(1706630400000 + 2 * 86_400_000 - 1)}
    assert request.params == {**asked, "dateAggrType": "daily", **begin, **end}


def test_the_index_is_asked_for_twenty_days_at_a_time() -> None:
    feed = OkxFiles(TRADES)
    start = datetime(2024, 1, 1, 16, tzinfo=UTC)
    wanted, request = listed(feed, "BTC-USDT", Span(start, start + timedelta(days=45)))
    asked, seen = request, []
    while asked is not None:
        seen.append((int(asked.params["begin"]), int(asked.params["end"])))
        page = feed.listing.read(wanted, asked, INDEX, answer())
        assert page.objects == []
        asked = page.following
    first = int(start.timestamp()) * 1000
    day = 86_400_000
    assert seen == [(first + a * day, first + b * day - 1) for a, b in ((0, 20), (20, 40), (40, 45))]


def test_the_path_of_the_url_is_the_key_and_files_of_other_contracts_are_left_out() -> None:
    feed = OkxFiles(SWAPS)
    wanted, request = listed(feed, "BTC-USDT-SWAP", Span.of_days(date(2024, 1, 31), date(2024, 2, 1)))
    moved = "https://static.okx.com/cdn/okx/new/20240131/BTC-USDT-SWAP-trades-2024-01-31.zip"
    usual = "http://127.0.0.1:1/mirror/" + feed.keys("BTC-USDT-SWAP", date(2024, 2, 1))[0] + "?sign=1"
    other = "https://static.okx.com/cdn/okx/new/20240131/BTC-USDT-240628-trades-2024-01-31.zip"
    files = [
        {"filename": url.rpartition("/")[2].partition("?")[0], "url": url, "sizeMB": "1"}
        for url in (usual, other, moved)
    ]
    content = json.dumps({"code": "0", "data": [{"details": [{"groupDetails": files}]}]}).encode()
    page = feed.listing.read(wanted, request, INDEX, content)
    assert [obj.key for obj in page.objects] == [
        feed.keys("BTC-USDT-SWAP", date(2024, 2, 1))[0],
        "cdn/okx/new/20240131/BTC-USDT-SWAP-trades-2024-01-31.zip",
    ]
    assert {(obj.size_bytes, obj.etag, obj.last_modified) for obj in page.objects} == {(0, "", None)}
    assert feed.covers(page.objects[1].key) == feed.covers(feed.keys("BTC-USDT-SWAP", date(2024, 1, 31))[0])


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"<html>", ListingError, "expected the index of files in JSON, found '<html>'"),
        (b"[]", ListingError, "TypeError"),
        (b'{"code":"0","data":[{"details":[{}]}]}', ListingError, "groupDetails"),
        (b'{"code":"51000","msg":"Parameter begin error","data":[]}', ListingError, "51000 Parameter begin error"),
        (b'{"code":"50011","msg":"Too Many Requests","data":[]}', HostRefused, "50011 Too Many Requests"),
        (b'{"code":"50013","msg":"System is busy","data":[]}', HostRefused, "50013 System is busy"),
        (b"[" * 100_000, ListingError, "RecursionError"),
    ],
)
def test_an_answer_that_is_no_index_is_refused(content: bytes, error: type[Exception], words: str) -> None:
    feed = OkxFiles(TRADES)
    wanted, request = listed(feed, "BTC-USDT", Span.of_days(date(2024, 1, 31), date(2024, 2, 1)))
    with pytest.raises(error, match=words):
        feed.listing.read(wanted, request, INDEX, content)


def test_a_url_that_is_another_file_is_refused() -> None:
    feed = OkxFiles(TRADES)
    wanted, request = listed(feed, "BTC-USDT", Span.of_days(date(2024, 1, 31), date(2024, 2, 1)))
    files = [
        {
            "filename": "BTC-USDT-trades-2024-01-31.zip",
            "url": "https://static.okx.com/cdn/x/ETH-USDT-trades-2024-01-31.zip",
        }
    ]
    content = json.dumps({"code": "0", "data": [{"details": [{"groupDetails": files}]}]}).encode()
    with pytest.raises(ListingError, match="expected the index of files"):
        feed.listing.read(wanted, request, INDEX, content)


def test_without_a_span_the_index_cannot_be_asked() -> None:
    feed = OkxFiles(TRADES)
    with pytest.raises(ListingError, match="expected a span of time"):
        feed.listing.first(Wanted(feed.prefix("BTC-USDT")))
