"""Check whether the process of a run that the command line started still exists.

Dagster watches only the workers that its code server starts: a run of `crypto-assets collect` with a killed process would
stay STARTED forever. Such a run has its process in a tag, and every process on the same machine can check it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

PROCESS_TAG = "crypto_assets/process"


def this_process() -> str:
    """Return an identifier of this process that stays unique even if its pid is used again."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid()) or 0}"


def is_gone(process: str) -> bool:
    """Return whether a process (named by `this_process`) is known to have ended; False if that cannot be known.

    Nothing is known of another machine. Without /proc, a process counts as running if its pid is in use.
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
    # The name in parentheses may contain anything, even spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
