"""Paths of the code in docs and README lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crypto_assets_tests.command import PROJECT

PAGES = sorted([PROJECT / "README.md", PROJECT / "SECURITY.md", *(PROJECT / "docs").rglob("*.md")])
_PATH = re.compile(r"`((?:\w+/)*\w+(?:\.py|/))`")

MADE = {"quarantine/", "staging/", "versions/", "assets/", "logs/", "sockets/", "site/"}
"""Folders that a lake, a home or `make` makes, which stand in the docs like folders of code."""

OF_A_READER = {"chart.py", "my_assets.py"}
"""Files that a page tells its reader to write."""


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(PROJECT)) for page in PAGES])
def test_every_path_of_code_is_there(page: Path) -> None:
    beside = [PROJECT, PROJECT / "crypto_assets", PROJECT / "crypto_assets_tests", PROJECT / "crypto_assets" / "engine"]
    named = set(_PATH.findall(page.read_text(encoding="utf-8"))) - MADE - OF_A_READER
    assert {path for path in named if not any((folder / path).exists() for folder in beside)} == set()


def test_the_table_of_folders_names_every_room() -> None:
    text = (PROJECT / "docs" / "project" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (PROJECT / "crypto_assets").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"`{room}/`" not in text} == set()
