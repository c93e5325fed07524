"""Facts of series: each source states them, and checks use them instead of the market type."""

import pytest

from crypto_assets import sources
from crypto_assets.model import MARKET_TYPES, Series
from crypto_assets.sources import Facts

OFFERED = [
    Series.named(name, market_type, dataset)
    for name in sources.names()
    for market_type in MARKET_TYPES
    for dataset in sources.get(name).dataset_names(market_type)
]


@pytest.mark.parametrize("series", OFFERED, ids=str)
def test_every_series_has_facts(series):
    assert (sources.facts(series).numbering == "holes") is (sources.facts(series).hidden_ids > 0)


def test_bybit_does_not_number_trades():
    assert sources.facts(Series.named("bybit", "linear", "trades")).numbering == "text"
    assert sources.facts(Series.named("bybit", "spot", "trades")).numbering == "none"


def test_binance_numbers_spot_trades_without_holes_and_futures_with_holes():
    assert sources.facts(Series.named("binance", "spot", "trades")) == Facts("contiguous", 0)
    assert sources.facts(Series.named("binance", "linear", "trades")) == Facts("holes", 100)


@pytest.mark.parametrize(("numbering", "hidden"), [("contiguous", 1), ("holes", 0)])
def test_facts_that_contradict_each_other_are_refused(numbering, hidden):
    with pytest.raises(ValueError, match="expected hidden_ids above 0 with holes only"):
        Facts(numbering, hidden)
