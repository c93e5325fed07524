"""Names of an archive as symbols: what is certain, what another name proves, and what stays out."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from crypto_assets import sources
from crypto_assets.config.collection import parse_collection
from crypto_assets.engine.archive.listed_names import ReadNames, life_in_archive, read_names
from crypto_assets.model import Series, Track
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sandbox.world import World
from crypto_assets.transport.client import Client


def read(exchange: str, market_type: str, names: list[str], named: dict[str, str] | None = None) -> ReadNames:
    return read_names(names, named or {}, lambda name: sources.get(exchange).symbols(market_type, name))


@pytest.mark.parametrize(
    ("exchange", "name", "ways"),
    [
        ("bybit", "AVAXUSD", ("AVA/XUSD", "AVAX/USD")),
        ("kraken", "CURLUSD", ("CU/RLUSD", "CURL/USD")),
        ("binance", "BTCBUSD", ("BTC/BUSD", "BTCB/USD")),
    ],
)
def test_a_name_that_can_be_read_in_two_ways_is_undecided_until_one_base_is_known_alone(
    exchange: str, name: str, ways: tuple[str, str]
) -> None:
    short, long = (way.partition("/")[0] for way in ways)
    assert read(exchange, "spot", [name]) == ReadNames({}, (), {name: ways})
    both = read(exchange, "spot", [name, f"{short}EUR", f"{long}EUR"])
    assert both.undecided == {name: ways}
    assert set(both.symbols) == {f"{short}/EUR", f"{long}/EUR"}
    for base, way in zip((short, long), ways, strict=True):
        found = read(exchange, "spot", [name, f"{base}EUR"])
        assert found == ReadNames({f"{base}/EUR": f"{base}EUR", way: name})
        assert read(exchange, "spot", [name, f"{short}EUR", f"{long}EUR"], {name: way}).symbols[way] == name


def test_two_names_of_one_symbol_never_take_each_others_place() -> None:
    found = read("bybit", "linear", ["BTCPERP", "BTCUSDC", "BTCUSDT"])
    assert found == ReadNames({"BTC/USDC:USDC": "BTCPERP", "BTC/USDT:USDT": "BTCUSDT"}, ("BTCUSDC",))
    found = read("kraken", "spot", ["XBTUSD", "XXBTZUSD"])
    assert found == ReadNames({"BTC/USD": "XBTUSD"}, ("XXBTZUSD",))
    # An instrument says that another name has the symbol now.
    found = read("binance", "spot", ["ABCUSDT", "OTHER"], {"OTHER": "ABC/USDT"})
    assert found == ReadNames({"ABC/USDT": "OTHER"}, ("ABCUSDT",))


@pytest.mark.realdata
def test_every_name_of_a_real_listing_is_decided(realdata: Path) -> None:
    """151 of these 1,559 names can be read in several ways by themselves."""
    with (realdata / "listing/spot_earliest_dates.csv").open() as lines:
        names = [row["symbol"] for row in csv.DictReader(lines)]
    found = read("binance", "spot", names)
    assert (len(found.symbols), found.unread, found.undecided) == (1_559, (), {})
    assert {name: symbol for symbol, name in found.symbols.items()}["BTCFDUSD"] == "BTC/FDUSD"
    assert sum(len(sources.get("binance").symbols("spot", name)) > 1 for name in names) == 151


def test_a_universe_names_what_it_leaves_out() -> None:
    from crypto_assets.engine.universe import Refreshed

    (line,) = Refreshed("bybit", "spot", undecided={"AVAXUSD": ("AVA/XUSD", "AVAX/USD")}).in_words()
    assert line.startswith("bybit spot: left out, because a listed name can be read in several ways; ")
    assert line.endswith("1 (AVAXUSD (AVA/XUSD or AVAX/USD))")


def test_the_beginning_of_an_archive_is_no_first_day_of_a_symbol(client: Client) -> None:
    first, last = date(2024, 1, 2), date(2024, 1, 4)
    world = World({"spot": {"BTCUSDT": (first, last)}}, trades_per_day=2, now=datetime(2024, 1, 20, tzinfo=UTC))
    with SandboxServer(world) as server:  # type: ignore[arg-type]

        def life(exchange: str) -> tuple[date | None, date | None]:
            part = {
                "exchange": exchange,
                "market_type": "spot",
                "datasets": ["trades"],
                "symbols": ["BTC/USDT"],
                "start": first,
            }
            collection = parse_collection({"exchanges": {exchange: server.urls(exchange)}, "series": [part]})
            track = Track(Series.named(exchange, "spot", "trades"), "BTC/USDT")
            return life_in_archive(client, collection, track, world.time)

        assert sources.archives(Series.named("okx", "spot", "trades"))[0].since == date(2021, 9, 1)
        assert life("okx") == (None, last)
        assert life("bybit") == (first, last)
