"""docs/datasets.md says what the datasets declare."""

from __future__ import annotations

from crypto_assets.datasets.page import page
from crypto_assets_tests.command import PROJECT


def test_the_page_is_what_the_datasets_declare() -> None:
    stored = (PROJECT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert stored == page(), "`python -m crypto_assets.datasets > docs/datasets.md` writes it"
