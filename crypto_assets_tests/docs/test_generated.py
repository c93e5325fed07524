"""What the docs site is given by the code: each part is on one page, and says what the code is."""

from __future__ import annotations

import re
from itertools import product

import click
import pytest

from crypto_assets.checks import all_rules, rules_of
from crypto_assets.cli import cli
from crypto_assets.config.api_keys import API_KEY_MEANING, API_KEY_VARIABLE
from crypto_assets.config.automation import AutomationConfig
from crypto_assets.config.collection import Collection, ExchangeConfig, QualityConfig, SeriesEntry
from crypto_assets.config.environment import Settings
from crypto_assets.datasets import all_datasets, in_warehouse
from crypto_assets.defs.asset_checks import ALL_DAYS_COMPLETE
from crypto_assets.engine.publication.warehouse_rows import ROWS_MATCH_LAKE
from crypto_assets.model import MARKET_TYPES, TIMEFRAMES, Rule, Series
from crypto_assets.sources.offers import offers
from crypto_assets_tests.command import PROJECT
from docs_site.generated import MADE, MARK, filled
from docs_site.http import document


def page(name: str) -> str:
    """Return a page as the site has it."""
    return filled((PROJECT / "docs" / "reference" / name).read_text(encoding="utf-8"))


def test_every_generated_part_has_its_place_on_one_page() -> None:
    pages = [path.read_text(encoding="utf-8") for path in (PROJECT / "docs").rglob("*.md")]
    assert sorted(name for text in pages for name in MARK.findall(text)) == sorted(MADE)
    assert not any("<!-- generated" in MARK.sub("", text) for text in pages), "a mark stands alone on its line"


def test_a_mark_that_nothing_makes_is_an_error() -> None:
    with pytest.raises(KeyError, match="weather"):
        filled("# Page\n\n<!-- generated: weather -->\n")


def test_every_column_is_in_the_data_dictionary_as_it_is_declared() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page("datasets.md"), re.MULTILINE | re.DOTALL))
    declared = all_datasets() | in_warehouse()
    assert set(sections) == set(declared)
    for name, dataset in declared.items():
        rows = re.findall(r"^\| `(\w+)` \| [\w]+ \| (.*?) \| .* \| (.+) \|$", sections[name], re.MULTILINE)
        assert rows == [(one.name, one.unit, one.doc) for one in dataset.columns]
        assert dataset.description in sections[name]


def test_every_series_has_its_feeds_and_every_null_column_its_reason() -> None:
    text = page("sources.md")
    feeds = [line for line in text.splitlines() if re.match(r"\| \w+ \| \w+ \| `", line)]
    null = [line for line in text.splitlines() if re.match(r"\| \w+ \| `", line)]
    for one in offers():
        exchange, market_type = one.series.exchange, one.series.market_type
        (row,) = (
            line
            for line in feeds
            if line.startswith(f"| {exchange} | {market_type} | ") and f"`{one.series.dataset}`" in line
        )
        assert row.endswith(f" | {', '.join(map(str, one.feeds))} | {one.since} |")
        for column, why in one.null_columns.items():
            assert any(
                line.startswith(f"| {exchange} | `{one.series.table}` | ")
                and market_type in line.split(" | ")[2]
                and f"`{column}`" in line
                and line.endswith(f" | {why} |")
                for line in null
            ), (one.series, column)
    assert "daily archive (final), REST (provisional)" in text
    assert "| kraken | `ohlcv` | spot | `quote_volume`, `taker_buy_volume`, `taker_buy_quote_volume` |" in text


def test_every_check_is_described_as_it_is() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([\w, ]+) \| (\w[\w ,;]*) \| [\w ]+ \| (\w+) \| (.+) \|$", page("checks.md"), re.MULTILINE
    )
    assert rows == [
        (rule.name, needs(rule), ", ".join(tables_of(rule)), rule.severity.value, rule.description)
        for rule in all_rules()
    ]
    assert len(rows) > 20


def needs(rule: Rule) -> str:
    """Return the columns that a check names, and other ones that will do."""
    return " or ".join(", ".join(columns) for columns in (rule.columns, *rule.or_columns)) or "none"


def tables_of(rule: Rule) -> list[str]:
    """Return the datasets that a check judges, at least of some market type or timeframe."""
    return [
        table
        for table, dataset in all_datasets().items()
        for timeframes in [TIMEFRAMES if dataset.has_timeframes else (None,)]
        if any(rule in rules_of(Series("binance", *of)) for of in product(MARKET_TYPES, [table], timeframes))
    ]


def test_the_checks_of_assets_are_described_as_they_are() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [\w ]+(?:, [\w ]+)? \| (\w+) \| ([^|]+) \|$", page("checks.md"), re.MULTILINE)
    assert rows == [(rule.name, rule.severity.value, rule.description) for rule in (ALL_DAYS_COMPLETE, ROWS_MATCH_LAKE)]


def commands(group: click.Group, parent: str) -> dict[str, click.Command]:
    found = {f"{parent} {name}": command for name, command in group.commands.items()}
    inner = [commands(one, name) for name, one in found.items() if isinstance(one, click.Group)]
    return found | {name: command for one in inner for name, command in one.items()}


def test_every_command_and_option_is_in_the_reference() -> None:
    sections = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", page("cli.md"), re.MULTILINE | re.DOTALL))
    known = commands(cli, "crypto-assets")
    assert set(sections) == set(known)
    assert len(known) > 30
    for name, command in known.items():
        options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        for option in options:
            assert any(f"`{option.opts[-1]}" in cell for cell in re.findall(r"^\| (.*?) \|", sections[name], re.M)), (
                name
            )
            assert " ".join((option.help or "").split()) in sections[name].replace("\\[", "[")
    for option in ("--folder", "--fault", "--port", "--trades-per-day"):
        assert f"`{option} " in sections["crypto-assets sandbox"]


def test_every_variable_and_every_path_is_in_the_reference() -> None:
    told = re.findall(r"^\| `CRYPTO_ASSETS_(\w+)` \| (.+?) \|", page("configuration.md"), re.MULTILINE)
    assert [name.lower() for name, _ in told] == list(Settings.model_fields)
    assert all(len(meaning) > 10 for _, meaning in told)
    assert f"| `{API_KEY_VARIABLE}` | {API_KEY_MEANING} |" in page("configuration.md").replace("\\", "")
    keys = re.findall(r"^\| `([\w.<>\[\]]+)` \| (.+?) \| .*? \| (.*?) \|$", page("configuration.md"), re.MULTILINE)
    told_keys = {key.split(".")[-1].removesuffix("[]"): meaning for key, _, meaning in keys}
    for model in (Collection, ExchangeConfig, SeriesEntry, QualityConfig, AutomationConfig):
        assert all(len(told_keys.get(name, "")) > 5 for name in model.model_fields), told_keys
    paths = re.findall(r"^### ([A-Z]+) (\S+)$", page("http-paths.md"), re.MULTILINE)
    assert paths == [(method.upper(), path) for path, methods in document()["paths"].items() for method in methods]
