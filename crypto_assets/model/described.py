"""Descriptions of the fields of a record; pydantic reads them where a record is an answer of the API."""

from __future__ import annotations

from collections.abc import Mapping


def means(text: str) -> Mapping[str, str]:
    """Return the `metadata` of a dataclass field that has this meaning: `rows: int = field(metadata=means("…"))`."""
    return {"description": text}
