"""End this process within a second of Ctrl-C or SIGTERM, whatever its main thread is doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

DEADLINE_S = 0.6
_LAST_S = 0.75
EXIT_CODE = 130

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_asked: threading.Event | None = None
_last_words: list[Callable[[], None]] = []


def ending_in_time(last_word: Callable[[], None] | None = None) -> threading.Event:
    """Watch for SIGINT and SIGTERM from now on; return an event that is set when one arrives.

    Python runs signal handlers only between two steps of the main thread, and Dagster's handlers only set a flag that is
    read between two steps of a run. The descriptor of signal.set_wakeup_fd is written at once. A process still running
    after DEADLINE_S prints its last words and ends as if killed: nothing it stores is ever half stored.

    Args:
        last_word: called before such an end; the last one given counts.
    """
    global _asked
    if last_word is not None:
        _last_words[:] = [last_word]
    if _asked is None:
        _asked = threading.Event()
        if threading.current_thread() is threading.main_thread():
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            threading.Thread(target=_watch, args=(reader, _asked), name="ending", daemon=True).start()
    return _asked


def end_now(code: int) -> None:
    """Exit without waiting for threads and without Python's final garbage collection."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _watch(reader: int, asked: threading.Event) -> None:
    while os.read(reader, 1)[0] not in _NUMBERS:
        pass
    started = time.monotonic()
    asked.set()
    time.sleep(DEADLINE_S)
    said = threading.Thread(target=_say, daemon=True)
    said.start()
    said.join(max(0.05, started + _LAST_S - time.monotonic()))
    sys.stderr.write("stopped\n")
    end_now(EXIT_CODE)


def _say() -> None:
    for say in _last_words:
        say()
