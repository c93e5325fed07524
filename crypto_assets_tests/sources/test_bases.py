"""The bases of sources: what an exchange gets without saying it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument, Series, Span
from crypto_assets.sources.answer_symbol import require_name
from crypto_assets.sources.dated_files import DatedFiles
from crypto_assets.sources.instruments import InstrumentList, instant_of
from crypto_assets.sources.pair_names import faithful, splits
from crypto_assets.sources.rest_query import RestQuery, clock_of, state_in
from crypto_assets.sources.source_defaults import SourceDefaults

SERIES = Series.named("binance", "spot", "trades")


class Files(DatedFiles):
    """A tree whose keys have the name three times."""

    def key(self, name: str, stamp: str) -> str:
        return f"a.b/{name}/{name}_{stamp}/{name}.csv"

    def is_ours(self, name: str) -> bool:
        return name != "OTHER"


def test_keys_and_days_of_dated_files_say_the_same() -> None:
    daily, monthly = Files(SERIES, "daily"), Files(SERIES, "monthly")
    day, month = "a.b/币安人生USDT/币安人生USDT_2024-02-29/币安人生USDT.csv", "a.b/BTC/BTC_2024-02/BTC.csv"
    assert daily.keys("币安人生USDT", date(2024, 2, 29)) == (day,)
    assert daily.covers(day) == Span.of_days(date(2024, 2, 29), date(2024, 2, 29))
    assert monthly.keys("BTC", date(2024, 2, 29)) == (month,)
    assert monthly.covers(month) == Span.of_days(date(2024, 2, 1), date(2024, 2, 29))


@pytest.mark.parametrize(
    "key",
    [
        "a.b/BTC/BTC_2024-02/BTC.csv",
        "a.b/BTC/ETH_2024-02-01/BTC.csv",
        "axb/BTC/BTC_2024-02-01/BTC.csv",
        "a.b/BTC/BTC_2024-02-30/BTC.csv",
        "a.b/OTHER/OTHER_2024-02-01/OTHER.csv",
    ],
)
def test_a_key_that_is_no_file_of_the_series_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"expected a key like a\.b/SYMBOL|day is out of range"):
        Files(SERIES, "daily").covers(key)


def test_contracts_end_at_8_utc_of_the_day_in_their_symbol() -> None:
    ends = SourceDefaults().expires_at
    assert ends("BTC/USD:BTC-240628") == datetime(2024, 6, 28, 8, tzinfo=UTC)
    assert [ends(symbol) for symbol in ("BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC-241399")] == [None] * 3
    usual = SourceDefaults()
    assert (usual.bans, usual.archive_bans, usual.banned_together) == ({403}, frozenset(), frozenset())


class Listed(InstrumentList):
    """Instruments of rows with a name and a base."""

    market_type, exchange, ccxt_id, key_advice = "spot", "binance", "", ""
    what, name_field, expected = "symbols", "name", "a name and a base"

    def rows(self, answer: Any) -> list[Any]:
        return list(answer)

    def instrument(self, row: Any) -> Instrument | None:
        return (
            None
            if row["base"] == "-"
            else Instrument("binance", "spot", f"{row['base']}/X", row["name"], row["base"], "X")
        )


def test_a_list_of_instruments_leaves_odd_rows_out_by_name() -> None:
    rows = [{"name": "AX", "base": "A"}, {"name": "ODD"}, {"name": "NOT OURS", "base": "-"}]
    assert [one.symbol for one in Listed().read(rows)] == ["A/X"]
    assert Listed().left_out(rows) == ["ODD"]
    with pytest.raises(BadContent, match=r"binance spot symbols: expected a name and a base, found \{'name': 'ODD'\}"):
        Listed().read(rows[1:2])
    assert [instant_of(text) for text in ("", "0", 0)] == [None] * 3
    assert instant_of("1000") == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_common_answers_are_read_or_refused() -> None:
    rows = [{"id": "A", "state": "live"}, {"id": "B", "other": "halt"}]
    assert state_in("states", rows, ("id", "A"), ("state",)) == "live"
    assert state_in("states", rows, ("id", "B"), ("state", "other")) == "halt"
    assert state_in("states", rows, ("id", "C"), ("state",)) is None
    for odd in ([{"name": "A"}], [7], [{"id": "A"}]):
        with pytest.raises(BadContent, match="states: expected rows with id and state"):
            state_in("states", odd, ("id", "A"), ("state",))
    assert clock_of("time", {"t": 5}, lambda told: datetime.fromtimestamp(told["t"], UTC)).second == 5
    with pytest.raises(BadContent, match="time: expected the exchange's clock"):
        clock_of("time", {}, lambda told: datetime.fromtimestamp(told["t"], UTC))
    feed = RestQuery()
    assert (feed.has_ended(None), feed.has_ended("halt"), feed.first_row("A/X")) == (True, False, None)


def test_names_that_are_not_the_wanted_one_are_refused() -> None:
    require_name("key", "A", [])
    require_name("key", "A", ["A", "A"])
    with pytest.raises(
        BadContent, match="key: expected rows of A, found those of B; nothing of this answer was stored"
    ):
        require_name("key", "A", ["A", "B"])
    with pytest.raises(BadContent, match="key: expected rows of A, found no name"):
        require_name("key", "A", [None])


def test_a_name_is_split_in_each_way_and_only_faithful_symbols_stay() -> None:
    assert splits("AVAXUSD", ("USD", "XUSD", "EUR")) == [("AVA", "XUSD"), ("AVAX", "USD")]
    assert splits("USD", ("USD",)) == []
    texts = ["AVA/XUSD", "avax/usd", "A:/B", "AVAX/USD"]
    assert faithful("spot", "AVAXUSD", texts, lambda symbol: symbol.replace("/", "")) == ("AVA/XUSD", "AVAX/USD")
    assert faithful("spot", "AVAXUSD", texts, lambda symbol: symbol) == ()
