"""docs/checks.md says what the checks are."""

from __future__ import annotations

import re
from itertools import product

from crypto_assets.checks import all_rules, rules_of
from crypto_assets.datasets import all_datasets
from crypto_assets.defs.asset_checks import ALL_DAYS_COMPLETE
from crypto_assets.engine.publication.warehouse_rows import ROWS_MATCH_LAKE
from crypto_assets.model import MARKET_TYPES, TIMEFRAMES, Rule, Series
from crypto_assets_tests.command import PROJECT


def test_every_check_is_described_as_it_is() -> None:
    text = (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| (\w[\w ,;]*) \| [\w ]+ \| (\w+) \| (.+) \|$", text, re.MULTILINE)
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
    text = (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [\w ]+(?:, [\w ]+)? \| (\w+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert rows == [(rule.name, rule.severity.value, rule.description) for rule in (ALL_DAYS_COMPLETE, ROWS_MATCH_LAKE)]
