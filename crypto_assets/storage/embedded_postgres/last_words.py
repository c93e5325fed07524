"""Find in its log why an embedded PostgreSQL does not run."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crypto_assets.storage.embedded_postgres import supervisor
from crypto_assets.storage.embedded_postgres.placement import data_folder

_READ_BYTES = 64_000

_GRAVE = re.compile(r"(?:\b(?:PANIC|FATAL)|^initdb: error): +(.*)")
_WRONG = re.compile(r"\bLOG: +((?:invalid|unrecognized|could not|syntax error|parameter).*)")
_ENDED = ("PANIC:", "FATAL:", "initdb: error:")
_MORE = re.compile(r"\b(?:DETAIL|HINT): +(.*)")
_NO_SPACE = "No space left on device"

# These messages concern one session (ended, or opened at the wrong moment), not the server.
_OF_A_SESSION = re.compile(
    r"the database system is|terminating (?:connection|background|walreceiver|logical)|connection to client lost|"
    r"authentication failed|does not exist|too many clients|remaining connection slots|canceling statement|pg_hba"
)


def last_words(folder: Path, since: int = 0) -> str:
    """Return why the server in a folder does not run, in one line; empty if its log does not say.

    For a full disk the line names the folder on it. Otherwise it is the last FATAL or PANIC, with its hint, or the last
    error of initdb.

    Args:
        since: the position in the log to read from.
    """
    lines = tail(folder / supervisor.LOG, since)
    began = max((number for number, line in enumerate(lines) if "database system is ready" in line), default=-1)
    lines = lines[began + 1 :]
    if any(_NO_SPACE in line for line in lines):
        return f"the disk of {data_folder(folder)} is full ({_NO_SPACE}); make room there, then run this again"
    grave = [
        (number, found[1])
        for number, line in enumerate(lines)
        if any(word in line for word in _ENDED)
        and (found := _GRAVE.search(line)) is not None
        and not _OF_A_SESSION.search(line)
    ]
    if not grave:
        return ""
    number, words = grave[-1]
    # A wrong setting is in a LOG line before "FATAL: configuration file … contains errors".
    before = _WRONG.search(lines[number - 1]) if number else None
    words = f"{before[1]}; {words}" if before else words
    after = lines[number + 1 : number + 3]
    more = [found[1].strip() for line in after if (found := _MORE.search(line)) is not None]
    return f"{words} ({' '.join(more)})" if more else words


def tail(log: Path, since: int = 0) -> list[str]:
    """Return the last lines of a log; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            # A log that is shorter now was started again.
            file.seek(max(0, end - _READ_BYTES, since if since <= end else 0))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
