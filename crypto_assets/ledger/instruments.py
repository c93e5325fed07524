"""Read and write instruments: what exchanges said about their symbols, versioned in time (`market.instruments`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

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
    left_out: Sequence[str] = (),
) -> InstrumentChanges:
    """Record a whole answer of an exchange about a market type; equal content makes no new version.

    An answer that is not newer than the last recorded one changes nothing.

    Args:
        answered: every instrument of the market type, each symbol and each name once.
        left_out: the exchange's names of instruments that are in the answer and cannot be used: they stay as they are known,
            unless another name has their symbol now.
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
    taken, kept = {one.symbol for one in answered}, set(left_out)
    gone = [name for name in now if name not in new and (name not in kept or now[name].symbol in taken)]
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
    versions: dict[str, list[KnownInstrument]] = {}
    for known in _read(connection, where, values):
        versions.setdefault(known.instrument.symbol, []).append(known)
    found = {symbol: valid_at(mine, instant) for symbol, mine in versions.items()}
    return {symbol: known for symbol, known in found.items() if known is not None}


def valid_at(versions: Sequence[KnownInstrument], instant: datetime) -> KnownInstrument | None:
    """Return the version of an instrument at an instant, of all its versions, the earliest first; None if there is none."""
    begun = [known for known in versions if known.valid_from <= instant]
    return begun[-1] if begun else versions[0] if versions else None


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


@dataclass(frozen=True, slots=True)
class OtherSize:
    """Days of a track that were converted with another contract size than what is known of them now."""

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    first: date
    last: date
    days: int
    used: str
    known: str

    def __str__(self) -> str:
        span = f"{self.first}" if self.first == self.last else f"{self.first} … {self.last}"
        return (
            f"{self.exchange} {self.market_type} {self.symbol} {self.dataset}: {self.days} day{'s' * (self.days != 1)} "
            f"({span}) converted with a contract size of {self.used}, and {self.known} is known of them now "
            f"(`crypto-assets instruments --symbol {self.symbol} --as-of {self.last}`); "
            "remove their files from the lake, and `crypto-assets fill` collects them again"
        )


_OTHER_SIZES = """
SELECT exchange, market_type, symbol, dataset, min(day) AS first, max(day) AS last, count(*) AS days, used,
    trim_scale(known)::text AS known FROM (
    SELECT p.exchange, p.market_type, p.symbol, p.dataset, p.day, p.source_contract_size AS used, (
        SELECT i.contract_size FROM market.instruments i
        WHERE (i.exchange, i.market_type, i.symbol) = (p.exchange, p.market_type, p.symbol)
        ORDER BY i.valid_from > (p.day + 1)::timestamp AT TIME ZONE 'UTC',
            CASE WHEN i.valid_from <= (p.day + 1)::timestamp AT TIME ZONE 'UTC' THEN i.valid_from END DESC NULLS LAST,
            i.valid_from
        LIMIT 1) AS known
    FROM collection.partitions p WHERE p.path IS NOT NULL AND p.source_contract_size IS NOT NULL) AS stored
WHERE used::numeric <> known GROUP BY exchange, market_type, symbol, dataset, used, known
ORDER BY exchange, market_type, symbol, dataset, min(day)
"""


def days_with_other_size(connection: psycopg.Connection[Any]) -> list[OtherSize]:
    """Return the stored days whose contract size is not the one that is known of them now: of the end of the day."""
    with connection.cursor(row_factory=class_row(OtherSize)) as cursor:
        return cursor.execute(_OTHER_SIZES).fetchall()
