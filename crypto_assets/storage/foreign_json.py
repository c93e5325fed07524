"""Check JSON that others may have written: a lock file, a reason in quarantine/. Every value is checked before it is used.

Every function raises ValueError, with what was expected and what was found, in one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

MOST_DEPTH = 32
"""Most nested lists and objects. This package writes at most 8."""

MOST_LETTERS = 10_000

_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}


def loads(content: bytes) -> Any:
    """Return the value of a JSON text in UTF-8."""
    try:
        found = json.loads(content)
    except RecursionError:
        found = None
        deep = True
    else:
        deep = _is_deeper(found, MOST_DEPTH)
    if deep:
        raise ValueError(f"expected at most {MOST_DEPTH} nested lists and objects, found more")
    return found


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [
            one
            for part in level
            if isinstance(part, dict | list)
            for one in (part.values() if isinstance(part, dict) else part)
            if isinstance(one, dict | list)
        ]
        if not level:
            return False
    return True


def kind_of(value: Any) -> str:
    """Return the kind of a value, for a message: `a number`, `nothing`."""
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {kind_of(value)}")
    return value


def sequence(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, found {kind_of(value)}")
    return value


def text(value: Any, most: int = MOST_LETTERS) -> str:
    """Return a text of at most `most` letters; NUL and half surrogate pairs are refused, no database takes them."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, found {kind_of(value)}")
    if len(value) > most:
        raise ValueError(f"expected a text of at most {most:,} letters, found {len(value):,}")
    if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise ValueError(f"expected a text that can be stored, found {value[:50]!r}")
    return value


def count(value: Any) -> int:
    """Return a whole number from 0 that fits into 8 bytes."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected a whole number, found {kind_of(value)}")
    if not 0 <= value < 1 << 63:
        raise ValueError(
            f"expected a number from 0, found {'one below' if value < 0 else 'a larger one than any count'}"
        )
    return value


def day(value: Any) -> date:
    found = text(value, 40)
    try:
        return date.fromisoformat(found)
    except ValueError:
        raise ValueError(f"expected a day such as 2024-01-31, found {found!r}") from None


def instant(value: Any) -> datetime:
    found = text(value, 40)
    try:
        at = datetime.fromisoformat(found)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"expected an instant such as 2024-01-31T00:00:00+00:00, found {found!r}")


def digits(value: Any) -> str:
    """Return a SHA-256 in 64 lower-case hexadecimal digits."""
    found = text(value, 200)
    if len(found) != 64 or found.strip("0123456789abcdef"):
        raise ValueError(f"expected 64 hexadecimal digits of a sha256, found {found[:70]!r}")
    return found
