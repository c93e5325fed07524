"""Names what the findings of a stored day depend on besides its rows: the code that judges, and the weeks before.

The ledger keeps that name with the findings (`judged_by`). `unchanged_days.py` compares it, and everything else that a new
check of the day could change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from crypto_assets.machine.first_result import once
from crypto_assets.model import Profile, State
from crypto_assets.version import __version__

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import PartitionRecord

_ROOT = Path(__file__).parents[2]

_CODE = (
    *("causes", "checks", "config", "datasets", "engine/publication", "ledger", "machine", "model", "rows", "sources"),
    *("storage", "text", "errors.py"),
)
"""Folders and files of the package with all code that the judging of a day imports, and more.

A test follows the imports. Whole folders, because checks, datasets and exchanges are found by name rather than imported; days
that are checked once too often cost some seconds after an update only.
"""

_LIBRARIES = ("numpy", "pandas", "pandera", "pyarrow")
"""Libraries that compute findings; their versions are read without importing them."""

_DIGITS = 16


@once
def code_digest() -> str:
    """Return a digest of the code that judges days. It changes with every change of it, released or not. Takes 8 ms."""
    digest = hashlib.sha256(" ".join([__version__, *map(version, _LIBRARIES)]).encode())
    for file in code_files():
        digest.update(f"{file.relative_to(_ROOT)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def code_files() -> list[Path]:
    """Return the files of the package that decide what the checks of a day find, in a fixed order."""
    paths = [_ROOT / name for name in _CODE]
    return [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def made_of(weeks_before: Iterable[Profile]) -> str:
    """Return the name of everything that the findings of a day depend on, besides its rows.

    Args:
        weeks_before: what the checks that look at them are given; none where the series has no such check.
    """
    digest = hashlib.sha256()
    for profile in weeks_before:
        digest.update(_digest(profile))
    return f"{code_digest()}/{digest.hexdigest()[:_DIGITS]}"


@lru_cache(maxsize=4096)
def _digest(profile: Profile) -> bytes:
    """Return a digest of a profile: the same for one that was just made and for one read from the ledger."""
    digest = hashlib.sha256()
    for name in profile.__dataclass_fields__:
        if name not in ("symbol", "content_sha256"):
            value = getattr(profile, name)
            if isinstance(value, datetime):
                value = value.timestamp()
            digest.update(value if isinstance(value, bytes) else str(value).encode())
            digest.update(b"\0")
    return digest.digest()


def may_stand(record: PartitionRecord) -> bool:
    """Return whether a stored day needs no new check if its file and the weeks before it are the same."""
    return (
        record.state is State.AVAILABLE
        and record.source == "archive"
        and record.judged_by.startswith(f"{code_digest()}/")
        and record.reported_at is not None
        and record.attempt_error is None
        and not record.evidence
    )
