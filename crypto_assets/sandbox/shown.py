"""The objects as one request sees them: the source, with overrides and faults applied."""

from __future__ import annotations

import gzip
import hashlib
import heapq
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from crypto_assets.sandbox.cache import BoundedCache
from crypto_assets.sandbox.dialects import Dialect
from crypto_assets.sandbox.faults import Active, Faults, Kind
from crypto_assets.sandbox.objects import CHECKSUM, Archive, ObjectInfo

# Faults that change the file but not its checksum.
_STALE_CHECKSUM = frozenset({"wrong-bytes", "republished-stale-checksum"})
_REPUBLISHED = frozenset({"republished", "republished-stale-checksum"})


class Overridden:
    """A source with the objects of `overrides` on top. They are as new as the server."""

    def __init__(self, source: Archive, overrides: dict[str, bytes | None]) -> None:
        self._source = source
        self._overrides = overrides
        self._started = datetime.now(UTC)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        replaced = dict(self._overrides)
        ours = sorted(k for k, content in replaced.items() if content is not None and k > after)
        theirs = (key for key in self._source.keys(prefix, after) if key not in replaced)
        yield from heapq.merge(theirs, (key for key in ours if key.startswith(prefix)))

    def info(self, key: str) -> ObjectInfo | None:
        if key not in self._overrides:
            return self._source.info(key)
        content = self._overrides[key]
        return None if content is None else _info(key, content, self._started)

    def read(self, key: str) -> bytes | None:
        return self._overrides[key] if key in self._overrides else self._source.read(key)


class Shown:
    """Gives each request its view of the objects of one dialect. Faults of other exchanges do not concern it."""

    def __init__(self, dialect: Dialect, faults: Faults, overrides: dict[str, bytes | None]) -> None:
        self.dialect = dialect
        self.overrides = overrides
        self._objects = Overridden(dialect.archive, overrides)
        self._faults = faults.of(dialect.name)
        # A cache of damaged files: listings ask for their size again and again.
        self._damaged: BoundedCache[tuple[str, str, str], bytes] = BoundedCache(64_000_000, len)

    def to_listing(self, prefix: str) -> ListedObjects:
        return ListedObjects(self, self._faults.frozen_at(prefix))

    def to_download(self, key: str) -> ServedObject:
        kind: Kind = "checksum" if key.endswith(CHECKSUM) else "object"
        return ServedObject(self, key, self._faults.claim_objects(kind, key))

    def keys(self, prefix: str, after: str) -> Iterator[str]:
        return self._objects.keys(prefix, after)

    def faults_of(self, key: str) -> list[Active]:
        return self._faults.of_object("checksum" if key.endswith(CHECKSUM) else "object", key)

    def hides(self, key: str, decided: dict[tuple[int, str], bool]) -> bool:
        return self._faults.hides(key, decided)

    def true_info(self, key: str) -> ObjectInfo | None:
        return self._objects.info(key)

    def read(self, key: str, faults: list[Active]) -> bytes | None:
        """Return the content of a key under some faults; None if it does not exist."""
        names = [active.fault.fault for active in faults]
        if "late" in names:
            return None
        if not key.endswith(CHECKSUM):
            content = self._objects.read(key)
            for name in names:
                content = self._damage(name, key, content)
            return content
        if "wrong-checksum" in names:
            return f"{hashlib.sha256(key.encode()).hexdigest()}  {_name(key)}\n".encode()
        followed = [name for name in names if name not in _STALE_CHECKSUM]
        if not followed:
            return self._objects.read(key)
        content = self._objects.read(key.removesuffix(CHECKSUM))
        for name in followed:
            content = self._damage(name, key.removesuffix(CHECKSUM), content)
        return None if content is None else f"{hashlib.sha256(content).hexdigest()}  {_name(key)}\n".encode()

    def info(self, key: str, faults: list[Active]) -> ObjectInfo | None:
        """Return the entry of a key under some faults; for wrong bytes, the entry of the true ones."""
        names = {active.fault.fault for active in faults}
        if "late" in names:
            return None
        told = self.true_info(key)
        if told is None or not names - {"wrong-bytes", "wrong-checksum"}:
            return told
        content = self.read(key, [active for active in faults if active.fault.fault != "wrong-bytes"])
        if content is None:
            return None
        told = _info(key, content, told.last_modified)
        if names & _REPUBLISHED:
            told = replace(told, last_modified=max(a.since for a in faults if a.fault.fault in _REPUBLISHED))
        return told

    def _damage(self, fault: str, key: str, content: bytes | None) -> bytes | None:
        if content is None:
            return None
        mark = hashlib.md5(content, usedforsecurity=False).hexdigest()
        try:
            return self._damaged.get((fault, key, mark), lambda: self.dialect.damaged(fault, key, content))
        except (zipfile.BadZipFile, gzip.BadGzipFile):  # the override is neither
            return content


class ServedObject:
    """One key, as its request sees it from beginning to end."""

    def __init__(self, shown: Shown, key: str, faults: list[Active]) -> None:
        self._shown = shown
        self._key = key
        self._faults = faults

    def info(self) -> ObjectInfo | None:
        told = self._shown.info(self._key, self._faults)
        content = self.read() if told else None
        # The length is of the sent bytes, even if ETag and listing differ.
        return replace(told, size=len(content)) if told and content is not None and self._faults else told

    def read(self) -> bytes | None:
        return self._shown.read(self._key, self._faults)


class ListedObjects:
    """All keys, as one listing sees them. A frozen listing shows the past objects."""

    def __init__(self, shown: Shown, frozen_at: datetime | None) -> None:
        self._shown = shown
        self._frozen_at = frozen_at
        self._decided: dict[tuple[int, str], bool] = {}

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        for key in self._shown.keys(prefix, after):
            if not self._hidden(key):
                yield key

    def info(self, key: str) -> ObjectInfo | None:
        if self._frozen_at is not None:
            return self._shown.true_info(key)
        return self._shown.info(key, [a for a in self._shown.faults_of(key) if a.fault.fault != "late"])

    def _hidden(self, key: str) -> bool:
        if self._frozen_at is not None:
            told = self._shown.true_info(key)
            return told is None or told.last_modified > self._frozen_at
        return self._shown.hides(key, self._decided)


def _info(key: str, content: bytes, modified: datetime) -> ObjectInfo:
    return ObjectInfo(key, len(content), hashlib.md5(content, usedforsecurity=False).hexdigest(), modified)


def _name(key: str) -> str:
    return key.removesuffix(CHECKSUM).rpartition("/")[2]
