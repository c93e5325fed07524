"""How to ask an exchange for its instruments, and how to read those of an answer one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument
from crypto_assets.sources.feeds import Call


class InstrumentQuery(Protocol):
    """The request for the instruments of one market type, and its answers; numbers with a fraction are text in them."""

    @property
    def ccxt_id(self) -> str: ...

    @property
    def key_advice(self) -> str: ...

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        """Return ccxt's `urls['api']` for one host, as `QueryFeed.urls` does; not used for a call with a path of its own."""

    def call(self) -> Call:
        """Return the request for the first page."""

    def following(self, answer: Any) -> Call | None:
        """Return the request for the page after an answer; None if it was the last one."""

    def read(self, answer: Any) -> Sequence[Instrument]:
        """Return the instruments of an answer; raises BadContent if it is not what the exchange documents.

        One that cannot be read is left out, if others can be.
        """

    def left_out(self, answer: Any) -> Sequence[str]:
        """Return the exchange's names of the instruments that cannot be read; call it with an answer that `read` took."""


def read_each(
    rows: Sequence[Any], read: Callable[[Any], Instrument | None], name_of: Callable[[Any], Any]
) -> tuple[list[Instrument], list[str]]:
    """Return the instruments of an answer's rows, and the names of the rows that cannot be read.

    Args:
        read: returns the instrument of a row, or None if it is not one of ours; raises BadContent.
        name_of: returns the exchange's name of a row that is a mapping.

    Raises:
        BadContent: no row can be read, or one has no name: the answer has another form.
    """
    found: list[Instrument] = []
    odd: dict[str, BadContent] = {}
    read_one = False
    for row in rows:
        try:
            one = read(row)
        except BadContent as error:
            name = name_of(row) if isinstance(row, Mapping) else None
            if not isinstance(name, str) or not name:
                raise
            odd[name] = error
            continue
        read_one = True
        if one is not None:
            found.append(one)
    if odd and not read_one:
        raise next(iter(odd.values()))
    return found, list(odd)


def above_zero(text: Any) -> Decimal:
    """Return a size as a decimal; raises ValueError if it is not above 0, InvalidOperation if it is no number."""
    size = Decimal(text)
    if not size.is_finite() or size <= 0:
        raise ValueError(f"expected a size above 0, found {str(text)[:60]}")
    return size
