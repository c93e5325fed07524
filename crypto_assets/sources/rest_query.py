"""The base of a feed that an exchange answers over REST: what most of them have in common, and readings of common answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from crypto_assets.errors import BadContent
from crypto_assets.sources.feeds import Call


class RestQuery:
    """The usual facts of such a feed; see `crypto_assets.sources.QueryFeed` for what each means."""

    name = "rest"
    settle = timedelta(seconds=5)
    ended: frozenset[str] = frozenset()
    """The exchange's words for the state of a symbol that does not trade and will not resume by itself."""

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        return {"public": rest_url}

    def has_ended(self, status: str | None) -> bool:
        return status is None or status in self.ended

    def first_row(self, symbol: str) -> Call | None:  # noqa: ARG002  most answers begin with the newest rows
        return None


def clock_of(what: str, answer: Any, read: Callable[[Any], datetime]) -> datetime:
    """Return the clock in an answer, as `read` finds it; raises BadContent if it does not."""
    try:
        return read(answer)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        raise BadContent(f"{what}: expected the exchange's clock, found {str(answer)[:200]}") from None


def state_in(what: str, rows: Iterable[Any], name: tuple[str, str], fields: tuple[str, ...]) -> str | None:
    """Return the state of a symbol in an answer about symbols; None if no row has its name.

    Args:
        name: the field of the exchange's own name, and the name.
        fields: the fields that may have the state; the first one that is there counts.

    Raises:
        BadContent: a row has no name, or that of the symbol has no state.
    """
    field, wanted = name
    try:
        found = next((row for row in rows if row[field] == wanted), None)
        return None if found is None else str(next(found[one] for one in fields if one in found))
    except (KeyError, TypeError, StopIteration):
        raise BadContent(f"{what}: expected rows with {field} and {fields[0]}, found {str(rows)[:200]}") from None
