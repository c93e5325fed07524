"""Read and write the symbols that exchanges list, and ever listed, by archive and by API (`collection.universe`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import psycopg

Source = Literal["archive", "instruments"]


@dataclass(frozen=True, slots=True)
class ListedSymbol:
    """One symbol as its sources have it together.

    `first_listed` and `last_listed` are the first and last known day of its life, None if not known. `ended`: its exchange
    says that trading ended then; else the last day is only that of the last file. `sources` have it now, `gone` had it.
    `seen_from` is when it was first seen.
    """

    symbol: str
    exchange_symbol: str
    first_listed: date | None
    last_listed: date | None
    ended: bool
    sources: tuple[str, ...]
    gone: tuple[str, ...]
    seen_from: datetime
    looked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """What one source says about a symbol: its own name, and the first and last day of its life, None if not known."""

    exchange_symbol: str
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True, slots=True)
class ListedChanges:
    """What a look changed: `total` symbols are listed, `added` are new, `gone` are not listed any more."""

    total: int
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def write_listed(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    source: Source,
    listed: Mapping[str, Life],
    at: datetime,
) -> ListedChanges:
    """Record all symbols that a source lists now; those that it does not list any more stay, and say since when.

    A life that is not known leaves what was known.
    """
    market = exchange, market_type, source
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('universe'), hashtext(%s))", ("/".join(market),))
    rows = connection.execute(
        "SELECT symbol, seen_until IS NULL FROM collection.universe WHERE (exchange, market_type, source) = (%s, %s, %s)",
        market,
    ).fetchall()
    present = {symbol for symbol, is_present in rows if is_present}
    added, gone = sorted(listed.keys() - present), sorted(present - listed.keys())
    with connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO collection.universe AS u
                (exchange, market_type, source, symbol, exchange_symbol, first_listed, last_listed, seen_from)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (exchange, market_type, symbol, source) DO UPDATE SET
                exchange_symbol = excluded.exchange_symbol, seen_until = NULL,
                first_listed = coalesce(excluded.first_listed, u.first_listed),
                last_listed = CASE WHEN excluded.source = 'archive' THEN coalesce(excluded.last_listed, u.last_listed)
                    ELSE excluded.last_listed END
            WHERE (u.exchange_symbol, u.first_listed, u.last_listed, u.seen_until) IS DISTINCT FROM
                (excluded.exchange_symbol, coalesce(excluded.first_listed, u.first_listed), excluded.last_listed, NULL)""",
            [(*market, symbol, life.exchange_symbol, life.first, life.last, at) for symbol, life in listed.items()],
        )
    connection.execute(
        "UPDATE collection.universe SET seen_until = %s WHERE (exchange, market_type, source) = (%s, %s, %s) "
        "AND symbol = ANY(%s)",
        (at, *market, gone),
    )
    connection.execute(
        "INSERT INTO collection.universe_looks VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (*market, at, len(listed), len(added), len(gone)),
    )
    return ListedChanges(len(listed), tuple(added), tuple(gone))


def write_lives(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    lives: Mapping[str, tuple[date | None, date | None]],
    at: datetime,
) -> None:
    """Record the first and last day of symbols with a file in the archive."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """UPDATE collection.universe SET looked_at = %s, first_listed = coalesce(%s, first_listed),
                last_listed = coalesce(%s, last_listed)
            WHERE (exchange, market_type, source, symbol) = (%s, %s, 'archive', %s)""",
            [(at, first, last, exchange, market_type, symbol) for symbol, (first, last) in lives.items()],
        )


_READ = """
SELECT symbol, exchange_symbol, source, first_listed, last_listed, seen_from, seen_until, looked_at
FROM collection.universe WHERE (exchange, market_type) = (%s, %s) ORDER BY symbol, source
"""


def listed_symbols(connection: psycopg.Connection[Any], exchange: str, market_type: str) -> list[ListedSymbol]:
    """Return every symbol that a market lists or ever listed, by symbol."""
    groups: dict[str, list[Any]] = {}
    for symbol, *of_source in connection.execute(_READ, (exchange, market_type)).fetchall():
        groups.setdefault(symbol, []).append(of_source)
    return [_merged(symbol, rows) for symbol, rows in groups.items()]


def _merged(symbol: str, rows: Sequence[Any]) -> ListedSymbol:
    names, sources, firsts, lasts, seen_froms, seen_untils, looked = zip(*rows, strict=True)
    said = [last for source, last in zip(sources, lasts, strict=True) if source == "instruments" and last]
    return ListedSymbol(
        symbol,
        names[0],
        min((first for first in firsts if first), default=None),
        said[0] if said else max((last for last in lasts if last), default=None),
        bool(said),
        tuple(source for source, until in zip(sources, seen_untils, strict=True) if until is None),
        tuple(source for source, until in zip(sources, seen_untils, strict=True) if until is not None),
        min(seen_froms),
        max((at for at in looked if at), default=None),
    )


def names_of(connection: psycopg.Connection[Any], exchange: str, market_type: str) -> list[str]:
    """Return the symbols of a market, those that are gone included."""
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM collection.universe WHERE (exchange, market_type) = (%s, %s) ORDER BY 1",
        (exchange, market_type),
    ).fetchall()
    return [symbol for (symbol,) in rows]


def last_looked(connection: psycopg.Connection[Any], exchange: str, market_type: str) -> datetime | None:
    """Return when the symbols of a market were last listed; None: never."""
    row = connection.execute(
        "SELECT max(looked_at) FROM collection.universe_looks WHERE (exchange, market_type) = (%s, %s)",
        (exchange, market_type),
    ).fetchone()
    found: datetime | None = row[0] if row else None
    return found


def to_look_at(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, before: datetime, most: int
) -> list[str]:
    """Return symbols of the archive whose files were not looked at since an instant; those that never were come first."""
    rows = connection.execute(
        """SELECT symbol FROM collection.universe
        WHERE (exchange, market_type, source) = (%s, %s, 'archive') AND (looked_at IS NULL OR looked_at < %s)
        ORDER BY looked_at NULLS FIRST, symbol LIMIT %s""",
        (exchange, market_type, before, most),
    ).fetchall()
    return [symbol for (symbol,) in rows]


def markets(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Return the markets with listed symbols."""
    rows = connection.execute("SELECT DISTINCT exchange, market_type FROM collection.universe ORDER BY 1, 2").fetchall()
    return [(exchange, market_type) for exchange, market_type in rows]


def stamp(connection: psycopg.Connection[Any], of: Iterable[tuple[str, str]]) -> str:
    """Return a text that changes whenever some markets have a new symbol, or a top has."""
    rows = connection.execute(
        """SELECT exchange, market_type, count(DISTINCT symbol) FROM collection.universe GROUP BY 1, 2
        UNION ALL SELECT exchange, market_type, count(*) FROM collection.universe_top GROUP BY 1, 2""",
    ).fetchall()
    wanted = set(of)
    return " ".join(sorted(f"{e}/{m}:{count}" for e, m, count in rows if (e, m) in wanted))
