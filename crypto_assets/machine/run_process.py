"""Telling whether the process of a run that the command line started is still there.

Dagster watches the workers that its code server starts, and nobody else's: a run of `crypto-assets collect` whose process was
killed would stay STARTED for ever. Such a run carries its process in a tag, so that anybody on the same machine can look.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

PROCESS_TAG = "crypto_assets/process"


def this_process() -> str:
    """Return what tells this process from every other one, also after its number was given to another."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid()) or 0}"


def is_gone(process: str) -> bool:
    """Return whether a process (as `this_process` named it) is known to have ended; False where that cannot be known.

    Of another machine nothing is known. Where the system has no /proc, a process whose number is in use counts as there.
    """
    try:
        host, number, started = process.rsplit(" ", 2)
        pid = int(number)
    except ValueError:
        return False
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    if started == "0" or not Path("/proc/self/stat").exists():
        return False
    return str(_started(pid)) != started


def _started(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot (field 22 of /proc/PID/stat; proc(5)), or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything, spaces and parentheses too.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
