"""What filters and days of a command mean."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.config import selection
from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.errors import ConfigError
from crypto_assets.model import Series, days_between
from crypto_assets_tests.workbench import entry

FIRST, TODAY = date(2024, 1, 1), date(2024, 3, 1)
YESTERDAY = TODAY - timedelta(days=1)


def collection_of(*entries: dict[str, Any]) -> Collection:
    default = (
        entry("spot", ["ohlcv_1m", "trades"], ["BTC/USDT", "ETH/USDT"], FIRST),
        entry("linear", ["ohlcv_1m", "funding_rates"], ["BTC/USDT:USDT", "BTC/USDT:USDT-240628"], date(2024, 2, 1)),
    )
    return parse_collection({"series": list(entries or default)})


def symbols_of(*wanted: str) -> set[str]:
    return {symbol for _, pairs in selection.select(collection_of(), symbols=wanted) for _, symbol in pairs}


@pytest.mark.parametrize("text", ["BTC/USDT", "btc/usdt", "BTC-USDT", " btc-usdt "])
def test_a_pair_means_every_market_type(text: str) -> None:
    assert symbols_of(text) == {"BTC/USDT", "BTC/USDT:USDT"}


def test_a_contract_means_only_itself() -> None:
    assert symbols_of("btc/usdt:usdt") == {"BTC/USDT:USDT"}
    assert symbols_of("BTC/USDT:USDT-240628") == symbols_of("BTC-USDT-240628") == {"BTC/USDT:USDT-240628"}
    assert symbols_of("ETH/USDT", "BTC/USDT:USDT") == {"ETH/USDT", "BTC/USDT:USDT"}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("BTCUSDT", "BTC/USDT"),
        ("btc_usdt", "BTC/USDT"),
        ("ETHUSD", "ETH/USDT"),
        ("BTC/USDR", "BTC/USDT"),
        ("ETH/USDT:USDT", "ETH/USDT"),
    ],
)
def test_a_misspelt_symbol_gets_a_near_one(text: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"^--symbol {text}: not in .*; did you mean {meant}\?$"):
        symbols_of(text)
    good, (problem,) = selection.known_symbols(collection_of(), ["BTC/USDT", text])
    assert good == ["BTC/USDT"]
    assert problem.endswith(f"did you mean {meant}?")


def test_a_symbol_like_no_other_gets_the_list() -> None:
    with pytest.raises(ConfigError, match="known: BTC/USDT, BTC/USDT:USDT, BTC/USDT:USDT-240628, ETH/USDT"):
        symbols_of("XRP/EUR")


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        (
            {"market_type": "spot", "datasets": ["funding_rates"]},
            "--dataset funding_rates excludes it, without it: ohlcv_1m, trades",
        ),
        (
            {"market_type": "linear", "symbols": ["ETH/USDT"]},
            "--symbol ETH/USDT excludes it, without it: BTC/USDT:USDT, BTC/USDT:USDT-240628",
        ),
        (
            {"symbols": ["ETH/USDT"], "datasets": ["funding_rates"], "market_type": "linear"},
            "--symbol ETH/USDT excludes it",
        ),
    ],
)
def test_filters_that_match_nothing_together_say_which_one_excludes(filters: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        selection.select(collection_of(), **filters)
    assert says in str(caught.value)
    assert "matches all of these" in str(caught.value)


def clipped(
    first: date | None, last: date | None, *entries: dict[str, Any]
) -> tuple[list[tuple[str, date, date]], str]:
    collection = collection_of(*entries)
    requests, note = selection.clip(collection, selection.select(collection), first, last, TODAY)
    return [(request.entry.market_type, request.first, request.last) for request in requests], note


def test_days_outside_the_entries_are_left_out_and_one_line_says_so() -> None:
    assert clipped(date(2010, 1, 1), date(2030, 1, 1)) == (
        [("spot", FIRST, YESTERDAY), ("linear", date(2024, 2, 1), YESTERDAY)],
        (
            "--from 2010-01-01 --to 2030-01-01: some of these days are left out: binance spot starts on 2024-01-01; "
            "2024-02-29 is the last day that has ended in UTC; binance linear starts on 2024-02-01"
        ),
    )
    assert clipped(date(2024, 1, 5), None) == (
        [("spot", date(2024, 1, 5), YESTERDAY), ("linear", date(2024, 2, 1), YESTERDAY)],
        "--from 2024-01-05: some of these days are left out: binance linear starts on 2024-02-01",
    )
    assert clipped(date(2024, 2, 1), YESTERDAY)[1] == ""


def test_entries_of_one_market_are_told_apart() -> None:
    bars = entry("spot", ["ohlcv_1m"], ["BTC/USDT"], FIRST, end=date(2024, 1, 31))
    found, note = clipped(FIRST, date(2024, 2, 2), bars, entry("spot", ["trades"], ["BTC/USDT"], FIRST))
    assert [last for _, _, last in found] == [date(2024, 1, 31), date(2024, 2, 2)]
    assert note.endswith("left out: binance spot ohlcv_1m ends on 2024-01-31")


def test_without_days_that_can_be_asked_for_it_is_an_error_only_where_days_were_named() -> None:
    later = entry("spot", ["ohlcv_1m"], ["BTC/USDT"], TODAY + timedelta(days=3))
    assert clipped(None, None, later) == ([], "")
    with pytest.raises(ConfigError, match=r"^--from 2024-02-01: no day is left; binance spot starts on 2024-03-04$"):
        clipped(date(2024, 2, 1), None, later)
    with pytest.raises(ConfigError, match="expected --from on or before --to"):
        clipped(date(2024, 2, 2), date(2024, 2, 1))


# ---- few runs for many gaps ------------------------------------------------------------------------------------------

ENTRY = collection_of().series[0]
BARS = Series("binance", "spot", "ohlcv", "1m")


def requested(missing: set[tuple[str, date]]) -> list[selection.Request]:
    return selection.as_few_requests(ENTRY, [(BARS, symbol, day) for symbol, day in sorted(missing)])


def test_symbols_that_miss_the_same_days_are_one_request() -> None:
    days = days_between(FIRST, date(2024, 1, 31))
    (request,) = requested({(f"S{n}/USDT", day) for n in range(300) for day in days})
    assert (len(request.tracks), request.first, request.last) == (300, days[0], days[-1])


def test_symbols_that_each_miss_other_days_are_as_many_requests_as_days_at_most() -> None:
    days = days_between(FIRST, FIRST + timedelta(days=19))
    missing = {(f"S{n}/USDT", day) for n in range(1000) for k, day in enumerate(days) if (n >> (k % 10)) & 1}
    assert len(requested(missing)) <= 20


@given(st.sets(st.tuples(st.sampled_from(["A/USDT", "B/USDT", "C/USDT"]), st.integers(0, 30)), max_size=60))
def test_requests_ask_for_exactly_what_is_missing_once(drawn: set[tuple[str, int]]) -> None:
    missing = {(symbol, FIRST + timedelta(days=number)) for symbol, number in drawn}
    asked = [
        (symbol, day)
        for request in requested(missing)
        for _, symbol in request.tracks
        for day in days_between(request.first, request.last)
    ]
    assert sorted(asked) == sorted(missing)
