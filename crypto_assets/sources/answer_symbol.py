"""Compares the names in an answer with the symbol that was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crypto_assets.errors import BadContent


def require_name(key: str, expected: str, found: Iterable[Any]) -> None:
    """Raise BadContent unless every name that an answer gives its rows is that of the symbol that was asked for.

    Args:
        expected: the exchange's own name of the symbol.
        found: the names in the answer; None where a row has none.
    """
    other = next((name for name in found if name != expected), expected)
    if other != expected:
        shown = "no name" if other is None else f"those of {str(other)[:60]}"
        raise BadContent(f"{key}: expected rows of {expected}, found {shown}; nothing of this answer was stored")
