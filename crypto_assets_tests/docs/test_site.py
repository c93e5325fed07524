"""`make docs`: the site is built, every link in it leads somewhere, and nothing of it comes from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.defs.test_ui import browser

__all__ = ["browser"]

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, strictly: a link or an anchor that leads nowhere ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = re.search(r"^docs: .*\n\t\$\(BIN\)/python (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert command
    done = subprocess.run(
        [sys.executable, *command[1].split(), "--site-dir", str(folder)],
        cwd=PROJECT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert "--quiet" not in command[1], "MkDocs then ignores warnings, and `strict` with them"
    assert yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["strict"] is True
    return folder


class Loaded(HTMLParser):
    """What a browser loads with a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        url = given.get("href" if tag == "link" else "src") if tag in ("link", "script", "img", "iframe") else None
        if url:
            self.urls.append(url)


def test_every_page_is_built_and_loads_nothing_from_another_host(site: Path) -> None:
    sources = {str(path.relative_to(PROJECT / "docs").with_suffix("")) for path in (PROJECT / "docs").rglob("*.md")}
    pages = {str(path.relative_to(site).with_suffix("")): path.read_text() for path in site.rglob("*.html")}
    assert set(pages) - {"404"} == sources | {"project/security", "project/changelog"}
    loaded = {name: Loaded(html).urls for name, html in pages.items()}
    assert {name for name, urls in loaded.items() if any("//" in url for url in urls)} == set()
    assert all(
        (site / name).parent.joinpath(url.partition("?")[0]).exists()
        for name, urls in loaded.items()
        if name != "404"
        for url in urls
    )


def test_the_pages_have_what_the_code_gives_them(site: Path) -> None:
    assert not any("generated:" in path.read_text() for path in site.rglob("*.html"))
    functions = (site / "reference" / "functions.html").read_text()
    for name in ("read", "catalog", "coverage", "gaps", "instruments", "latest", "universe"):
        assert f'id="crypto_assets.client.{name}.{name}"' in functions
    assert "IncompleteData" in functions
    assert "open a private security advisory" in (site / "project" / "security.html").read_text()


@pytest.mark.browser
@pytest.mark.parametrize("width", [PHONE["width"], 1300])
def test_a_site_that_is_opened_as_a_file_can_be_searched(browser, site: Path, width: int) -> None:
    opened = browser.new_page(viewport=PHONE | {"width": width})
    opened.goto((site / "reference" / "cli.html").as_uri())
    if width == PHONE["width"]:  # a sign opens the field
        opened.click("label[for='__search'].md-header__button")
    opened.locator("input.md-search__input").press_sequentially("quarantine retry")
    found = opened.locator("a.md-search-result__link").first
    found.wait_for()
    links = opened.locator("a.md-search-result__link").evaluate_all("links => links.map(link => link.href)")
    assert all(link.startswith(site.as_uri()) for link in links)
    assert any("concepts/quarantine.html" in link for link in links)
    found.click()
    opened.wait_for_url(links[0])
    assert (site / opened.url.partition("#")[0].removeprefix(f"{site.as_uri()}/")).is_file()
    opened.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "page", ["index", "tutorial", "troubleshooting", "reference/datasets", "reference/configuration"]
)
def test_a_page_fits_a_phone_and_asks_no_other_host(browser, site: Path, page: str) -> None:
    opened = browser.new_page(viewport=PHONE)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto((site / f"{page}.html").as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert opened.evaluate("getComputedStyle(document.querySelector('.md-content h1')).fontWeight") == "500", (
        "our style"
    )
    assert len(asked) > 2
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    opened.close()
