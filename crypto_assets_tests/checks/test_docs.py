"""docs/checks.md says what the checks are."""

from __future__ import annotations

import re

from crypto_assets.checks import all_rules
from crypto_assets.defs.asset_checks import ALL_DAYS_COMPLETE
from crypto_assets.engine.storing.warehouse_rows import ROWS_MATCH_LAKE
from crypto_assets_tests.command import PROJECT


def test_every_check_is_described_as_it_is() -> None:
    text = (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| [\w ]+ \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(rule.name, ", ".join(rule.tables), rule.severity.value, rule.description) for rule in all_rules()]
    assert len(rows) > 20


def test_the_checks_of_assets_are_described_as_they_are() -> None:
    text = (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [\w ]+(?:, [\w ]+)? \| (\w+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert rows == [(rule.name, rule.severity.value, rule.description) for rule in (ALL_DAYS_COMPLETE, ROWS_MATCH_LAKE)]
