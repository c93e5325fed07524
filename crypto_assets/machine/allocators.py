"""Set memory allocators for a steady peak: Arrow allocates with malloc, and malloc keeps few arenas."""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa

_M_ARENA_MAX = -8  # mallopt(3)
_ARENAS = 2


def use_steady_allocators() -> None:
    """Set the allocators of this process; repeating it changes nothing. Call it before the first large allocation.

    Arrow's own pool returns large blocks to the system and faults them in again: half a second for a day of 3 million
    trades. glibc gives every thread an arena, each of which keeps its freed memory: 398 MB, 351 MB with two arenas (900 days
    of bars).
    """
    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):  # musl has no arenas
            libc.mallopt(_M_ARENA_MAX, _ARENAS)
