"""The collection with the symbols that its rules choose, from what the ledger knows; never from the network.

`all` and patterns choose among every symbol that an exchange lists or ever listed, delisted ones included: a symbol that was
chosen once stays. `top` ranks by the quote volume of the stored 1d bars in Postgres: the top of a day is that of the day
BEFORE, so that nothing of a day decides about the day itself; a symbol that was ever in a top stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crypto_assets.config.collection import Collection, SeriesEntry, load_collection
from crypto_assets.config.environment import settings_at_start
from crypto_assets.config.symbol_rules import SymbolRule
from crypto_assets.errors import NothingCollected
from crypto_assets.ledger.listed_symbols import names_of, stamp

if TYPE_CHECKING:
    import psycopg

NO_SYMBOLS = (
    "no symbol is known yet that matches `{rule}`; `crypto-assets symbols --refresh` lists what the exchange has"
)
NO_VOLUME = (
    "no symbol is known yet for `{rule}`: it ranks the 1d bars in Postgres of the days before; let an entry of its own "
    "collect `ohlcv_1d` for them, then run `collect` again"
)


@dataclass(frozen=True, slots=True)
class Unchosen:
    """One dataset of an entry whose rule has chosen no symbol yet: nothing of it is collected, and no day shows that."""

    entry: str
    exchange: str
    market_type: str
    dataset: str
    rule: str
    reason: str


def load_known_collection(path: Path) -> Collection:
    """Return the collection described by a YAML file, with the symbols that its rules choose.

    Where no rule is in it, no database is asked. Without a database rules choose nothing.

    Raises:
        ConfigError: as `load_collection`. PostgresUnavailable: the database does not answer.
    """
    collection = load_collection(path)
    if not collection.ruled:
        return collection
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage import postgres_url
    from crypto_assets.storage.migrations import migrate
    from crypto_assets.storage.patience import outlast

    try:
        url = postgres_url(settings_at_start(), make=False)
    except NothingCollected:
        return collection.with_series([_chosen(entry, (), waits=True) for entry in collection.series])
    migrate(url)
    with Ledger(url) as ledger:

        def read(ledger: Ledger) -> Collection:
            with ledger.transaction() as connection:
                return with_known_symbols(connection, collection)

        return outlast(read, ledger)


def with_known_symbols(connection: psycopg.Connection[Any], collection: Collection) -> Collection:
    """Return a collection with the symbols that its rules choose from the ledger."""
    taken: dict[tuple[str, str, str], set[str]] = {}
    for entry in collection.series:
        if entry.rule is None:
            for dataset in entry.datasets:
                taken.setdefault((entry.exchange, entry.market_type, dataset), set()).update(entry.symbols)
    series = []
    for entry in collection.series:
        if entry.rule is None:
            series.append(entry)
            continue
        mine = [taken.setdefault((entry.exchange, entry.market_type, dataset), set()) for dataset in entry.datasets]
        matches = _symbols(connection, entry, entry.rule)
        symbols = [one for one in matches if not any(one in names for names in mine)]
        for names in mine:
            names.update(symbols)
        series.append(_chosen(entry, symbols, waits=not matches))
    return collection.with_series(series)


def _chosen(entry: SeriesEntry, symbols: Sequence[str], *, waits: bool) -> SeriesEntry:
    """Return an entry with the symbols that its rule chose, after those that it names."""
    if entry.rule is None:
        return entry
    return entry.with_symbols(list(dict.fromkeys([*entry.symbols, *symbols])), waits=waits)


def _symbols(connection: psycopg.Connection[Any], entry: SeriesEntry, rule: SymbolRule) -> list[str]:
    if rule.top is None:
        return rule.of(names_of(connection, entry.exchange, entry.market_type))
    rows = connection.execute(
        "SELECT symbol FROM collection.universe_top WHERE (exchange, market_type, rule) = (%s, %s, %s) ORDER BY 1",
        (entry.exchange, entry.market_type, str(rule)),
    ).fetchall()
    return [symbol for (symbol,) in rows]


def hints(collection: Collection, entries: Sequence[SeriesEntry] | None = None) -> list[str]:
    """Return a line for each entry whose rule chooses nothing yet; of all entries, or of some."""
    return [
        f"{collection.name_of(entry)}: " + (NO_VOLUME if entry.rule.top else NO_SYMBOLS).format(rule=entry.rule)
        for entry in (collection.ruled if entries is None else entries)
        if entry.rule and entry.waits_for_symbols
    ]


def unchosen(collection: Collection, entries: Sequence[SeriesEntry] | None = None) -> list[Unchosen]:
    """Return the datasets of entries whose rule chooses nothing yet; of all entries, or of some."""
    return [
        Unchosen(
            collection.name_of(entry),
            entry.exchange,
            entry.market_type,
            dataset,
            str(entry.rule),
            f"not collected yet: {hint.partition(': ')[2]}",
        )
        for entry in (collection.ruled if entries is None else entries)
        for hint in hints(collection, [entry])
        for dataset in entry.datasets
    ]


def universe_stamp(connection: psycopg.Connection[Any], collection: Collection) -> str:
    """Return a text that changes whenever a rule of the collection may choose another symbol."""
    return stamp(connection, {(entry.exchange, entry.market_type) for entry in collection.ruled})


# ---- top ------------------------------------------------------------------------------------------------------------------

_DAYS = """
WITH ranked AS (
    SELECT symbol, (open_time AT TIME ZONE 'UTC')::date AS day, quote_volume,
        row_number() OVER (PARTITION BY open_time ORDER BY quote_volume DESC, symbol) AS place
    FROM market.ohlcv
    WHERE (exchange, market_type, timeframe) = (%(exchange)s, %(market_type)s, '1d') AND symbol = ANY(%(symbols)s)
        AND quote_volume > 0 AND open_time >= %(first)s::date - 1 AND open_time < %(last)s::date
)
SELECT DISTINCT ON (symbol) symbol, day + 1, day, quote_volume, place FROM ranked WHERE place <= %(top)s
ORDER BY symbol, day
"""


def rank(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, rule: SymbolRule, first: date, last: date
) -> list[tuple[str, date, date, Any, int]]:
    """Return the symbols that were in the top on any day from first to last.

    The top of a day is by the quote volume of the day before, from the stored 1d bars; of equal ones the first by name.

    Returns:
        Symbol, the first day in the top, the day before it, its quote volume on that day, and its place from 1.
    """
    known = connection.execute(
        "SELECT DISTINCT symbol FROM market.ohlcv WHERE (exchange, market_type, timeframe) = (%s, %s, '1d')",
        (exchange, market_type),
    ).fetchall()
    symbols = rule.of(symbol for (symbol,) in known)
    asked = {"exchange": exchange, "market_type": market_type, "symbols": symbols, "top": rule.top}
    return connection.execute(_DAYS, {**asked, "first": first, "last": last}).fetchall()


def top_on(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, rule: SymbolRule, day: date
) -> list[str]:
    """Return the top of one day, the largest first: by the day before, as `rank`."""
    found = rank(connection, exchange, market_type, rule, day, day)
    return [symbol for symbol, *_, place in sorted(found, key=lambda one: one[-1])]


def write_tops(
    connection: psycopg.Connection[Any], entries: Iterable[SeriesEntry], today: date
) -> dict[str, list[str]]:
    """Rank the days of entries with a `top`, up to today; return the symbols that are new in each rule.

    A symbol that was in a top stays, whatever its volume later is, or turns out to have been.
    """
    new: dict[str, list[str]] = {}
    for entry in entries:
        rule = entry.rule
        if rule is None or rule.top is None:
            continue
        market = entry.exchange, entry.market_type
        for symbol, day, ranked_on, volume, place in rank(connection, *market, rule, entry.start, entry.until(today)):
            added = connection.execute(
                """INSERT INTO collection.universe_top VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (exchange, market_type, rule, symbol) DO UPDATE SET first_day = excluded.first_day,
                    ranked_on = excluded.ranked_on, quote_volume = excluded.quote_volume, place = excluded.place
                WHERE excluded.first_day < universe_top.first_day
                RETURNING xmax = 0""",
                (*market, str(rule), symbol, day, ranked_on, volume, place),
            ).fetchone()
            if added and added[0]:
                new.setdefault(str(rule), []).append(symbol)
    return new
