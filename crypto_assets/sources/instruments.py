"""How to ask an exchange for its instruments, and how to read those of an answer one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Protocol

from crypto_assets.errors import BadContent
from crypto_assets.model import Instrument
from crypto_assets.model.epoch import at_milliseconds
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

    def following(self, call: Call, answer: Any) -> Call | None:
        """Return the request for the page after an answer, by the call that it answers; None if it was the last one."""

    def has_ended(self, one: Instrument) -> bool:
        """Return whether the exchange says that an instrument has ended: another one may have its name or symbol now."""

    def read(self, answer: Any) -> Sequence[Instrument]:
        """Return the instruments of an answer; raises BadContent if it is not what the exchange documents.

        One that cannot be read is left out, if others can be.
        """

    def left_out(self, answer: Any) -> Sequence[str]:
        """Return the exchange's names of the instruments that cannot be read; call it with an answer that `read` took."""


class InstrumentList(ABC):
    """The base of a question for instruments: an answer is a list, and each row of it is an instrument, or none of ours.

    A row that cannot be read is left out by name, if others can be read.
    """

    market_type: str
    exchange: ClassVar[str]
    ccxt_id: ClassVar[str]
    key_advice: ClassVar[str]
    what: ClassVar[str]
    """The exchange's own word for the answer, for messages: `exchangeInfo`."""
    name_field: ClassVar[str]
    """The field of a row with the exchange's name of the symbol."""
    expected: ClassVar[str]
    """What a row has, for messages: `symbols with their assets and steps`."""

    @abstractmethod
    def rows(self, answer: Any) -> Sequence[Any]:
        """Return the rows of an answer; raises BadContent for another one."""

    @abstractmethod
    def instrument(self, row: Any) -> Instrument | None:
        """Return the instrument of a row; None if it is not one of ours. Its errors of reading mean that it is odd."""

    def urls(self, rest_url: str) -> Mapping[str, Any]:
        return {"public": rest_url}

    def following(self, call: Call, answer: Any) -> Call | None:  # noqa: ARG002  most answers are whole
        return None

    def has_ended(self, one: Instrument) -> bool:  # noqa: ARG002  most answers are of what trades
        return False

    def read(self, answer: Any) -> list[Instrument]:
        return read_each(self.rows(answer), self._one, self._name)[0]

    def left_out(self, answer: Any) -> list[str]:
        return read_each(self.rows(answer), self._one, self._name)[1]

    def _name(self, row: Any) -> Any:
        return row.get(self.name_field)

    def _one(self, row: Any) -> Instrument | None:
        try:
            return self.instrument(row)
        except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation, OverflowError) as error:
            raise BadContent(
                f"{self.exchange} {self.market_type} {self.what}: expected {self.expected}, found "
                f"{str(row)[:200]} ({type(error).__name__}: {error})"
            ) from None


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


def instant_of(milliseconds: Any) -> datetime | None:
    """Return an instant of milliseconds since 1970; 0 and an empty text are none. Raises ValueError, TypeError for others."""
    return at_milliseconds(int(milliseconds)) if milliseconds != "" and int(milliseconds) else None
