"""Stored days whose findings stand: nothing that they were made of has changed, so that nobody need judge them again.

A finding is made of the rows, of the code of the checks, and for some checks of the weeks before. The rows are those of the
file, which is compared with the ledger whenever a day is collected. Code and weeks are named by `judged_by` of the ledger.
What else a finding depends on (the days beside, other series, outages) changes it when that changes: `update_findings.py`
and `quality/after_run.py` see to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from crypto_assets.engine.archive.row_ends import fills
from crypto_assets.model import Partition, Profile, Series, SourceFile, State
from crypto_assets.version import __version__

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import PartitionRecord

_CODE = (
    *("checks", "datasets", "model", "rows"),
    *("engine/publication/profile_fold.py", "engine/publication/standing.py", "engine/publication/validation.py"),
)
"""Folders and files of the package whose code decides what the checks of a day find in its rows."""

_DIGITS = 16


@cache
def code_digest() -> str:
    """Return what names the code of the checks: another one with every change of it, released or not. Takes 3 ms."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256(f"{__version__} {np.__version__} {pa.__version__}".encode())
    for name in _CODE:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(root)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def made_of(weeks_before: Iterable[Profile]) -> str:
    """Return what names all that the findings of a day are made of besides its rows.

    Args:
        weeks_before: what the checks that look at them are given; none where the series has no such check.
    """
    digest = hashlib.sha256()
    for profile in weeks_before:
        digest.update(_digest(profile))
    return f"{code_digest()}/{digest.hexdigest()[:_DIGITS]}"


@lru_cache(maxsize=4096)
def _digest(profile: Profile) -> bytes:
    """Return the same for a profile that was just made and for one that the ledger has kept."""
    digest = hashlib.sha256()
    for name in profile.__dataclass_fields__:
        if name not in ("symbol", "content_sha256"):
            value = getattr(profile, name)
            if isinstance(value, datetime):
                value = value.timestamp()
            digest.update(value if isinstance(value, bytes) else str(value).encode())
            digest.update(b"\0")
    return digest.digest()


def keeps(
    series: Series, partition: Partition, rows: pa.Table, source: SourceFile | None, state: State, *, is_plain: bool
) -> bool:
    """Return whether the findings of a day that was just judged may stand: it is complete, final and whole.

    A symbol that begins or ends in a day may prove to be older or to live on. Only of a day whose rows go from one end to the
    other it is known without reading them that this cannot be.

    Args:
        is_plain: there is nothing to say of the day but what its rows say.
    """
    final = state is State.AVAILABLE and source is not None and source.source == "archive"
    return is_plain and final and fills(series, partition, rows)


def may_stand(record: PartitionRecord) -> bool:
    """Return whether the findings of a stored day stand if the weeks before are the same, and its file is the same."""
    return (
        record.state is State.AVAILABLE
        and record.source == "archive"
        and record.judged_by.startswith(f"{code_digest()}/")
        and record.reported_at is not None
        and record.attempt_error is None
        and not record.evidence
    )
