"""Temporary files without a name: the system removes them with the process."""

from __future__ import annotations

import tempfile
from typing import IO

from crypto_assets.errors import OutOfResources


def temporary_file() -> IO[bytes]:
    """Return an empty file to write and read; raises OutOfResources if no folder for temporary files can be written."""
    try:
        return tempfile.TemporaryFile()
    except FileNotFoundError as error:
        raise OutOfResources(
            f"expected a folder for temporary files, found none that can be written ({error.strerror}); set TMPDIR to one, "
            "then run this again"
        ) from error
