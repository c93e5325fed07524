"""Stored days that need no new check, because nothing that their findings depend on has changed.

A finding depends on the rows, on the code of the checks and, for some checks, on the weeks before. The rows are those of the
file, which is compared with the ledger whenever a day is collected. `judged_by` in the ledger names the code and the weeks.
Findings that depend on the days beside, on other series or on outages are updated when these change: see
`update_findings.py` and `quality/after_run.py`.
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
    """Return a digest of the code of the checks. It changes with every change of that code, released or not. Takes 3 ms."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256(f"{__version__} {np.__version__} {pa.__version__}".encode())
    for name in _CODE:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(root)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGITS]


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


def keeps(
    series: Series, partition: Partition, rows: pa.Table, source: SourceFile | None, state: State, *, is_plain: bool
) -> bool:
    """Return whether a day that was just checked may be left unchecked later: it is complete, final, and its rows fill it.

    A symbol that begins or ends inside a day may turn out to be older, or to live on; then the day has to be read again.
    A day whose rows reach from one end to the other cannot change that way.

    Args:
        is_plain: the day has no reason and no evidence beside its rows.
    """
    final = state is State.AVAILABLE and source is not None and source.source == "archive"
    return is_plain and final and fills(series, partition, rows)


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
