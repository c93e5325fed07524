"""Why an embedded PostgreSQL does not run, by its log."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crypto_assets.storage.embedded_postgres import supervisor
from crypto_assets.storage.embedded_postgres.placement import data_folder

_READ_BYTES = 64_000

_GRAVE = re.compile(r"\b(?:PANIC|FATAL): +(.*)")
_WRONG = re.compile(r"\bLOG: +((?:invalid|unrecognized|could not|syntax error|parameter).*)")
_ENDED = ("PANIC:", "FATAL:")
_NO_SPACE = "No space left on device"

# What the server says of a session that came at the wrong moment, or was ended, is no reason of its own.
_OF_A_SESSION = re.compile(
    r"the database system is|terminating (?:connection|background|walreceiver|logical)|connection to client lost|"
    r"authentication failed|does not exist|too many clients|remaining connection slots|canceling statement|pg_hba"
)


def last_words(folder: Path) -> str:
    """Return why the server in a folder does not run, in one line; empty where its log does not say.

    A full disk is said with the folder that lies on it. Of the rest it is the last FATAL or PANIC, with its hint.
    """
    lines = tail(folder / supervisor.LOG)
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
    # What is wrong with a setting is a LOG line before "FATAL: configuration file … contains errors".
    before = _WRONG.search(lines[number - 1]) if number else None
    words = f"{before[1]}; {words}" if before else words
    hint = next((line.partition("HINT:")[2].strip() for line in lines[number + 1 : number + 3] if "HINT:" in line), "")
    return f"{words} ({hint})" if hint else words


def tail(log: Path) -> list[str]:
    """Return the last lines of a log; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _READ_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
