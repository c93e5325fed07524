"""Turns an unexpected exception of a source's code into an error about the file or answer at hand.

A source that fails on one file must cost that file alone, with its name: the run goes on.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from crypto_assets.errors import CryptoAssetsError, SourceFault
from crypto_assets.machine.shortage import raise_if_ours


@contextmanager
def own_faults(source: str, what: str) -> Iterator[None]:
    """Raise SourceFault for an exception of the block that is not one of ours; a shortage of this process stays one.

    Args:
        what: the key of the file, or the name of what is read.
    """
    try:
        yield
    except CryptoAssetsError:
        raise
    except Exception as error:
        raise_if_ours(error, what)
        raise SourceFault(
            f"{what}: expected that the source {source} reads it, found that its code failed: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]} ({_place(error)}); please report it. Nothing else is affected",
        ) from error


def _place(error: Exception) -> str:
    """Return the innermost line of our own code: `__init__.py:219 in _rows`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "crypto_assets" in PurePath(frame.filename).parts] or frames
    return f"{PurePath(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}"


class Careful:
    """Another object whose methods raise SourceFault instead of unexpected exceptions."""

    def __init__(self, inner: Any, source: str, what: str) -> None:
        self._inner, self._source, self._what = inner, source, what

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._careful(found, name) if callable(found) else found

    def _careful(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def careful(*args: Any, **kwargs: Any) -> Any:
            with own_faults(self._source, f"{self._what} ({name})"):
                return method(*args, **kwargs)

        return careful
