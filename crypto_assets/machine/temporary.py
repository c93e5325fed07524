"""Temporary files without a name: the system removes them with the process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from crypto_assets.errors import OutOfResources
from crypto_assets.machine.shortage import raise_if_ours


def temporary_file() -> IO[bytes]:
    """Return an empty file to write and read; raises OutOfResources if no folder for temporary files can be written."""
    try:
        return tempfile.TemporaryFile()
    except FileNotFoundError as error:
        raise OutOfResources(
            f"expected a folder for temporary files, found none that can be written ({error.strerror}); set TMPDIR to one, "
            "then run this again"
        ) from error


@contextmanager
def temporary_disk() -> Iterator[None]:
    """Raise OutOfResources, with the folder, if a temporary file that the block writes finds a full disk."""
    try:
        yield
    except (OSError, MemoryError) as error:
        raise_if_ours(error, f"a temporary file in {tempfile.gettempdir()} (another folder: TMPDIR)")
        raise
