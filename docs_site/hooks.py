"""Hooks of MkDocs: fill the generated parts, and show SECURITY.md and CHANGELOG.md as pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from docs_site.generated import filled

ROOT = Path(__file__).parents[1]

ROOT_PAGES = {"SECURITY.md": "project/security.md", "CHANGELOG.md": "project/changelog.md"}
"""Files beside docs/, where people and GitHub look for them, and their pages."""

_LINK = re.compile(r"\]\(((?:\.\./)+)(SECURITY|CHANGELOG)\.md((?:#[\w-]+)?)\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages of the files beside docs/."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=of_root((ROOT / name).read_text(encoding="utf-8"))))
    return files


def of_root(markdown: str) -> str:
    """Return a page of the root with links as seen from `docs/project/`."""
    return re.sub(r"\]\(docs/", "](../", markdown)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill a page, and let links to files beside docs/ lead to their pages."""
    up = "../" * page.file.src_uri.count("/")
    return _LINK.sub(lambda link: f"]({up}{ROOT_PAGES[f'{link[2]}.md']}{link[3]})", filled(markdown))
