"""Keep the tracebacks of errors in the home, in `errors.log`, and name that file in the error line.

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
"""Name of the log file in the home; the previous file has `.old` appended."""

_MOST_BYTES = 1_000_000


def last_line(error: BaseException) -> str:
    """Return the line of an error, with the place of its traceback, which is kept unless the line is complete."""
    log = None if is_explained(error) else keep_traceback(error)
    return words_of(error) + (f"; its traceback is in {log}" if log else "")


def keep_traceback(error: BaseException) -> Path | None:
    """Append the traceback of an error to the log of the home; return its path, None without a home or space."""
    from crypto_assets.config.environment import settings

    # The line is printed even if the traceback cannot be written.
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
