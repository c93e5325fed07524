"""What help, API, columns and pages say about exchanges, market types and datasets is what the sources offer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import yaml

import crypto_assets
from crypto_assets import sources
from crypto_assets.api.bodies import Gaps
from crypto_assets.api.parameters import Tracks
from crypto_assets.cli import cli
from crypto_assets.config.collection import parse_collection
from crypto_assets.config.entry import SeriesEntry
from crypto_assets.datasets.types import KEYS
from crypto_assets.model import ALL_TYPES, MARKET_TYPES, Series
from crypto_assets_tests.command import PROJECT

OFFERED = {
    (name, kind): sources.get(name).dataset_names(kind)
    for name in sources.names()
    for kind in ALL_TYPES
    if sources.get(name).dataset_names(kind)
}
TABLES = {"ohlcv_<timeframe>" if one.startswith("ohlcv_") else one for names in OFFERED.values() for one in names}


def page(name: str) -> str:
    return (PROJECT / "docs" / name).read_text(encoding="utf-8")


def listed(text: str, between: str = "`") -> tuple[str, ...]:
    """Return the market types that a text lists: "`spot` or `linear`; …" → spot, linear."""
    found = re.search(rf"{between}spot{between}(?:(?:, | or ){between}\w+{between})*", text)
    assert found, text
    return tuple(re.findall(r"\w+", found[0].replace(" or ", " ")))


def options(group: click.Group, parent: str = "") -> Iterator[tuple[str, click.Option]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from options(command, f"{parent}{name} ")
        for one in command.params:
            if isinstance(one, click.Option) and "--market-type" in one.opts:
                yield f"{parent}{name}", one


def test_every_option_for_a_market_type_names_all_of_them() -> None:
    said = {name: listed(one.help or "", "") for name, one in options(cli)}
    assert {"gaps", "fill", "datasets"} <= set(said)
    # Only exchanges have instruments.
    assert said == dict.fromkeys(said, ALL_TYPES) | {"instruments": MARKET_TYPES}


def test_fields_columns_and_docstrings_name_all_market_types() -> None:
    for model in (SeriesEntry, Tracks, Gaps):
        assert listed(model.model_fields["market_type"].description or "") == ALL_TYPES
    assert listed({one.name: one.doc for one in KEYS}["market_type"], "") == ALL_TYPES
    assert listed((crypto_assets.read.__doc__ or "").partition("market_type:")[2]) == ALL_TYPES


def test_the_page_of_the_configuration_names_what_can_be_collected() -> None:
    text = page("reference/configuration.md")
    comments = dict(re.findall(r"^(?:  -|   ) (\w+): .*?# (.+)$", text, re.MULTILINE))
    assert set(sources.names()) <= set(re.findall(r"\w+", comments["exchange"]))
    assert set(ALL_TYPES) <= set(re.findall(r"\w+", comments["market_type"]))
    assert set(comments["datasets"].split(", ")) == TABLES
    assert set(re.findall(r"^\| `([\w<>]+)` \| yes \|", text, re.MULTILINE)) == TABLES
    example = re.search(r"```yaml\n(.+?)```", text, re.DOTALL)
    assert example
    read = parse_collection(yaml.safe_load(example[1]))
    assert str(read.exchanges["kraken"].files) == "/data/kraken"


def test_the_comparison_counts_the_exchanges_that_there_are() -> None:
    exchanges = {name for name, kind in OFFERED if kind in MARKET_TYPES}
    named = re.search(r"We collect from (\w+) exchanges: ([\w, ]+)\.", page("project/comparison.md"))
    assert named
    assert set(re.findall(r"\w+", named[2].lower())) - {"and"} == exchanges
    assert named[1] == {3: "three", 4: "four", 5: "five", 6: "six"}[len(exchanges)]


def test_the_page_of_states_says_where_rest_is_final() -> None:
    final = {name for name, kind in OFFERED for one in OFFERED[name, kind] if _rest_is_final(name, kind, one)}
    assert {"kraken", "bybit"} <= final
    available = re.search(r"^\| `available` \| (.+?) \|", page("concepts/states.md"), re.MULTILINE)
    assert available
    assert "from REST where no archive has the series" in available[1]


def _rest_is_final(name: str, kind: str, dataset: str) -> bool:
    table, _, timeframe = dataset.partition("_") if dataset.startswith("ohlcv_") else (dataset, "", "")
    series = Series(name, kind, table, timeframe or None)
    asked = sources.query(series)
    return asked is not None and asked.final and not sources.archives(series)
