"""A lock for the reasons in quarantine/: one refusal reads a reason, adds its part and writes it again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from crypto_assets.storage.stores import FolderStore

if TYPE_CHECKING:
    from crypto_assets.storage.lake import Lake

_OF_THIS_PROCESS = threading.Lock()


@contextmanager
def writing_reasons(lake: Lake) -> Iterator[None]:
    """Let nobody else write a reason of a lake within the block: no other thread, and for a folder no other process.

    A bucket has no lock: of two processes that refuse one file of a bucket at the same moment, for two symbols, the later
    reason stays. The bytes and the records of the days do not depend on it.
    """
    store = lake.store
    with _OF_THIS_PROCESS, store.locked() if isinstance(store, FolderStore) else nullcontext():
        yield
