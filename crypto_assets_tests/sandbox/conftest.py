"""What the tests of the sandbox share: reading its files with the standard library only."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

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


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real files: CRYPTO_ASSETS_REALDATA, or ../shared/realdata beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "realdata"
    folder = Path(os.environ.get("CRYPTO_ASSETS_REALDATA", beside))
    if not (folder / "binance_vision").is_dir():
        pytest.skip(f"no real data in {folder}; name the folder in CRYPTO_ASSETS_REALDATA")
    return folder
