"""Switches Python's garbage collection off while lasting objects are made (imports, definitions), and makes it rare later."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS, _YOUNGER_SEARCHES = 10_000, 20
"""Python's own are 700 and 10: it would search everything again and again while a run imports pandas and makes its events."""


@contextmanager
def no_search_for_garbage() -> Iterator[None]:
    """Collect no garbage inside the block, and exclude all objects that exist at its end from every later collection.

    An import creates no garbage, but Python searches all its objects again and again: 0.3 of the 1.7 CPU seconds for
    importing Dagster and the definitions. After the block Python searches seldom: that saves 0.1 of the 5.5 CPU seconds of
    a run over 285 days, and its memory is the same.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS, _YOUNGER_SEARCHES, _YOUNGER_SEARCHES)
        if was_on:
            gc.enable()
