"""Bybit over REST: what is asked, and the rows of recorded and documented answers."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from crypto_assets import datasets
from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import Partition, Series
from crypto_assets.sources.bybit.rest import INTERVALS, BybitRest
from crypto_assets.sources.bybit.symbols import exchange_name
from crypto_assets.sources.feeds import Call, Page
from crypto_assets_tests.sources.bybit_files import rows_of

DAY = date(2026, 2, 8)
MIDNIGHT = datetime(2026, 2, 8, tzinfo=UTC)
MS = int(MIDNIGHT.timestamp()) * 1000
LATER = MIDNIGHT + timedelta(days=3)


def rest(dataset: str, market_type: str = "spot") -> BybitRest:
    return BybitRest(Series.named("bybit", market_type, dataset))


def symbol_of(feed: BybitRest) -> str:
    return {"spot": "BTC/USDT", "linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}[feed.series.market_type]


def answer_of(*rows: Any, **more: Any) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": {"list": list(rows)}, "time": MS, **more}


def owned(feed: BybitRest, answer: Any) -> Any:
    """Return an answer that says whose rows it has, as Bybit's do, if it says nothing else."""
    if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
        return answer
    name = exchange_name(feed.series.market_type, symbol_of(feed))
    said = {"category": feed.series.market_type, "symbol": name} | answer["result"]
    if isinstance(said.get("list"), list):
        said["list"] = [{"symbol": name} | one if isinstance(one, dict) else one for one in said["list"]]
    return answer | {"result": said}


def walked(feed: BybitRest, *answers: Any, now: datetime = LATER, until: datetime | None = None, day: date = DAY):
    """Return the calls and the pages of a walk that gets these answers."""
    stored = datasets.get(feed.series.table).schema.empty_table()
    walk = feed.walk(Partition(symbol_of(feed), day), stored, until, now)
    calls, pages, waiting = [], [], list(answers)
    try:
        step = next(walk)
        while True:
            if isinstance(step, Call):
                calls.append(step)
                step = walk.send(owned(feed, waiting.pop(0)))
            else:
                assert isinstance(step, Page)
                pages.append(step)
                step = next(walk)
    except StopIteration:
        assert not waiting
        return calls, pages


def recorded(realdata, name: str) -> Any:
    return json.loads((realdata / f"rest/bybit/{name}_BTC_USDT.json").read_text(), parse_float=str)["http_response"]


def test_recorded_hours_are_the_bars_of_their_day(realdata):
    calls, pages = walked(rest("ohlcv_1h"), recorded(realdata, "fetch_ohlcv"))
    assert [(call.method, dict(call.params)) for call in calls] == [
        (
            "publicGetV5MarketKline",
            {
                "category": "spot",
                "symbol": "BTCUSDT",
                "interval": "60",
                "start": MS,
                "end": MS + 86_400_000 - 1,
                "limit": 24,
            },
        )
    ]
    rows = pages[0].rows.to_pylist()
    assert [row["open_time"].hour for row in rows] == [4, 5, 6]
    assert rows[2] == {
        "open_time": MIDNIGHT + timedelta(hours=6),
        "open": Decimal("69222.8"),
        "high": Decimal("69438.8"),
        "low": Decimal("69082.4"),
        "close": Decimal("69372.6"),
        "volume": Decimal("207.404745"),
        "quote_volume": Decimal("14366711.4489978"),
        "trade_count": None,
        "taker_buy_volume": None,
        "taker_buy_quote_volume": None,
    }
    assert pages[-1].until == MIDNIGHT + timedelta(days=1)


def test_a_day_of_minutes_takes_two_pages_and_the_open_minute_is_not_asked_for():
    calls, pages = walked(rest("ohlcv_1m"), answer_of(), answer_of())
    assert [(call.params["start"], call.params["end"], call.params["limit"]) for call in calls] == [
        (MS, MS + 60_000_000 - 1, 1000),
        (MS + 60_000_000, MS + 86_400_000 - 1, 440),
    ]
    assert [page.until for page in pages] == [MIDNIGHT + timedelta(minutes=1000), MIDNIGHT + timedelta(days=1)]
    now = MIDNIGHT + timedelta(minutes=2, seconds=30)
    calls, pages = walked(rest("ohlcv_1m"), answer_of(), now=now)
    assert (calls[0].params["end"], pages[0].until) == (MS + 120_000 - 1, MIDNIGHT + timedelta(minutes=2))


def test_bars_of_inverse_contracts_have_their_base_in_the_turnover():
    row = [str(MS), "17071", "17073", "17027", "17055.5", "268611", "15.74462667"]
    _, pages = walked(rest("ohlcv_1d", "inverse"), answer_of(row))
    found = pages[0].rows.to_pylist()[0]
    assert (found["volume"], found["quote_volume"]) == (Decimal("15.74462667"), Decimal(268611))


@pytest.mark.parametrize(
    ("dataset", "day", "closes"),
    [
        ("ohlcv_1w", date(2026, 2, 2), datetime(2026, 2, 9, tzinfo=UTC)),
        ("ohlcv_1mo", date(2026, 2, 1), datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_long_bar_is_asked_for_when_it_is_closed(dataset, day, closes):
    opens = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    row = [str(opens), "1", "3", "1", "2", "10", "20"]
    assert walked(rest(dataset), now=closes - timedelta(seconds=1), day=day) == ([], [])
    calls, pages = walked(rest(dataset), answer_of(row), now=closes, day=day)
    assert calls[0].params["interval"] == {"ohlcv_1w": "W", "ohlcv_1mo": "M"}[dataset]
    assert pages[0].rows["close"].to_pylist() == [Decimal(2)]


def test_a_missing_funding_event_does_not_lengthen_the_interval():
    events = [
        {"fundingRate": "0.0001", "fundingRateTimestamp": str(MS + hour * 3_600_000)} for hour in (32, 24, 16, 0, -8)
    ]
    _, pages = walked(rest("funding_rates", "linear"), answer_of(*events))
    rows = pages[0].rows.to_pylist()
    assert [(row["funding_time"].hour, row["funding_interval_hours"]) for row in rows] == [(0, 8), (16, 8)]


def test_funding_is_for_the_shorter_of_the_hours_around_it():
    events = [
        {"symbol": "BTCUSDT", "fundingRate": rate, "fundingRateTimestamp": str(MS + hour * 3_600_000)}
        for hour, rate in ((20, "-0.0001"), (16, "0.00012345"), (8, "0.0001"), (0, "0.0001"), (-8, "0.0001"))
    ]
    calls, pages = walked(rest("funding_rates", "linear"), answer_of(*events))
    assert dict(calls[0].params) == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "startTime": MS - 86_400_000,
        "endTime": MS + 2 * 86_400_000 - 1,
        "limit": 200,
    }
    rows = pages[0].rows.to_pylist()
    assert [(row["funding_time"].hour, row["funding_rate"], row["funding_interval_hours"]) for row in rows] == [
        (0, Decimal("0.0001"), 8),
        (8, Decimal("0.0001"), 8),
        (16, Decimal("0.00012345"), 4),
        (20, Decimal("-0.0001"), 4),
    ]
    assert pages[0].until == MIDNIGHT + timedelta(days=1)


def trade(ms: int, uid: str, size: str = "1", side: str = "Buy") -> dict[str, str]:
    return {"execId": uid, "price": "2", "size": size, "side": side, "time": str(ms)}


def test_recorded_trades_are_read_and_do_not_reach_the_beginning_of_their_day(realdata):
    with pytest.raises(PermanentError, match=r"found the newest 60 only \(from 2026-02-08 06:19:12 UTC on\)"):
        walked(rest("trades"), recorded(realdata, "fetch_trades"))
    reached = MIDNIGHT + timedelta(hours=6, minutes=19, seconds=13)
    _, pages = walked(rest("trades"), recorded(realdata, "fetch_trades"), until=reached)
    assert [(row["trade_time"], row["price"], row["amount"], row["side"]) for row in rows_of(pages[0].rows)] == [
        (1770531557701000, Decimal("69372.5"), Decimal("0.0045"), "sell"),
        (1770531559350000, Decimal("69372.6"), Decimal("0.000015"), "buy"),
    ]


def test_trades_that_reach_behind_midnight_prove_the_day_so_far():
    page = answer_of(trade(MS + 5, "c"), trade(MS + 1, "b", "3", "Sell"), trade(MS + 1, "a"), trade(MS - 1, "z"))
    now = MIDNIGHT + timedelta(minutes=1)
    calls, pages = walked(rest("trades", "linear"), page, now=now)
    assert dict(calls[0].params) == {"category": "linear", "symbol": "BTCUSDT", "limit": 1000}
    assert pages[0].until == now
    found = pages[0].rows
    assert found["amount"].to_pylist() == [1, 3, 1]
    assert found["trade_uid"].to_pylist() == ["a", "b", "c"]
    assert found["trade_place"].to_pylist() == [0, 1, 0]


def test_the_oldest_instant_of_a_page_may_be_cut_and_is_not_taken():
    page = answer_of(trade(MS + 9, "c"), trade(MS + 5, "b"))
    _, pages = walked(rest("trades", "linear"), page, until=MIDNIGHT + timedelta(milliseconds=6))
    assert rows_of(pages[0].rows)[0]["trade_time"] == (MS + 9) * 1000
    with pytest.raises(PermanentError):
        walked(rest("trades", "linear"), page, until=MIDNIGHT + timedelta(milliseconds=5))


def test_trades_of_inverse_contracts_are_in_base():
    page = answer_of(trade(MS + 1, "b", "3"), trade(MS - 1, "a"))
    _, pages = walked(rest("trades", "inverse"), page)
    row = pages[0].rows.to_pylist()[0]
    assert (row["amount"], row["quote_amount"]) == (Decimal("1.5"), 3)


@pytest.mark.parametrize(
    ("dataset", "answer"),
    [
        ("ohlcv_1d", {"retCode": 10006, "retMsg": "Too many visits", "result": {}}),
        ("ohlcv_1d", {"retCode": 0, "result": {}}),
        ("ohlcv_1d", []),
        ("ohlcv_1d", None),
        ("ohlcv_1d", answer_of(["1", "2"])),
        ("ohlcv_1d", answer_of([str(MS), "1e5", "1", "1", "1", "1", "1"])),
        ("ohlcv_1d", answer_of(["x", "1", "1", "1", "1", "1", "1"])),
        ("ohlcv_1d", answer_of([f"{MS}.5", "1", "1", "1", "1", "1", "1"])),
        ("trades", answer_of({"price": "1"})),
        ("trades", answer_of(trade(MS - 1, "a"), trade(MS + 1, "b"))),
        ("trades", answer_of(trade(MS + 1, "a", side="None"), trade(MS - 1, "b"))),
        ("funding_rates", answer_of({"fundingRate": "1"})),
    ],
)
def test_an_answer_of_another_form_is_refused(dataset, answer):
    with pytest.raises(BadContent, match="expected"):
        walked(rest(dataset, "linear"), answer)


BAR = [str(MS), "1", "1", "1", "1", "1", "1"]
EVENT = {"fundingRate": "0.0001", "fundingRateTimestamp": str(MS)}


def said(said: dict[str, str], *rows: Any) -> dict[str, Any]:
    return {"retCode": 0, "result": {**said, "list": list(rows)}}


@pytest.mark.parametrize(
    ("dataset", "answer", "found"),
    [
        ("ohlcv_1d", said({"symbol": "ETHUSDT"}, BAR), "rows of BTCUSDT, found those of ETHUSDT"),
        ("ohlcv_1d", said({"symbol": "ETHUSDT"}), "rows of BTCUSDT, found those of ETHUSDT"),
        ("ohlcv_1d", said({"category": "inverse"}, BAR), "category linear, found inverse"),
        ("ohlcv_1w", said({"symbol": "ETHUSDT"}, BAR), "rows of BTCUSDT, found those of ETHUSDT"),
        ("funding_rates", said({}, EVENT, EVENT | {"symbol": "ETHUSDT"}), "rows of BTCUSDT, found those of ETHUSDT"),
        ("funding_rates", said({"category": "spot"}, EVENT), "category linear, found spot"),
        (
            "trades",
            said({}, trade(MS + 1, "b"), trade(MS - 1, "a") | {"symbol": "BTCPERP"}),
            "rows of BTCUSDT, found those of BTCPERP",
        ),
        ("trades", said({"category": "spot"}, trade(MS - 1, "a")), "category linear, found spot"),
    ],
)
def test_rows_of_another_symbol_or_category_are_refused(dataset, answer, found):
    day = date(2026, 2, 2) if dataset == "ohlcv_1w" else DAY
    now = LATER + timedelta(days=7)
    with pytest.raises(BadContent, match=f"expected {found}"):
        walked(rest(dataset, "linear"), answer, day=day, now=now)


def test_the_clock_is_read_to_the_microsecond():
    feed = rest("trades")
    answer = {
        "retCode": 0,
        "result": {"timeSecond": "1688639403", "timeNano": "1688639403423213947"},
        "time": 1688639403423,
    }
    assert feed.clock() is not None
    assert feed.clock_time(answer) == datetime(2023, 7, 6, 10, 30, 3, 423213, UTC)


def test_questions_about_a_symbol():
    bars, trades = rest("ohlcv_1h", "linear"), rest("trades", "linear")
    assert bars.status_of("BTC/USDT:USDT", answer_of({"symbol": "BTCUSDT", "status": "Closed"})) == "Closed"
    assert bars.status_of("BTC/USDT:USDT", answer_of()) is None
    assert [bars.has_ended(status) for status in ("Trading", "PreLaunch", "Closed", "Delivering", None)] == [
        *(False, False),
        *(True, True, True),
    ]
    weeks = answer_of(
        [str(MS + 2), *"12345", "0"], [str(MS + 1), *"12345", "0"], [str(MS), "1", "1", "1", "1", "0", "0"]
    )
    btc, eth = "BTC/USDT:USDT", "ETH/USDT:USDT"
    of_weeks, one_trade = owned(bars, weeks), owned(trades, answer_of(trade(MS + 7, "a")))
    assert bars.row_time(btc, of_weeks) == MIDNIGHT
    assert trades.row_time(btc, of_weeks) == MIDNIGHT + timedelta(milliseconds=1)
    assert trades.row_time(btc, owned(trades, answer_of())) is None
    assert trades.row_time(btc, one_trade) == MIDNIGHT + timedelta(milliseconds=7)
    for feed, answer in ((bars, of_weeks), (trades, of_weeks), (trades, one_trade)):
        with pytest.raises(BadContent, match="expected rows of ETHUSDT, found those of BTCUSDT"):
            feed.row_time(eth, answer)
    assert rest("funding_rates", "linear").first_row("BTC/USDT:USDT") is None


def test_every_timeframe_has_its_word_of_the_documentation():
    words = {"1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M"}
    assert set(INTERVALS.values()) == words
