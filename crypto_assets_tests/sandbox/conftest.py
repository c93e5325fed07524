"""What the tests of the sandbox share: reading its files with the standard library only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

Rows = list[list[str]]


def read_csv(content: bytes) -> tuple[str, Rows]:
    """Return the name of the only member of a zip, and its rows as text."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (member,) = archive.infolist()
        assert member.compress_type == zipfile.ZIP_DEFLATED
        text = archive.read(member).decode("ascii")
    assert text.endswith("\n")
    return member.filename, [line.split(",") for line in text[:-1].split("\n")]


@pytest.fixture(scope="session")
def read() -> Callable[[bytes], tuple[str, Rows]]:
    return read_csv
