"""A child process of `crypto-assets up`: runs a module as `python -m` does, after another process is ready.

    python -m crypto_assets.instance.child --import dagster_webserver.app --after /…/code-server dagster._daemon run

The imports take most of the starting time, so they run while another process is still starting; the module runs once that
process listens on its socket. On Linux the child gets SIGTERM when its parent has ended, even if the parent was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.05


def listens(place: int | Path) -> bool:
    """Return whether a process accepts connections on this port of 127.0.0.1, or on this unix socket."""
    address = ("127.0.0.1", place) if isinstance(place, int) else str(place)
    with socket.socket(socket.AF_INET if isinstance(place, int) else socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def end_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent dies; end now if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)


def obey_signals() -> None:
    """Make SIGINT end this process even if a shell's `&` or a service manager ignored or blocked it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


def main() -> None:
    """Read the options, replace them by the arguments of the module, and run it."""
    words = argparse.ArgumentParser("crypto_assets.instance.child", description=__doc__)
    words.add_argument("--parent", type=int, required=True, help="the process to end with")
    words.add_argument("--after", type=Path, help="wait until a process listens on this unix socket")
    words.add_argument("--import", dest="imports", action="append", default=[], help="import this early")
    words.add_argument("module")
    words.add_argument("arguments", nargs=argparse.REMAINDER)
    given = words.parse_args()
    obey_signals()
    end_with_parent(given.parent)
    for name in given.imports:
        # Only a head start: the module itself reports a missing import.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    while given.after is not None and not listens(given.after):
        time.sleep(_POLL_S)
    sys.argv = [given.module, *given.arguments]
    runpy.run_module(given.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
