"""docs/checks.md says what the checks are."""

from __future__ import annotations

import re

from crypto_assets.checks import all_rules
from crypto_assets_tests.command import PROJECT


def test_every_check_is_described_as_it_is() -> None:
    text = (PROJECT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| [\w ]+ \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(rule.name, ", ".join(rule.tables), rule.severity.value, rule.description) for rule in all_rules()]
    assert len(rows) > 20
