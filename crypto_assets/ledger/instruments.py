"""Read and write instruments: what exchanges said about their symbols, versioned in time (`market.instruments`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from crypto_assets.model import Instrument

if TYPE_CHECKING:
    import psycopg

_NAMES = tuple(one.name for one in fields(Instrument))
_SAID = tuple(name for name in _NAMES if name not in ("exchange", "market_type", "exchange_symbol"))
"""What an exchange says of an instrument; a change of any of it makes a new version."""


@dataclass(frozen=True, slots=True)
class KnownInstrument:
    """One version of an instrument, and when it was valid, half-open.

    `valid_until` is None if the latest answer still says so. `is_earliest` marks the first version: it is used for earlier
    instants too, because nobody asked before; then it is inferred.
    """

    instrument: Instrument
    valid_from: datetime
    valid_until: datetime | None
    is_earliest: bool = False

    def is_inferred(self, instant: datetime) -> bool:
        """Return whether nobody asked at an instant: the exchange was first asked later, or the symbol was gone."""
        return instant < self.valid_from or (self.valid_until is not None and instant >= self.valid_until)


@dataclass(frozen=True, slots=True)
class InstrumentChanges:
    """What an answer changed: names of new, changed and gone symbols, in order; `total` symbols are in the answer."""

    total: int
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def is_any(self) -> bool:
        return bool(self.added or self.changed or self.gone)


def write_instruments(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    answered: Sequence[Instrument],
    asked_at: datetime,
) -> InstrumentChanges:
    """Record a whole answer of an exchange about a market type; equal content makes no new version.

    An answer that is not newer than the last recorded one changes nothing.

    Args:
        answered: every instrument of the market type, each symbol and each name once.
    """
    market = exchange, market_type
    # Two processes may ask at the same time; the second one compares with what the first one wrote.
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('instruments'), hashtext(%s))", ("/".join(market),))
    if (asked := last_asked(connection, exchange, market_type)) is not None and asked >= asked_at:
        return InstrumentChanges(len(answered))
    now = {known.instrument.exchange_symbol: known.instrument for known in _now(connection, market)}
    new = {one.exchange_symbol: one for one in answered}
    added = [name for name in new if name not in now]
    changed = [name for name in new if name in now and new[name] != now[name]]
    gone = [name for name in now if name not in new]
    connection.execute(
        """UPDATE market.instruments SET valid_until = %s
        WHERE (exchange, market_type) = (%s, %s) AND valid_until IS NULL AND exchange_symbol = ANY(%s)""",
        (asked_at, *market, [*changed, *gone]),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO market.instruments ({', '.join(_NAMES)}, valid_from) "
            f"VALUES ({', '.join(['%s'] * len(_NAMES))}, %s)",
            [(*(getattr(new[name], field) for field in _NAMES), asked_at) for name in (*added, *changed)],
        )
    connection.execute(
        "INSERT INTO collection.instrument_looks VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (*market, asked_at, len(new), len(added), len(changed), len(gone)),
    )
    symbols = {one.exchange_symbol: one.symbol for one in (*now.values(), *new.values())}
    return InstrumentChanges(
        len(new), *(tuple(sorted(symbols[name] for name in names)) for names in (added, changed, gone))
    )


def last_asked(connection: psycopg.Connection[Any], exchange: str, market_type: str) -> datetime | None:
    """Return when an exchange last answered the question for its instruments; None: never."""
    row = connection.execute(
        "SELECT max(asked_at) FROM collection.instrument_looks WHERE (exchange, market_type) = (%s, %s)",
        (exchange, market_type),
    ).fetchone()
    found: datetime | None = row[0] if row else None
    return found


def _now(connection: psycopg.Connection[Any], market: tuple[str, str]) -> list[KnownInstrument]:
    return _read(connection, "(exchange, market_type) = (%s, %s) AND valid_until IS NULL", market)


def instruments_at(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    instant: datetime,
    symbols: Iterable[str] | None = None,
) -> dict[str, KnownInstrument]:
    """Return what is known of the symbols of a market at an instant, by symbol.

    A symbol that was gone then has its last version, and one that was not known yet its first (`KnownInstrument.is_inferred`
    tells): its contract size is still the best that is known about its rows.

    Args:
        symbols: only these; by default all that were ever known.
    """
    where, values = "(exchange, market_type) = (%s, %s)", [exchange, market_type]
    if symbols is not None:
        where, values = f"{where} AND symbol = ANY(%s)", [*values, sorted(set(symbols))]  # type: ignore[list-item]
    found: dict[str, KnownInstrument] = {}
    for known in _read(connection, where, values):  # by valid_from
        if known.instrument.symbol not in found or known.valid_from <= instant:
            found[known.instrument.symbol] = known
    return dict(sorted(found.items()))


def instrument_at(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbol: str, instant: datetime
) -> KnownInstrument | None:
    """Return what is known of one symbol at an instant, as `instruments_at`; None: nothing is known of it."""
    return instruments_at(connection, exchange, market_type, instant, [symbol]).get(symbol)


def instrument_versions(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbol: str
) -> list[KnownInstrument]:
    """Return every version of one symbol, the earliest first."""
    return _read(connection, "(exchange, market_type, symbol) = (%s, %s, %s)", (exchange, market_type, symbol))


def _read(connection: psycopg.Connection[Any], where: str, values: Sequence[Any]) -> list[KnownInstrument]:
    """Return versions of instruments by symbol and time."""
    rows = connection.execute(
        f"SELECT {', '.join(_NAMES)}, valid_from, valid_until FROM market.instruments WHERE {where} "
        "ORDER BY symbol, valid_from, exchange_symbol",
        values,
    ).fetchall()
    found: list[KnownInstrument] = []
    seen: set[str] = set()
    for row in rows:
        instrument = Instrument(*row[: len(_NAMES)])
        found.append(KnownInstrument(instrument, row[-2], row[-1], instrument.symbol not in seen))
        seen.add(instrument.symbol)
    return found


def asked_markets(connection: psycopg.Connection[Any]) -> list[tuple[str, str, datetime]]:
    """Return the markets whose exchange was asked for instruments, and when the last time."""
    rows = connection.execute(
        "SELECT exchange, market_type, max(asked_at) FROM collection.instrument_looks GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    return [(exchange, market_type, asked) for exchange, market_type, asked in rows]


def contract_sizes(known: Mapping[str, KnownInstrument]) -> dict[str, Decimal]:
    """Return the contract size of each symbol."""
    return {symbol: one.instrument.contract_size for symbol, one in known.items()}
