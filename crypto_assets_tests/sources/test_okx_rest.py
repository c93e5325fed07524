"""OKX over REST: recorded answers are read digit for digit, and a day of trades is walked downwards without a hole."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crypto_assets import datasets
from crypto_assets.engine.rest.ccxt_client import read_json
from crypto_assets.errors import BadContent, PermanentError
from crypto_assets.model import Instrument, Partition, Series
from crypto_assets.sources.feeds import Call, Page
from crypto_assets.sources.okx import SOURCE
from crypto_assets.sources.okx.instruments import OkxInstruments
from crypto_assets.sources.okx.rest import OkxRest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = date(2024, 1, 31)
START = datetime(2024, 1, 31, tzinfo=UTC)
BTC = "BTC/USDT"
TRADES = OkxRest(Series.named("okx", "spot", "trades"), final=False)
HOURS = OkxRest(Series.named("okx", "spot", "ohlcv_1h"), final=True)
MINUTES = OkxRest(Series.named("okx", "spot", "ohlcv_1m"), final=False)
FUNDING = OkxRest(Series.named("okx", "inverse", "funding_rates"), final=False)


def recorded(realdata: Path, name: str) -> Any:
    """Return a recorded answer as our client reads it."""
    path = realdata / "exchanges/okx/rest" / name
    if not path.is_file():
        pytest.skip(f"no recording {path}")
    return json.loads(path.read_text())["http_response"]


def data(*rows: Any) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": list(rows)}


def at(milliseconds: str | int) -> datetime:
    return EPOCH + timedelta(milliseconds=int(milliseconds))


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


# ---- recorded --------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_recorded_trades_are_read_digit_for_digit_oldest_first(realdata: Path) -> None:
    answer = recorded(realdata, "fetch_trades_BTC_USDT.json")
    found = TRADES.rows(BTC, answer).to_pylist()
    assert len(found) == 5
    for row, raw in zip(found, reversed(answer["data"]), strict=True):
        assert (row["trade_id"], row["side"], row["trade_time"]) == (int(raw["tradeId"]), raw["side"], at(raw["ts"]))
        assert (row["price"], row["amount"], row["quote_amount"]) == (Decimal(raw["px"]), Decimal(raw["sz"]), None)
    assert [row["trade_id"] for row in found] == list(range(954514608, 954514613))


@pytest.mark.realdata
def test_recorded_bars_are_read_digit_for_digit_without_the_open_one(realdata: Path) -> None:
    answer = recorded(realdata, "fetch_ohlcv_BTC_USDT.json")
    found = HOURS.rows(BTC, answer).to_pylist()
    closed = [raw for raw in reversed(answer["data"]) if raw[8] == "1"]
    assert (len(found), len(answer["data"])) == (2, 3)
    columns = ("open", "high", "low", "close", "volume", "quote_volume")
    for row, raw in zip(found, closed, strict=True):
        assert row["open_time"] == at(raw[0])
        assert [row[name] for name in columns] == [Decimal(raw[place]) for place in (1, 2, 3, 4, 5, 7)]
        assert (row["trade_count"], row["taker_buy_volume"]) == (None, None)


@pytest.mark.realdata
def test_recorded_instruments_have_their_contract_sizes(realdata: Path) -> None:
    path = realdata / "exchanges/okx/rest/cryptofeed_instruments_OKX.0.raw.gz"
    if not path.is_file():
        pytest.skip(f"no recording {path}")
    answers: dict[str, Any] = {}
    with gzip.open(path, "rt") as lines:
        for line in lines:
            url, arrow, rest = line.partition(" -> ")
            if arrow:
                answers.setdefault(url.rpartition("instType=")[2], read_json(url, rest.partition(": ")[2]))
    spot = {one.symbol: one for one in OkxInstruments("spot").read(answers["SPOT"])}
    linear = {one.symbol: one for kind in ("SWAP", "FUTURES") for one in OkxInstruments("linear").read(answers[kind])}
    inverse = {one.symbol: one for kind in ("SWAP", "FUTURES") for one in OkxInstruments("inverse").read(answers[kind])}
    assert spot[BTC] == Instrument(
        exchange="okx",
        market_type="spot",
        symbol=BTC,
        exchange_symbol="BTC-USDT",
        base="BTC",
        quote="USDT",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.00000001"),
        listed_at=at(1548133413000),
        status="live",
    )
    sizes = {symbol: linear[symbol].contract_size for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT")}
    assert sizes == {"BTC/USDT:USDT": Decimal("0.01"), "ETH/USDT:USDT": Decimal("0.1")}
    perpetual, dated = inverse["BTC/USD:BTC"], inverse["BTC/USD:BTC-220520"]
    assert (perpetual.contract_size, perpetual.inverse, perpetual.settle, perpetual.delisted_at) == (
        100,
        True,
        "BTC",
        None,
    )
    assert (dated.contract_size, dated.delisted_at, dated.listed_at) == (100, at(1653033600000), at(1651824600735))
    # Nothing of ours is left out: every swap is in one of the two.
    swaps = {one["instId"] for one in answers["SWAP"]["data"]}
    assert swaps == {
        one.exchange_symbol for one in (*linear.values(), *inverse.values()) if one.exchange_symbol in swaps
    }


def test_contracts_are_asked_for_in_two_pages() -> None:
    query = OkxInstruments("linear")
    assert query.call().params == {"instType": "SWAP"}
    for answer in (data({"instType": "SWAP"}), data()):  # the call decides: a market without swaps may have futures
        following = query.following(query.call(), answer)
        assert following is not None
        assert following.params == {"instType": "FUTURES"}
        assert query.following(following, answer) is None
    spot = OkxInstruments("spot")
    assert spot.following(spot.call(), data({"instType": "SPOT"})) is None


# ---- symbols ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market_type", "symbol", "name"),
    [
        ("spot", "BTC/USDT", "BTC-USDT"),
        ("linear", "BTC/USDT:USDT", "BTC-USDT-SWAP"),
        ("linear", "BTC/USDC:USDC", "BTC-USDC-SWAP"),
        ("linear", "BTC/USDT:USDT-240628", "BTC-USDT-240628"),
        ("inverse", "BTC/USD:BTC", "BTC-USD-SWAP"),
        ("inverse", "BTC/USD:BTC-240628", "BTC-USD-240628"),
    ],
)
def test_symbols_and_names_lead_to_each_other(market_type: str, symbol: str, name: str) -> None:
    assert SOURCE.exchange_symbol(market_type, symbol) == name
    assert SOURCE.symbols(market_type, name) == (symbol,)
    others = {"spot", "linear", "inverse"} - {market_type}
    assert {SOURCE.symbols(other, name) for other in others} == {()}


@pytest.mark.parametrize(
    "name", ["BTC-USD-260901-74000-P", "BTC", "", "-", "BTC-USD_UM-SWAP", "BTC-USDT-SWAP-X", "BTC-USDT-24062"]
)
def test_options_and_other_names_are_no_symbols(name: str) -> None:
    assert {SOURCE.symbols(market_type, name) for market_type in ("spot", "linear", "inverse")} == {()}


def test_a_dated_contract_ends_at_8_utc() -> None:
    assert SOURCE.expires_at("BTC/USD:BTC-240628") == datetime(2024, 6, 28, 8, tzinfo=UTC)
    assert SOURCE.expires_at("BTC/USD:BTC") is None


# ---- a day of trades -------------------------------------------------------------------------------------------------

Trade = tuple[int, datetime]


def market(trades: Sequence[Trade], served_from: int = 0) -> Callable[[Call], Any]:
    """Return what answers calls for trades as OKX documents it: newest first, 100 a call, both bounds exclusive."""

    def answer(call: Call) -> Any:
        assert call.method == "publicGetMarketHistoryTrades"
        after = int(call.params["after"])
        if call.params["type"] == 2:
            found = [one for one in trades if ms(one[1]) < after]
        else:
            found = [one for one in trades if one[0] < after]
        found = [one for one in found if one[0] >= served_from][-100:][::-1]
        return data(
            *(
                {"instId": "BTC-USDT", "side": "buy", "sz": "1", "px": "2", "tradeId": str(number), "ts": str(ms(time))}
                for number, time in found
            )
        )

    return answer


def walked(
    answer: Callable[[Call], Any],
    now: datetime = START + timedelta(days=2),
    stored: pa.Table | None = None,
    until: datetime | None = None,
) -> tuple[list[Page], list[Call]]:
    stored = datasets.get("trades").schema.empty_table() if stored is None else stored
    walk = TRADES.walk(Partition(BTC, DAY), stored, until, now)
    pages: list[Page] = []
    calls: list[Call] = []
    step = next(walk, None)
    while step is not None:
        if isinstance(step, Page):
            pages.append(step)
            step = next(walk, None)
        else:
            calls.append(step)
            step = walk.send(answer(step))
    return pages, calls


def ids(pages: Sequence[Page]) -> list[int]:
    return [number for page in pages for number in page.rows.column("trade_id").to_pylist()]


def every(seconds: int, first: int, start: datetime, end: datetime) -> list[Trade]:
    count = (end - start) // timedelta(seconds=seconds)
    return [(first + place, start + timedelta(seconds=seconds) * place) for place in range(count)]


def test_a_quiet_day_takes_one_request() -> None:
    trades = every(3600, 500, START - timedelta(hours=5), START + timedelta(hours=30))
    pages, calls = walked(market(trades))
    assert ids(pages) == list(range(505, 529))
    assert [page.until for page in pages] == [START + timedelta(days=1)]
    assert [call.params for call in calls] == [
        {"instId": "BTC-USDT", "type": 2, "after": ms(START + timedelta(days=1)), "limit": 100}
    ]


def test_a_busy_day_is_read_hour_by_hour_without_a_hole() -> None:
    trades = every(20, 7000, START - timedelta(hours=1), START + timedelta(hours=25))
    pages, calls = walked(market(trades))
    assert ids(pages) == list(range(7180, 7180 + 24 * 180))
    assert [page.until for page in pages] == [START + timedelta(hours=hour) for hour in range(1, 25)]
    assert sum(page.missing_ids for page in pages) == 0
    # The newest page is asked for once; each hour has 180 trades, and its second page reaches the hour before.
    assert len(calls) == 24 * 2


def test_today_goes_on_where_it_ended() -> None:
    trades = every(60, 7000, START - timedelta(hours=1), START + timedelta(hours=3))
    first, _ = walked(market(trades), now=START + timedelta(hours=1))
    stored = pa.concat_tables([page.rows for page in first])
    assert ids(first) == list(range(7060, 7120))
    later, calls = walked(market(trades), START + timedelta(hours=2), stored, first[-1].until)
    assert ids(later) == list(range(7120, 7180))
    assert (len(calls), later[-1].until) == (1, START + timedelta(hours=2))
    again, calls = walked(market(trades), START + timedelta(hours=1), stored, first[-1].until)
    assert (ids(again), calls) == ([], [])


def test_ids_that_are_left_out_are_counted() -> None:
    trades = [one for one in every(60, 7000, START - timedelta(hours=1), START + timedelta(hours=25)) if one[0] % 97]
    left_out = [number for number in range(7060, 7060 + 1440) if number % 97 == 0]
    pages, _ = walked(market(trades))
    assert sum(page.missing_ids for page in pages) == len(left_out)
    assert set(range(7060, 7060 + 1440)) - set(ids(pages)) == set(left_out)


def test_the_first_day_of_a_symbol_begins_with_its_first_trade() -> None:
    trades = every(60, 1, START + timedelta(hours=20), START + timedelta(hours=25))
    pages, _ = walked(market(trades))
    assert ids(pages) == list(range(1, 241))
    assert pages[-1].until == START + timedelta(days=1)


def test_trades_that_are_not_served_any_more_are_an_error_not_an_empty_day() -> None:
    trades = every(60, 7000, START - timedelta(hours=1), START + timedelta(hours=25))
    with pytest.raises(PermanentError, match="found none that old"):
        walked(market(trades, served_from=7500))
    with pytest.raises(PermanentError, match="found none that old"):
        walked(market([]))


def test_pages_that_do_not_go_down_are_refused() -> None:
    answer = market(every(20, 7000, START - timedelta(hours=1), START + timedelta(hours=25)))

    def stuck(call: Call) -> Any:
        return answer(
            call if call.params["type"] == 2 else Call(call.method, {"type": 1, "after": 10**9}, call.endpoint)
        )

    with pytest.raises(PermanentError, match="expected numbers below"):
        walked(stuck)


# ---- bars, funding, questions ----------------------------------------------------------------------------------------


def test_a_day_of_minutes_is_asked_for_in_pages_of_a_hundred_between_exclusive_bounds() -> None:
    walk = MINUTES.walk(
        Partition(BTC, DAY), datasets.get("ohlcv").schema.empty_table(), None, START + timedelta(days=2)
    )
    bounds, pages = [], []
    step = next(walk, None)
    while step is not None:
        if isinstance(step, Page):
            pages.append(step)
            step = next(walk, None)
            continue
        assert {name: step.params[name] for name in ("instId", "bar")} == {"instId": "BTC-USDT", "bar": "1m"}
        before, after = int(step.params["before"]), int(step.params["after"])
        bounds.append((before, after))
        times = range(before + 1, after, 60_000)
        step = walk.send(data(*([str(time), "1", "2", "1", "2", "3", "6", "6", "1"] for time in reversed(times))))
    first = ms(START)
    edges = [*range(0, 1440, 100), 1440]
    assert bounds == [(first + a * 60_000 - 1, first + b * 60_000) for a, b in pairwise(edges)]
    times = [time for page in pages for time in page.rows.column("open_time").to_pylist()]
    assert times == [START + timedelta(minutes=minute) for minute in range(1440)]
    assert pages[-1].until == START + timedelta(days=1)


def test_funding_is_the_rate_that_was_paid() -> None:
    events = [
        {"fundingRate": "0.5", "realizedRate": f"0.000{hour}", "fundingTime": str(ms(START) + hour * 3_600_000)}
        for hour in (16, 8, 0, -8)
    ]
    walk = FUNDING.walk(
        Partition("BTC/USD:BTC", DAY),
        datasets.get("funding_rates").schema.empty_table(),
        None,
        START + timedelta(days=2),
    )
    call = next(walk)
    assert isinstance(call, Call)
    assert call.params == {
        "instId": "BTC-USD-SWAP",
        "before": ms(START - timedelta(days=1)) - 1,
        "after": ms(START + timedelta(days=2)),
        "limit": 100,
    }
    page = walk.send(data(*({"instId": "BTC-USD-SWAP", **event} for event in events[:3])))
    assert isinstance(page, Page)
    assert page.rows.to_pylist() == [
        {
            "funding_time": START + timedelta(hours=hour),
            "funding_rate": Decimal(f"0.000{hour}"),
            "funding_interval_hours": 8,
        }
        for hour in (0, 8, 16)
    ]
    assert page.until == START + timedelta(days=1)


def test_the_clock_and_the_state_of_a_symbol() -> None:
    assert TRADES.clock_time(data({"ts": "1706659200123"})) == datetime(2024, 1, 31, 0, 0, 0, 123000, tzinfo=UTC)
    assert TRADES.status(BTC).params == {"instType": "SPOT"}
    answer = data({"instId": "BTC-USDT", "state": "live"}, {"instId": "ETH-USDT", "state": "suspend"})
    assert [TRADES.status_of(symbol, answer) for symbol in (BTC, "ETH/USDT", "SOL/USDT")] == ["live", "suspend", None]
    assert [TRADES.has_ended(state) for state in ("live", "suspend", "preopen", "expired", None)] == [False] * 3 + [
        True
    ] * 2
    assert TRADES.row_time(BTC, data([str(ms(START)), "1"])) == START
    assert TRADES.row_time(BTC, data()) is None
    event = data({"instId": "BTC-USD-SWAP", "fundingTime": str(ms(START))})
    assert FUNDING.row_time("BTC/USD:BTC", event) == START
    with pytest.raises(BadContent, match="expected rows of ETH-USD-SWAP, found those of BTC-USD-SWAP"):
        FUNDING.row_time("ETH/USD:ETH", event)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "expected code 0 with data"),
        ({"code": "51001", "msg": "Instrument ID does not exist", "data": []}, "51001"),
        ({"code": "0", "data": None}, "expected code 0 with data"),
        (data({"instId": "BTC-USDT"}), "expected rows with instId, tradeId"),
        (
            data({"instId": "BTC-USDT", "side": "buy", "sz": 1, "px": "2", "tradeId": "3", "ts": "4"}),
            "every value as text",
        ),
        (
            data({"instId": "X", "side": "buy", "sz": "1", "px": "2", "tradeId": "3", "ts": "1706659200123"}),
            "BTC-USDT alone",
        ),
    ],
)
def test_an_answer_of_another_form_is_refused(answer: Any, words: str) -> None:
    with pytest.raises(BadContent, match=words):
        TRADES.rows(BTC, answer)


def test_bars_without_the_mark_of_a_closed_one_are_refused() -> None:
    with pytest.raises(BadContent, match="expected bars of 9 columns"):
        HOURS.rows(BTC, data(["1706659200000", "1", "1", "1", "1", "1", "1"]))
