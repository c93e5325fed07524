"""Paths in docs and README lead somewhere, and so do those in code, settings and build files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crypto_assets_tests.command import PROJECT

PAGES = sorted([PROJECT / "README.md", PROJECT / "SECURITY.md", *(PROJECT / "docs").rglob("*.md")])
_PATH = re.compile(r"`((?:\w+/)*\w+(?:\.py|/))`")

_FOLDERS = "bench|crypto_assets|crypto_assets_tests|docs|docs_site|proofs"
_ROOMS = (
    "api|causes|checks|cli|client|config|defs|engine|instance|ledger|machine|quality|reading|sources|storage|transport"
)
_PATH_ELSEWHERE = re.compile(rf"(?<![\w/.{{}}-])((?:{_FOLDERS}|{_ROOMS})/[\w./-]*\w\.(?:md|py|yaml|toml))\b")
"""A path in a file that is no page, such as that of a page in a comment."""

MADE = {"quarantine/", "staging/", "versions/", "assets/", "logs/", "sockets/", "site/"}
"""Folders that a lake, a home or `make` makes, which stand in the docs like folders of code."""

OF_A_READER = {"chart.py", "my_assets.py"}
"""Files that a page tells its reader to write."""


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(PROJECT)) for page in PAGES])
def test_every_path_of_code_is_there(page: Path) -> None:
    beside = [PROJECT, PROJECT / "crypto_assets", PROJECT / "crypto_assets_tests", PROJECT / "crypto_assets" / "engine"]
    named = set(_PATH.findall(page.read_text(encoding="utf-8"))) - MADE - OF_A_READER
    assert {path for path in named if not any((folder / path).exists() for folder in beside)} == set()


def _files() -> Iterator[Path]:
    """Yield the files that people write and that are no pages: of the root, then of each folder."""
    yield from (path for path in PROJECT.iterdir() if path.is_file())
    for folder in (".ci", *_FOLDERS.split("|")):
        yield from (
            path for path in (PROJECT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )


def test_every_path_in_another_file_is_there() -> None:
    beside = [PROJECT, PROJECT / "crypto_assets", PROJECT / "crypto_assets_tests"]
    named: dict[str, set[str]] = {}
    for file in _files():
        with suppress(UnicodeDecodeError):  # no text
            if file.suffix != ".md":
                for path in _PATH_ELSEWHERE.findall(file.read_text(encoding="utf-8")):
                    named.setdefault(path, set()).add(str(file.relative_to(PROJECT)))
    lost = {path: files for path, files in named.items() if not any((folder / path).exists() for folder in beside)}
    assert lost == {}
    # The files that a rename of the docs forgot once are among those that are read.
    read = {file for files in named.values() for file in files}
    assert {"Dockerfile", "compose.yaml", ".env.example", "collection.yaml", "Makefile"} <= read


def test_the_table_of_folders_names_every_room() -> None:
    text = (PROJECT / "docs" / "project" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (PROJECT / "crypto_assets").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"`{room}/`" not in text} == set()
