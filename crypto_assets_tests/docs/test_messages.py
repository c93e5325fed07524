"""The messages on the page for troubleshooting are messages of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from crypto_assets_tests.command import PROJECT

PAGE = (PROJECT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = ["".join(found) for found in re.findall(r"^### (?:`` (.+) ``|`([^`]+)`)$", PAGE, re.MULTILINE)]


@cache
def texts_of_the_code() -> tuple[str, ...]:
    """Return every text in the package, with `…` for what is put in."""
    return tuple(
        " ".join(text.split())
        for path in (PROJECT / "crypto_assets").rglob("*.py")
        for text in _texts(ast.parse(path.read_text(encoding="utf-8")))
    )


def _texts(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def is_in_the_code(message: str) -> bool:
    """Return whether one text of the code has all parts of a message in their order; parts of two words at least."""
    parts = [part.strip() for part in message.split("…") if len(part.split()) > 1]
    pattern = re.compile(".*".join(re.escape(part) for part in parts), re.DOTALL)
    return bool(parts) and any(pattern.search(text) for text in texts_of_the_code())


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_that_the_code_gives(message: str) -> None:
    assert is_in_the_code(message)


def test_the_page_has_messages_and_a_foreign_one_would_be_noticed() -> None:
    assert len(MESSAGES) > 20
    assert not is_in_the_code("the disk of … is full of cheese; eat it")
    assert PAGE.count("\n### ") == len(MESSAGES), "each heading of the third level is a message"
