"""The numbers about the selftest in the README and the proofs are right."""

from __future__ import annotations

import re

import pytest

from crypto_assets.sandbox.selftest.cases import CASES
from crypto_assets_tests.command import PROJECT


@pytest.mark.parametrize("name", ["README.md", "docs/project/proofs.md"])
def test_the_documentation_counts_the_cases_and_faults(name: str) -> None:
    said = re.findall(r"(\d+) cases of (\d+) faults", (PROJECT / name).read_text(encoding="utf-8"))
    assert said == [(str(len(CASES)), str(len({fault for case in CASES for fault in case.fault_names})))]
