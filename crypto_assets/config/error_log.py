"""The log of errors in the home, `errors.log`, with their tracebacks; and the line that says where one is kept.

The words of an error are in `machine/error_words.py`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from crypto_assets.errors import CryptoAssetsError
from crypto_assets.machine.error_words import is_explained, traceback_of, words_of
from crypto_assets.machine.private_folder import private_opener
from crypto_assets.text.visible import visible_lines

LOG = "errors.log"
"""The name of the file in the home; the one before it has `.old` behind that."""

_MOST_BYTES = 1_000_000


def last_line(error: BaseException) -> str:
    """Return the line of an error, and where its traceback is, which this keeps unless the line says all there is."""
    log = None if is_explained(error) else keep_traceback(error)
    return words_of(error) + (f"; its traceback is in {log}" if log else "")


def keep_traceback(error: BaseException) -> Path | None:
    """Append the traceback of an error to the log of the home; return where, None where there is no home or no room."""
    from crypto_assets.config.environment import settings

    # Whatever keeps us from it, the line is said all the same.
    with suppress(OSError, CryptoAssetsError, MemoryError):
        home = settings().home
        if not home.is_dir():
            return None
        log = home / LOG
        with suppress(FileNotFoundError):
            if log.lstat().st_size > _MOST_BYTES:
                log.replace(log.with_name(f"{LOG}.old"))
        entry = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}\n{traceback_of(error)}\n"
        with open(log, "a", opener=private_opener, encoding="utf-8", errors="replace") as file:
            file.write(visible_lines(entry))
        return log
    return None
