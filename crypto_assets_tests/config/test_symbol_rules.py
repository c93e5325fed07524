"""Symbols by rule in collection.yaml: what is accepted, what it means, and what is refused."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from crypto_assets.config.collection import parse_collection
from crypto_assets.config.selection import without_symbols
from crypto_assets.config.symbol_rules import SymbolRule
from crypto_assets.errors import ConfigError

LISTED = ["BTC/USDT", "BTC/USDC", "ETH/USDT", "币安人生/USDT", "BTCDOM/USDT"]
TOP = "5 by quote volume"
CONTRACTS = ["BTC/USDT:USDT", "BTC/USDT:USDT-240628", "BTC/USDC:USDC", "1000PEPE/USDT:USDT"]


def entry(**given: Any) -> dict[str, Any]:
    usual = {"exchange": "binance", "market_type": "spot", "datasets": ["ohlcv_1m"], "start": "2024-01-01"}
    return usual | given


def rule(symbols: Any, **more: Any) -> SymbolRule:
    (one,) = parse_collection({"series": [entry(symbols=symbols, **more)]}).series
    assert one.rule is not None
    return one.rule


@pytest.mark.parametrize(
    ("symbols", "market_type", "chosen"),
    [
        ("all", "spot", LISTED),
        (["*"], "spot", LISTED),
        (["*/USDT"], "spot", ["BTC/USDT", "ETH/USDT", "币安人生/USDT", "BTCDOM/USDT"]),
        (["btc-*"], "spot", ["BTC/USDT", "BTC/USDC"]),
        (["BTC*/USDT", "ETH/*"], "spot", ["BTC/USDT", "ETH/USDT", "BTCDOM/USDT"]),
        (["*/USDT"], "linear", ["BTC/USDT:USDT", "BTC/USDT:USDT-240628", "1000PEPE/USDT:USDT"]),
        (["BTC/*:USDC"], "linear", ["BTC/USDC:USDC"]),
        (["1000*/USDT"], "linear", ["1000PEPE/USDT:USDT"]),
    ],
)
def test_a_rule_chooses_among_listed_symbols(symbols, market_type, chosen):
    found = rule(symbols, market_type=market_type)
    assert found.of(LISTED if market_type == "spot" else CONTRACTS) == chosen


def test_named_symbols_stand_beside_patterns_and_are_ranked_with_a_top():
    (both,) = parse_collection({"series": [entry(symbols=["SOL/USDT", "*/EUR"])]}).series
    assert (both.symbols, str(both.rule)) == (["SOL/USDT"], "*/EUR")
    (top,) = parse_collection({"series": [entry(symbols=["SOL/EUR", "*/EUR"], top="5 by quote volume")]}).series
    assert (top.symbols, str(top.rule)) == ([], "top 5 by quote volume of */EUR, SOL/EUR")
    (named,) = parse_collection({"series": [entry(symbols=["SOL/USDT"])]}).series
    assert named.rule is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"symbols": "every"},
            "expected `all` or a list of symbols and patterns such as */USDT, found 'every'",
        ),
        ({"symbols": ["*USDT"]}, "pattern '*USDT': expected the form */USDT, BTC/*, 1000*/USDT or *"),
        ({"symbols": ["[AB]*/USDT"]}, "pattern '[AB]*/USDT': expected the form */USDT, BTC/*, 1000*/USDT or *; only *"),
        ({"symbols": ["*/usd?"]}, "pattern '*/usd?': expected the form */USDT"),
        ({"symbols": ["{BTC,ETH}/*"]}, "pattern '{BTC,ETH}/*': expected the form */USDT"),
        ({"symbols": ["*/USDT:USDT"]}, "pattern '*/USDT:USDT': a spot symbol has no settle currency; write */USDT"),
        ({"symbols": "all", "top": TOP}, "top: expected symbols of one quote currency, such as */USDT"),
        ({"symbols": "all", "top": TOP}, "found all; write one entry for each quote currency"),
        ({"symbols": ["BTC/*"], "top": TOP}, "cannot be compared; found BTC/*; write one entry"),
        ({"symbols": ["*/USD*"], "top": TOP}, "cannot be compared; found */USD*; write one entry"),
        ({"symbols": ["SOL/USDT", "*/EUR"], "top": TOP}, "cannot be compared; found */EUR, SOL/USDT; write one entry"),
        (
            {"symbols": ["*/USD"], "top": TOP, "exchange": "kraken"},
            "top: expected a source whose bars have a quote volume, found kraken spot, whose bars have none; leave `top` out",
        ),
        ({"symbols": ["*/USDT", "*/usdt"]}, "symbols: */USDT is listed twice here"),
        ({"symbols": "all", "top": "50"}, "expected a number of symbols such as `50 by quote volume`, found '50'"),
        ({"symbols": "all", "top": "0 by quote volume"}, "found '0 by quote volume'"),
        ({"symbols": "all", "top": "5 by market cap"}, "found '5 by market cap'"),
    ],
)
def test_another_form_is_refused(given, message):
    with pytest.raises(ConfigError) as caught:
        parse_collection({"series": [entry(**given)]})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("symbols", "more"),
    [
        (["BTC/USDT", "ETH*/USDT"], {}),
        (["*/USDT", "1000*/USDT:USDT"], {"market_type": "linear"}),
        (["*/USD"], {"market_type": "inverse"}),
        (["*/USDT"], {"exchange": "okx"}),
        (["*/USDT"], {"exchange": "bybit"}),
    ],
)
def test_a_top_is_accepted_where_all_volumes_are_in_one_currency(symbols, more):
    assert rule(symbols, top=TOP, **more).top == 5


def test_an_entry_that_has_no_symbol_counts_where_the_filters_may_mean_it():
    collection = parse_collection({"series": [entry(symbols=["*/USDT"], name="usdt", end="2024-02-01")]})
    empty = collection.with_series([collection.series[0].with_symbols([])])

    def named(*days: date, **filters: Any) -> list[str]:
        return [one.name or "" for one in without_symbols(empty, *days, **filters)]

    assert (
        named() == named(symbols=["btc-usdt"]) == named(datasets=["ohlcv_1m"]) == named(exchange="binance") == ["usdt"]
    )
    assert named(date(2024, 2, 1), date(2024, 2, 9)) == ["usdt"]
    assert named(symbols=["BTC/EUR"]) == named(symbols=["no symbol"]) == named(symbols=["BTC/USDT:USDT"]) == []
    assert named(market_type="linear") == named(exchange="okx") == named(datasets=["trades"]) == []
    assert named(date(2024, 2, 2)) == named(last=date(2023, 12, 31)) == []


def test_entries_that_may_share_a_symbol_have_all_datasets_in_common_or_none():
    named = entry(symbols=["BTC/USDT"], datasets=["ohlcv_1m", "trades"])
    assert parse_collection({"series": [named, entry(symbols="all")]})
    assert parse_collection({"series": [entry(symbols="all"), entry(symbols=["*/USDT"], start="2020-01-01")]})
    assert parse_collection({"series": [named, entry(symbols=["ETH/*"], datasets=["ohlcv_1m", "agg_trades"])]})
    with pytest.raises(
        ConfigError, match="may both have symbols of ohlcv_1m: put these datasets in an entry of their own"
    ):
        parse_collection({"series": [named, entry(symbols="all", datasets=["ohlcv_1m", "agg_trades"])]})


def test_the_name_of_an_entry_does_not_depend_on_what_its_rule_chooses():
    content = {"series": [entry(symbols="all"), entry(symbols=["BTC/USDT"], datasets=["trades"])]}
    collection = parse_collection(content)
    names = [collection.name_of(one) for one in collection.series]
    assert names == ["binance_spot_ohlcv_1m", "binance_spot_trades"]
    one, other = collection.series
    chosen = collection.with_series([one.with_symbols(["AAA/USDT"]), other])
    assert [chosen.name_of(entry) for entry in chosen.series] == names
    empty = collection.with_series([one.with_symbols([]), other])
    assert [empty.name_of(entry) for entry in (*empty.ruled, *empty.series)] == names
