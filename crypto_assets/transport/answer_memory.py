"""Returns the memory of large answers to the system after use."""

from __future__ import annotations

import contextlib
import ctypes


def trim_memory() -> None:
    """Return freed memory to the system. glibc keeps it per thread: twelve threads that each had 64 MB in turn keep 768 MB.

    Other C libraries have no such call and need none.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
