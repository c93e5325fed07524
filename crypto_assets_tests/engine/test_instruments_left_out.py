"""What an exchange says of one instrument in two ways costs no other instrument, and ends none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.responses import Response

from crypto_assets.cli.commands.instruments import in_words
from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.instruments import Looked, refresh_instruments
from crypto_assets.ledger.instruments import instruments_at
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.conftest import OddServer

NOW = datetime(2024, 1, 20, 12, tzinfo=UTC)
Row = dict[str, Any]


def pair(altname: str, wsname: str, **more: Any) -> Row:
    """Return a pair as Kraken tells it."""
    steps = {"pair_decimals": 5, "lot_decimals": 8, "tick_size": "0.01", "status": "online"}
    return {"aclass_base": "currency", "altname": altname, "wsname": wsname, **steps, **more}


def contract(name: str, status: str, launch: int = 1_600_000_000, delivery: int = 0, tick_size: str = "0.1") -> Row:
    """Return a perpetual contract in USDT as Bybit tells it; seconds since 1970."""
    return {
        "symbol": name,
        "contractType": "LinearPerpetual",
        "status": status,
        "baseCoin": name.removesuffix("USDT"),
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "launchTime": str(launch * 1000),
        "deliveryTime": str(delivery * 1000),
        "priceFilter": {"tickSize": tick_size},
        "lotSizeFilter": {"qtyStep": "0.01"},
    }


class Exchange:
    """An exchange that answers with `rows`, and what is recorded of its answers, a day after each other."""

    def __init__(self, serve: Callable[..., OddServer], ledger: Ledger, exchange: str, market_type: str) -> None:
        self.rows: Sequence[Row] = ()
        self._ledger, self._market, self._days = ledger, (exchange, market_type), 0
        symbol = "BTC/USD" if market_type == "spot" else "BTC/USDT:USDT"
        budget = "public" if exchange == "kraken" else "rest"
        entry = {"exchange": exchange, "market_type": market_type, "symbols": [symbol], "start": "2024-01-01"}
        self._collection: Collection = parse_collection(
            {
                "exchanges": {exchange: {"rest_url": serve(self._answer).url, "limits": {budget: ["1000/s"]}}},
                "series": [{**entry, "datasets": ["trades"]}],
            }
        )

    async def _answer(self, request: Any) -> Response:
        found: Mapping[str, Any]
        if self._market[0] == "kraken":
            found = {"error": [], "result": {row["altname"]: row for row in self.rows}}
        else:
            ended = request.query_params.get("status") == "Closed"
            rows = [row for row in self.rows if (row["status"] == "Closed") == ended]
            found = {"retCode": 0, "result": {"category": "linear", "list": rows, "nextPageCursor": ""}}
        return Response(json.dumps(found), media_type="application/json")

    def look(self, *rows: Row) -> Looked:
        self.rows = rows
        self._days += 1
        (found,) = refresh_instruments(self._collection, self._ledger, [self._market], now=self._now)
        assert found.problem == ""
        return found

    def known(self) -> dict[str, tuple[str, str, bool]]:
        """Return the name, the step of prices and whether it is valid now, of each symbol."""
        with self._ledger.transaction() as connection:
            found = instruments_at(connection, *self._market, self._now)
        return {
            symbol: (one.instrument.exchange_symbol, f"{one.instrument.tick_size:f}", one.valid_until is None)
            for symbol, one in found.items()
        }

    @property
    def _now(self) -> datetime:
        return NOW + timedelta(days=self._days)


@pytest.fixture
def ledger(postgres_url: str) -> Any:
    migrate(postgres_url)
    with Ledger(postgres_url) as found:
        yield found


@pytest.fixture
def kraken(serve: Callable[..., OddServer], ledger: Ledger) -> Exchange:
    return Exchange(serve, ledger, "kraken", "spot")


@pytest.fixture
def bybit(serve: Callable[..., OddServer], ledger: Ledger) -> Exchange:
    return Exchange(serve, ledger, "bybit", "linear")


def test_a_symbol_that_gets_a_second_name_is_not_gone_and_stays_as_it_was_known(kraken: Exchange) -> None:
    btc, eth = pair("XBTUSD", "XBT/USD"), pair("ETHUSD", "ETH/USD")
    kraken.look(btc, eth)
    found = kraken.look(btc, pair("BTCUSD", "BTC/USD", tick_size="0.5"), {**eth, "tick_size": "0.02"})
    assert (found.twice, found.changes.gone, found.changes.changed) == (["BTC/USD"], (), ("ETH/USD",))
    assert kraken.known() == {"BTC/USD": ("XBTUSD", "0.01", True), "ETH/USD": ("ETHUSD", "0.02", True)}
    assert "left out, because two names have it: BTC/USD" in in_words(found)
    # Once one name has it, it is the symbol's name; the other one is gone.
    found = kraken.look(pair("BTCUSD", "BTC/USD", tick_size="0.5"), eth)
    assert found.twice == []
    assert kraken.known()["BTC/USD"] == ("BTCUSD", "0.5", True)
    assert kraken.look(btc).changes.gone == ("BTC/USD", "ETH/USD")


@pytest.mark.parametrize(
    "again",
    [
        (contract("FTTUSDT", "Closed", delivery=1_668_000_000), contract("FTTUSDT", "Closed", delivery=1_740_000_000)),
        (contract("FTTUSDT", "Trading"), contract("FTTUSDT", "PreLaunch", 1_900_000_000)),
    ],
    ids=["ended twice", "not ended twice"],
)
def test_a_name_with_two_contents_is_left_out_and_the_others_are_refreshed(
    bybit: Exchange, again: tuple[Row, Row]
) -> None:
    bybit.look(contract("BTCUSDT", "Trading"), contract("FTTUSDT", "Trading", tick_size="0.7"))
    found = bybit.look(contract("BTCUSDT", "Trading", tick_size="0.2"), *again, contract("ETHUSDT", "Trading"))
    assert (found.repeated, found.twice, found.odd) == (["FTTUSDT"], [], [])
    assert (found.changes.added, found.changes.changed, found.changes.gone) == (
        ("ETH/USDT:USDT",),
        ("BTC/USDT:USDT",),
        (),
    )
    assert bybit.known() == {
        "BTC/USDT:USDT": ("BTCUSDT", "0.2", True),
        "ETH/USDT:USDT": ("ETHUSDT", "0.1", True),
        "FTT/USDT:USDT": ("FTTUSDT", "0.7", True),
    }
    assert "left out, because it is told twice with two contents: FTTUSDT" in in_words(found)


def test_of_a_name_with_two_contents_the_one_that_has_not_ended_is_kept(bybit: Exchange) -> None:
    found = bybit.look(contract("FTTUSDT", "Closed", tick_size="0.3"), contract("FTTUSDT", "Trading", tick_size="0.7"))
    assert (found.repeated, bybit.known()) == ([], {"FTT/USDT:USDT": ("FTTUSDT", "0.7", True)})


def test_a_name_that_is_left_out_does_not_keep_a_symbol_that_another_name_has_now(kraken: Exchange) -> None:
    kraken.look(pair("XBTUSD", "XBT/USD"), pair("ETHUSD", "ETH/USD"))
    found = kraken.look(
        pair("XBTUSD", "XBT/USD", lot_decimals="x"), pair("BTCUSD", "BTC/USD"), pair("ETHUSD", "ETH/USD")
    )
    assert found.odd == ["XBTUSD"]
    assert kraken.known()["BTC/USD"] == ("BTCUSD", "0.01", True)
    assert "left out, because it cannot be read: XBTUSD" in in_words(found)
