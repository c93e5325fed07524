"""The report and the page of the API on a phone: nothing that a person reads is outside the screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto_assets.api.app import create_app
from crypto_assets.api.reference import page as reference
from crypto_assets.quality.query import Query
from crypto_assets.quality.report.build import write_report
from crypto_assets.quality.report.facts import read_facts
from crypto_assets.storage.database import Database
from crypto_assets_tests.defs.test_ui import browser
from crypto_assets_tests.quality import ledger_rows

__all__ = ["browser"]

PHONE = {"width": 390, "height": 844}
OUTSIDE = """(selector) => [...document.querySelectorAll(selector)]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5).map((one) => one.textContent)"""
WIDTH = "document.documentElement.scrollWidth"


def test_a_phone_shows_when_and_why_and_says_that_pictures_scroll(browser, postgres_url: str, tmp_path: Path) -> None:
    ledger_rows.fill(postgres_url)
    with Database(postgres_url) as database:
        facts = read_facts(database, ledger_rows.collection(), Query(), ledger_rows.NOW)
    file, *_ = write_report(facts, [], tmp_path, synthetic=True)
    opened = browser.new_page(viewport=PHONE)
    opened.goto(file.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert opened.evaluate(WIDTH) == PHONE["width"]
    assert opened.evaluate("document.querySelectorAll('.stack td.why').length") > 5
    assert opened.evaluate(OUTSIDE, ".stack td, .tile, .chip, .legend li, p, h1, h2, dd") == []
    hints = opened.evaluate(
        "[...document.querySelectorAll('section > figure')].map((one) => getComputedStyle(one, '::before').content)"
    )
    assert hints
    assert all("Scroll" in hint for hint in hints)
    opened.close()


@pytest.mark.parametrize("width", [320, PHONE["width"], 768])
def test_the_page_of_the_api_fits_a_narrow_screen(browser, tmp_path: Path, width: int) -> None:
    app = create_app("postgresql://u@127.0.0.1:1/d", tmp_path / "collection.yaml", str(tmp_path / "lake"))
    file = tmp_path / "docs.html"
    file.write_text(reference(app.openapi()))
    opened = browser.new_page(viewport={**PHONE, "width": width})
    opened.goto(file.as_uri())
    assert opened.evaluate(WIDTH) == width
    assert opened.evaluate(OUTSIDE, "td, h2, p, a, code") == []
    opened.close()
