"""Read the JSON of a lock file line by line, as `crypto-assets lock` writes it: memory follows the line, not the file.

{
"format": 1,
"package": "…",
"query": {…},
"files": [
{…},
{…}
],
"without_file": [],
"created_at": "…",
"digest": "…"
}
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import IO, Any

from crypto_assets.quality.lock.content import canonical
from crypto_assets.storage.foreign_json import loads

NAMES = ("format", "package", "query", "files", "without_file", "created_at", "digest")
LISTS = ("files", "without_file")

MOST_LINE_BYTES = 64 << 10
"""Longest line. A line of a day has 600 bytes; the line of the query may have thousands of symbols."""

_NAMED = re.compile(rb'"(\w+)": (.*?),?\n')


class OtherLayout(Exception):
    """The JSON is not written line by line as `crypto-assets lock` does."""


def read_lines(file: IO[bytes], take: Callable[[str, Any], None]) -> tuple[dict[str, Any], str]:
    """Return the fields of a lock that are not lists, and the digest of the content; pass each line of its lists to `take`.

    Args:
        take: called with the name of the list and the unchecked value of a line.

    Raises:
        OtherLayout: the text has another layout. Some lines may have been passed on already.
        ValueError: a line is not JSON, or has text that cannot be stored.
    """
    lines = _lines(file)
    if next(lines, b"") != b"{\n":
        raise OtherLayout
    fields: dict[str, Any] = {}
    # The digest takes the names in sorted order: `files` comes first, `without_file` last.
    hashed = hashlib.sha256(b'{"files":[')
    for name in NAMES:
        found = _NAMED.fullmatch(next(lines, b""))
        if found is None or found[1].decode() != name:
            raise OtherLayout
        if name == "without_file":
            hashed.update(f'],{canonical({key: fields[key] for key in NAMES[:3]})[1:-1]},"without_file":['.encode())
        if name not in LISTS:
            fields[name] = loads(found[2])
        elif found[2] == b"[":
            _read_list(lines, lambda value, name=name: take(name, value), hashed)  # type: ignore[misc]
        elif found[2] != b"[]":
            raise OtherLayout
    hashed.update(b"]}")
    if [*lines] != [b"}\n"]:
        raise OtherLayout
    return fields, f"sha256:{hashed.hexdigest()}"


def _read_list(lines: Iterator[bytes], take: Callable[[Any], None], hashed: Any) -> None:
    between = ""
    for line in lines:
        if line in (b"],\n", b"]\n"):
            return
        value = loads(line.rstrip(b",\n"))
        hashed.update(f"{between}{canonical(value)}".encode())
        between = ","
        take(value)
    raise OtherLayout


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(MOST_LINE_BYTES + 1):
        if len(line) > MOST_LINE_BYTES:
            raise OtherLayout
        yield line
