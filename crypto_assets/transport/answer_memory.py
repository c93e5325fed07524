"""Memory of large answers, given back to the system once they are done with."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """Give freed memory back. glibc keeps it for each thread: twelve that had 64 MB after each other hold 768 MB.

    Other C libraries have no such call, and need none.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
