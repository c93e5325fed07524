"""SQL that comments on the views that people read, and on their columns."""

from __future__ import annotations

from collections.abc import Mapping

from crypto_assets.datasets.types import KEYS

KEY_COMMENTS = {column.name: column.doc for column in KEYS}
"""The meanings of the columns exchange, market_type and symbol; the same in tables and views."""


def commented(view: str, text: str, columns: Mapping[str, str]) -> list[str]:
    """Return the statements that comment on a view, named with its schema, and on its columns."""
    meanings = {f"VIEW {view}": text} | {f"COLUMN {view}.{name}": meaning for name, meaning in columns.items()}
    quoted = {what: meaning.replace("'", "''") for what, meaning in meanings.items()}
    return [f"COMMENT ON {what} IS '{meaning}'" for what, meaning in quoted.items()]
