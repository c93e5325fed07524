"""Kraken over REST: recorded answers are read digit for digit, and a day is walked by token and number."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crypto_assets.engine.archive.listed_names import read_names
from crypto_assets.engine.rest.ccxt_client import read_json
from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import DAY, Partition, Series
from crypto_assets.sources.feeds import Call, Page
from crypto_assets.sources.kraken import SOURCE, rows
from crypto_assets.sources.kraken.instruments import KrakenInstruments
from crypto_assets.sources.kraken.rest import KrakenRest
from crypto_assets.sources.kraken.symbols import exchange_symbol, names_of, symbols_of

BTC, RECORDED = "BTC/USDT", date(2025, 11, 10)
TRADES = KrakenRest(Series.named("kraken", "spot", "trades"))
MINUTES = KrakenRest(Series.named("kraken", "spot", "ohlcv_1m"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def file(realdata: Path, name: str) -> Path:
    path = realdata / name
    return path if path.is_file() else pytest.skip(f"no recording {path}")


def answer_of(realdata: Path, name: str) -> Any:
    """Return a recorded answer as our client reads it."""
    return read_json(name, file(realdata, name).read_text())


def own_rows(answer: Any, *widths: int) -> list[list[Any]]:
    """Return the rows of a recorded answer, asked for as the pair that it names."""
    (name,) = (name for name in answer["result"] if name != "last")
    symbols = {"XBTUSDT": "BTC/USDT", "XXBTZUSD": "BTC/USD", "BCHEUR": "BCH/EUR"}
    found, _ = rows.rows_of("test", answer, widths, symbols[name])
    return found


def trades_in(answer: Any) -> list[dict[str, Any]]:
    found = own_rows(answer, 6, 7)
    return rows.trades("test", found).to_pylist()


def microseconds(text: str) -> datetime:
    """Return the instant of a text of seconds, cut to microseconds: a second opinion, in decimals."""
    return EPOCH + timedelta(microseconds=int(Decimal(text) * 1_000_000))


# ---- recorded --------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_recorded_trades_are_read_with_every_digit(realdata: Path) -> None:
    answer = answer_of(realdata, "rest/kraken/http_trades.json")
    raw = json.loads(file(realdata, "rest/kraken/http_trades.json").read_text(), parse_float=str)["result"]["XBTUSDT"]
    found = trades_in(answer)
    assert len(found) == 1000
    for row, (price, volume, time, side, _, _, number) in zip(found, raw, strict=True):
        assert row["trade_time"] == microseconds(time)
        assert (row["price"], row["amount"], row["trade_id"]) == (Decimal(price), Decimal(volume), number)
        assert row["side"] == {"b": "buy", "s": "sell"}[side]
        assert row["quote_amount"] is None
    assert [row["trade_id"] for row in found] == list(range(10218208, 10219208))
    assert [row["trade_time"] for row in found] == sorted(row["trade_time"] for row in found)


@pytest.mark.realdata
def test_recorded_trades_rebuild_the_recorded_bars(realdata: Path) -> None:
    """273 of 274 minutes with trades are equal in all columns; the first is cut, because the trades begin inside it."""
    found = own_rows(answer_of(realdata, "rest/kraken/http_ohlc.json"), 8)
    bars = {bar["open_time"]: bar for bar in rows.bars("test", found).to_pylist()}
    built: dict[datetime, list[dict[str, Any]]] = {}
    for trade in trades_in(answer_of(realdata, "rest/kraken/http_trades.json")):
        built.setdefault(trade["trade_time"].replace(second=0, microsecond=0), []).append(trade)
    equal = [
        minute
        for minute, of_minute in built.items()
        if bars[minute]["open"] == of_minute[0]["price"]
        and bars[minute]["close"] == of_minute[-1]["price"]
        and bars[minute]["high"] == max(one["price"] for one in of_minute)
        and bars[minute]["low"] == min(one["price"] for one in of_minute)
        and bars[minute]["volume"] == sum(one["amount"] for one in of_minute)
        and bars[minute]["trade_count"] == len(of_minute)
    ]
    assert (len(built), len(equal)) == (274, 273)
    assert min(built) not in equal
    # No bar stands where nobody traded, and each one does where somebody did.
    assert {minute for minute in bars if minute >= min(built)} == set(built)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["rest/kraken/http_ohlc.json", "exchanges/kraken/rest/xchange_example-ohlc-data.json"])
def test_recorded_bars_are_read_with_every_digit_and_without_silent_ones(realdata: Path, name: str) -> None:
    answer = answer_of(realdata, name)
    (raw,) = (value for pair, value in answer["result"].items() if pair != "last")
    traded = [row for row in raw if row[7]]
    found = own_rows(answer, 8)
    bars = rows.bars("test", found).to_pylist()
    assert 0 < len(bars) == len(traded) < len(raw)
    for bar, row in zip(bars, traded, strict=True):
        assert bar["open_time"] == EPOCH + timedelta(seconds=row[0])
        prices = (bar["open"], bar["high"], bar["low"], bar["close"], bar["volume"])
        assert prices == tuple(Decimal(row[place]) for place in (1, 2, 3, 4, 6))
        assert (bar["trade_count"], bar["quote_volume"], bar["taker_buy_volume"]) == (row[7], None, None)


@pytest.mark.realdata
def test_recorded_trades_without_numbers_are_read_with_null(realdata: Path) -> None:
    old = answer_of(realdata, "exchanges/kraken/rest/xchange_example-trades-data.json")
    found = trades_in(old)
    assert [row["trade_id"] for row in found] == [None] * 14
    assert found[0]["trade_time"] == datetime(2013, 11, 27, 19, 17, 21, 777400, tzinfo=UTC)
    assert (found[13]["price"], found[13]["side"]) == (Decimal("999.56699"), "sell")
    text = file(realdata, "exchanges/kraken/rest/vcr_Kraken_fetch_trades.yml").read_text()
    body = re.search(r"string: '(\{.*\})'", text, re.DOTALL)
    assert body
    recorded = read_json("vcr", re.sub(r"\s*\n\s*", "", body[1]))
    found = trades_in(recorded)
    assert len(found) == len(recorded["result"]["BCHEUR"]) > 900
    assert found[3]["trade_time"] == microseconds("1557895729.4")
    assert [row["price"] for row in found] == [Decimal(row[0]) for row in recorded["result"]["BCHEUR"]]
    with pytest.raises(BadContent, match="seven values with the number of the trade"):
        list(walked(TRADES, Partition("BTC/USD", RECORDED), [old]))


@pytest.mark.realdata
def test_recorded_clocks_and_pairs_are_read(realdata: Path) -> None:
    folder = "exchanges/kraken/rest/"
    assert TRADES.clock_time(answer_of(realdata, folder + "nautilus_http_server_time.json")) == datetime(
        2025, 11, 11, 0, 17, 4, tzinfo=UTC
    )
    pairs = answer_of(realdata, folder + "nautilus_http_asset_pairs.json")
    (first, *_) = KrakenInstruments().read(pairs)
    assert (first.symbol, first.exchange_symbol, first.status) == ("BTC/USDT", "XBTUSDT", "online")
    assert (first.tick_size, first.lot_size) == (Decimal("0.1"), Decimal("1E-8"))
    assert TRADES.status_of("BTC/USDT", pairs) == "online"
    assert TRADES.status_of("ABC/USDT", pairs) is None
    tokenized = answer_of(realdata, folder + "nautilus_http_asset_pairs_tokenized.json")
    assert KrakenInstruments().read(tokenized) == []


@pytest.mark.parametrize("odd", [{"wsname": None}, {"wsname": "ETHUSD"}, {"lot_decimals": None}])
def test_an_odd_pair_is_left_out_by_name_and_the_others_stay(odd: dict[str, Any]) -> None:
    numbers = {"aclass_base": "currency", "lot_decimals": 8, "pair_decimals": 1, "status": "online"}
    good = {"altname": "XBTUSD", "wsname": "XBT/USD", **numbers}
    other = {"altname": "ETHUSD", "wsname": "ETH/USD", **numbers, **odd}
    answer = {"error": [], "result": {"XXBTZUSD": good, "XETHZUSD": other}}
    query = KrakenInstruments()
    assert [one.symbol for one in query.read(answer)] == ["BTC/USD"]
    assert query.left_out(answer) == ["ETHUSD"]
    with pytest.raises(BadContent, match="expected a pair with its names"):
        query.read({"error": [], "result": {"XETHZUSD": other}})


@pytest.mark.realdata
def test_each_name_of_a_recorded_pair_is_its_symbol(realdata: Path) -> None:
    path = file(realdata, "exchanges/kraken/rest/cryptofeed_instruments_KRAKEN.0.raw.gz")
    with gzip.open(path, "rt") as lines:
        line = next(line for line in lines if "AssetPairs" in line)
    answer = read_json("pairs", line.split(": ", 1)[1])
    found = {one.exchange_symbol: one for one in KrakenInstruments().read(answer)}
    assert len(found) == 292
    assert (found["XBTUSD"].symbol, found["XDGUSD"].symbol, found["XBTUSD"].lot_size) == (
        "BTC/USD",
        "DOGE/USD",
        Decimal("1E-8"),
    )
    for canonical, pair in answer["result"].items():
        if pair["altname"] in found:
            symbol = found[pair["altname"]].symbol
            assert names_of(symbol)[0] == pair["altname"]
            assert canonical in names_of(symbol)
            assert symbol in symbols_of(pair["altname"])
        else:
            assert pair["altname"].endswith(".d") or canonical == "ETH2.SETH"
            assert symbols_of(canonical) == ()
    read = read_names(found, {}, symbols_of)
    assert (read.unread, read.undecided) == ((), {})
    assert read.symbols == {one.symbol: name for name, one in found.items()}


# ---- walks -----------------------------------------------------------------------------------------------------------


def walked(
    feed: KrakenRest,
    partition: Partition,
    answers: Sequence[Any],
    *,
    stored: pa.Table | None = None,
    now: datetime | None = None,
    until: datetime | None = None,
) -> list[Call | Page]:
    """Return the steps of a walk that gets these answers, in order; it must ask for all of them."""
    empty = rows.table(feed.series.table, {}, 0)
    walk = feed.walk(partition, empty if stored is None else stored, until, now or partition.end + DAY)
    steps: list[Call | Page] = []
    left, answer = list(answers), None
    while True:
        try:
            step = walk.send(answer)
        except StopIteration:
            assert not left
            return steps
        steps.append(step)
        answer = left.pop(0) if isinstance(step, Call) else None


def trade(second: str | float, number: int) -> list[Any]:
    midnight = int((datetime.combine(RECORDED, datetime.min.time(), UTC) - EPOCH).total_seconds())
    time = f"{midnight + Decimal(second):.7f}"
    return ["100.5", "0.01", time, "b", "l", "", number]


def page(trades: Sequence[list[Any]], last: str | None = None) -> Any:
    last = last or (str(rows.nanoseconds("test", trades[-1][2])) if trades else "0")
    return {"error": [], "result": {"XBTUSDT": list(trades), "last": last}}


def of_day() -> Partition:
    return Partition(BTC, RECORDED)


def numbers(steps: Sequence[Call | Page]) -> list[int]:
    return [number for step in steps if isinstance(step, Page) for number in step.rows.column("trade_id").to_pylist()]


def test_a_day_is_walked_from_token_to_token_until_a_trade_of_the_next_day() -> None:
    start = int((of_day().start - EPOCH).total_seconds()) * 10**9
    steps = walked(TRADES, of_day(), [page([trade(1, 7), trade(2, 8)]), page([trade(3, 9), trade(86_400, 10)])])
    asked = [step.params for step in steps if isinstance(step, Call)]
    assert asked == [
        {"pair": "XBTUSDT", "since": str(start - 1)},
        {"pair": "XBTUSDT", "since": str(start + 2 * 10**9)},
    ]
    assert numbers(steps) == [7, 8, 9]
    pages = [step for step in steps if isinstance(step, Page)]
    assert [one.until for one in pages] == [of_day().start + timedelta(seconds=2), of_day().end]
    assert [one.missing_ids for one in pages] == [0, 0]


def test_trades_of_one_instant_that_two_pages_share_are_kept_once_by_number() -> None:
    steps = walked(
        TRADES, of_day(), [page([trade(1, 7), trade(2, 8)]), page([trade(2, 8), trade(2, 9), trade(86_401, 10)])]
    )
    assert numbers(steps) == [7, 8, 9]


def test_trades_that_a_token_cuts_off_are_found_by_their_missing_number() -> None:
    after = page([trade(3, 11), trade(86_400, 12)])
    whole = page([trade(2, 9), trade(2, 10), trade(3, 11), trade(86_400, 12)])
    steps = walked(TRADES, of_day(), [page([trade(1, 8), trade(2, 9)]), after, whole])
    tokens = [int(step.params["since"]) for step in steps if isinstance(step, Call)]
    assert tokens[2] == tokens[1] - 1
    assert numbers(steps) == [8, 9, 10, 11]
    assert sum(step.missing_ids for step in steps if isinstance(step, Page)) == 0


def test_numbers_that_the_exchange_leaves_out_are_counted() -> None:
    after = page([trade(3, 12), trade(86_400, 13)])
    steps = walked(TRADES, of_day(), [page([trade(1, 8), trade(2, 9)]), after, after])
    assert numbers(steps) == [8, 9, 12]
    assert sum(step.missing_ids for step in steps if isinstance(step, Page)) == 2


def test_a_day_goes_on_after_its_last_stored_trade() -> None:
    stored = rows.trades("test", [trade(1, 7), trade("2.0000015", 8)])
    steps = walked(TRADES, of_day(), [page([trade("2.0000015", 8), trade(3, 9), trade(86_400, 10)])], stored=stored)
    assert isinstance(steps[0], Call)
    start = int((of_day().start - EPOCH).total_seconds()) * 10**9
    assert steps[0].params["since"] == str(start + 2_000_001_000 - 1)
    assert numbers(steps) == [9]


def test_today_is_known_up_to_now_when_no_newer_trade_comes() -> None:
    now = of_day().start + timedelta(hours=1)
    steps = walked(TRADES, of_day(), [page([trade(1, 7)]), page([], "1")], now=now)
    assert [step.until for step in steps if isinstance(step, Page)] == [of_day().start + timedelta(seconds=1), now]


def test_an_empty_answer_about_a_past_day_proves_nothing_while_newer_trades_exist() -> None:
    with pytest.raises(PermanentError, match="found an empty answer, although number 12 exists"):
        walked(TRADES, of_day(), [page([], "1"), page([trade(90_000, 12)])])
    with pytest.raises(PermanentError, match="found an empty answer, although number 12 exists"):
        walked(TRADES, of_day(), [page([trade(1, 7)]), page([], "1"), page([trade(90_000, 12)])])


def test_a_past_day_is_known_when_its_last_trade_is_the_newest_of_all() -> None:
    steps = walked(TRADES, of_day(), [page([trade(1, 7)]), page([], "1"), page([trade(1, 7)])])
    assert [step.until for step in steps if isinstance(step, Page)][-1] == of_day().end
    assert numbers(steps) == [7]


def test_a_token_that_does_not_advance_ends_the_walk_loudly() -> None:
    with pytest.raises(PermanentError, match="the pages do not advance"):
        walked(TRADES, of_day(), [page([trade(1, 7)], "5")])


def test_a_time_is_cut_and_never_moves_to_the_next_day() -> None:
    found = rows.trades("test", [trade("86399.9999999", 1)]).to_pylist()
    assert found[0]["trade_time"] == of_day().end - timedelta(microseconds=1)


def bar(minute: int, count: int = 1, day: date = RECORDED) -> list[Any]:
    seconds = int((datetime.combine(day, datetime.min.time(), UTC) - EPOCH).total_seconds()) + 60 * minute
    return [seconds, "1.5", "2.5", "1.0", "2.0", "1.7", "3.25", count]


def bars(found: Sequence[list[Any]]) -> Any:
    return {"error": [], "result": {"XBTUSDT": list(found), "last": 0}}


def test_bars_up_to_now_are_known_and_silent_ones_are_left_out() -> None:
    now = of_day().start + timedelta(minutes=3, seconds=30)
    steps = walked(MINUTES, of_day(), [bars([bar(-1), bar(0), bar(1, 0), bar(2), bar(3)])], now=now)
    call, found = steps
    assert isinstance(call, Call)
    assert isinstance(found, Page)
    assert call.params == {"pair": "XBTUSDT", "interval": 1, "since": bar(-1)[0]}
    assert found.rows.column("open_time").to_pylist() == [of_day().start, of_day().start + timedelta(minutes=2)]
    assert found.until == of_day().start + timedelta(minutes=3)


def test_bars_before_the_newest_720_are_not_claimed() -> None:
    newest = [bar(minute) for minute in range(700, 1421)]
    (_, found) = walked(MINUTES, of_day(), [bars(newest)], now=of_day().start + timedelta(minutes=1420))
    assert isinstance(found, Page)
    assert (found.until, found.rows.num_rows) == (None, 720)
    with pytest.raises(PermanentError, match=r"newest 720 bars only, from 2025-11-10 11:40 UTC on; there is no source"):
        walked(MINUTES, Partition(BTC, date(2025, 11, 9)), [bars(newest)])


@pytest.mark.parametrize("newest", [710, 3, 0])
def test_fewer_bars_than_720_prove_nothing_about_the_time_before_them(newest: int) -> None:
    answer = bars([bar(minute) for minute in range(1421 - newest, 1421)])
    (_, found) = walked(MINUTES, of_day(), [answer], now=of_day().start + timedelta(minutes=1420))
    assert isinstance(found, Page)
    assert (found.until, found.rows.num_rows) == (None, max(0, newest - 1))
    assert "newest 720 bars only" in found.problem
    with pytest.raises(PermanentError, match="newest 720 bars only"):
        walked(MINUTES, Partition(BTC, date(2025, 11, 8)), [bars([])], now=of_day().end)


def test_a_day_that_was_stored_far_enough_goes_on_from_the_newest_bars() -> None:
    newest = [bar(minute) for minute in range(700, 1441)]
    until = of_day().start + timedelta(minutes=800)
    (_, found) = walked(MINUTES, of_day(), [bars(newest)], until=until)
    assert isinstance(found, Page)
    assert (found.until, found.rows.num_rows) == (of_day().end, 640)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "expected a result"),
        ({"error": [], "result": {"A": [], "B": [], "last": "1"}}, "rows of one pair"),
        (page([["1", "1", "1.0", "b"]], "1"), "6 or 7 values"),
        (page([["1", "1", "x", "b", "l", "", 1]], "1"), "a time in seconds"),
        (page([["1E5", "1", "1.0", "b", "l", "", 1]], "1"), "text of a number"),
        (page([["1", "1", "1.0", "B", "l", "", 1]], "1"), "side b or s"),
        (page([["1", "1", "1.0", "b", "l", "", "1"]], "1"), "whole number"),
        (page([trade(1, 1)], "now"), "in nanoseconds"),
    ],
)
def test_an_answer_of_another_form_is_refused(answer: Any, words: str) -> None:
    with pytest.raises(BadContent, match=words):
        walked(TRADES, of_day(), [answer])


# ---- facts -----------------------------------------------------------------------------------------------------------


def test_the_first_the_latest_and_any_trade_are_asked_for_one_at_a_time() -> None:
    start = datetime(2025, 11, 10, tzinfo=UTC)
    assert TRADES.first_row(BTC).params == {"pair": "XBTUSDT", "since": "0", "count": 1}
    assert TRADES.latest_row(BTC).params == {"pair": "XBTUSDT", "count": 1}
    assert TRADES.any_row(BTC, start, start + DAY).params["since"] == "1762732799999999999"
    assert TRADES.row_time(BTC, page([trade(1.5, 7)])) == start + timedelta(seconds=1.5)
    assert TRADES.row_time(BTC, page([])) is None
    with pytest.raises(BadContent, match="expected rows of ETH/USD, found those of XBTUSDT"):
        TRADES.row_time("ETH/USD", page([trade(1.5, 7)]))


def test_names_are_those_of_ccxt() -> None:
    assert exchange_symbol("DOGE/BTC") == "XDGXBT"
    assert [symbols_of(name) for name in ("XBTUSDT", "XDGEUR", "LUNA2EUR", "LUNAEUR")] == [
        ("BTC/USDT",),
        ("DOGE/EUR",),
        ("LUNA/EUR",),
        ("LUNC/EUR",),
    ]
    assert names_of("USDT/USD") == ("USDTUSD", "USDTZUSD")
    assert symbols_of("CURLUSD") == ("CU/RLUSD", "CURL/USD")
    assert [symbols_of(name) for name in ("XXBTZUSD", "AAPLxUSD", "XBTUSD.d", "USD", "A:BTNL")] == [()] * 5


def test_facts_name_the_columns_that_kraken_does_not_publish() -> None:
    assert SOURCE.dataset_names("linear") == ()
    assert "quote_volume" in SOURCE.facts(MINUTES.series).without
    assert SOURCE.facts(TRADES.series).numbering == "contiguous"
    assert TRADES.source_key(BTC) == "rest/0/public/Trades?pair=XBTUSDT"
    assert MINUTES.source_key(BTC) == "rest/0/public/OHLC?pair=XBTUSDT&interval=1"
