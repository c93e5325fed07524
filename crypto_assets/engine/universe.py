"""Lists the symbols of exchanges, and records them: what archives have, what the exchanges say, and who was in a top.

Names in an archive are read with the instruments where these are known, else as the source splits them. A name that is no
symbol of the market type (an index, an option) is left out. A name that can be read in several ways is left out too, and
the command and the asset `universe` show it. Archives keep delisted symbols for ever, so the list is the universe without
survivorship bias. A symbol that a listing does not have any more stays, and says since when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.config.environment import settings
from crypto_assets.engine.archive.listed_names import ReadNames, life_in_archive, names_of_market, read_names
from crypto_assets.engine.instruments import instrument_query, markets_with_instruments, refresh_instruments
from crypto_assets.errors import OF_THIS_PROCESS, ConfigError, CryptoAssetsError
from crypto_assets.ledger.instruments import instruments_at
from crypto_assets.ledger.listed_symbols import (
    Life,
    ListedChanges,
    Source,
    last_looked,
    to_look_at,
    write_listed,
    write_lives,
)
from crypto_assets.ledger.symbol_rules import write_tops
from crypto_assets.machine.thread_pool import DaemonPool
from crypto_assets.model import Series, Track
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection
    from crypto_assets.ledger.partitions import Ledger

LIVES = 400
"""The most symbols whose files are looked at in one refresh, for their first and last day: two listing requests each."""

RECENT = timedelta(hours=1)
"""A command lists the symbols again if they were listed longer ago than this."""

LIFE_AGE = timedelta(days=30)
"""Files of a symbol are looked at again after this time."""

_AT_ONCE = 8
_NAMED = 5
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The result of listing one market: what changed in each source, new symbols in a top, and what went wrong.

    `unread` are names of the archive that are no symbols of the market type; `undecided` those that can be read in several
    ways, each with its readings.
    """

    exchange: str
    market_type: str
    changes: Mapping[str, ListedChanges] = field(default_factory=dict)
    top: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    undecided: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def added(self) -> list[str]:
        """Symbols that are new in any source or top."""
        return sorted({*self.top, *(symbol for one in self.changes.values() for symbol in one.added)})

    def in_words(self) -> list[str]:
        """Return lines for people; none if nothing is new and nothing went wrong."""
        market = f"{self.exchange} {self.market_type}"
        new = ", ".join(self.added[:_NAMED]) + (" …" if len(self.added) > _NAMED else "")
        lines = [f"{market}: {len(self.added):,} new symbol{'s' * (len(self.added) != 1)}: {new}"] if self.added else []
        if self.undecided:
            shown = [f"{name} ({' or '.join(ways)})" for name, ways in list(self.undecided.items())[:_NAMED]]
            more = " …" if len(self.undecided) > _NAMED else ""
            lines.append(
                f"{market}: left out, because a listed name can be read in several ways; write the right one into `symbols`: "
                f"{len(self.undecided):,} ({', '.join(shown)}{more})"
            )
        return lines + [f"{market}: symbols could not be listed: {problem}" for problem in self.problems]


def refresh_universe(
    collection: Collection,
    ledger: Ledger,
    markets: Iterable[tuple[str, str]] | None = None,
    *,
    older_than: timedelta = timedelta(0),
    now: datetime | None = None,
    lives: int = LIVES,
) -> list[Refreshed]:
    """List the symbols of some markets, look at the files of some of them, rank the tops; return what changed.

    Args:
        markets: exchange and market type; by default those of the collection whose symbols a rule chooses.
        older_than: markets that were listed within this time are not listed again; their tops are ranked all the same.
        lives: the most symbols of a market whose first and last day are looked for.

    Raises:
        PostgresUnavailable: the database does not answer.
    """
    at = now or datetime.now(UTC)
    wanted = markets_with_rules(collection) if markets is None else list(markets)
    with ledger.transaction() as connection:
        asked = {market: last_looked(connection, *market) for market in wanted}
    due = [market for market in wanted if (last := asked[market]) is None or at - last >= older_than]
    ranked = _ranked(collection, ledger, [market for market in wanted if market not in due], at)
    if not due:
        return ranked
    problems: dict[tuple[str, str], list[str]] = {market: [] for market in due}
    for looked in refresh_instruments(
        collection, ledger, set(due) & set(markets_with_instruments(collection)), now=now
    ):
        if looked.problem:
            problems[looked.exchange, looked.market_type].append(f"instruments: {looked.problem}")
    with (
        Guard(ledger.url, collection, egress=settings().egress, patience_s=_TIMEOUT_S) as guard,
        Client(guard, _AT_ONCE, timeout_s=_TIMEOUT_S, attempts=2) as client,
    ):
        listed = [_Market(client, collection, ledger, market, at, lives).refreshed(problems[market]) for market in due]
    return listed + ranked


def markets_with_rules(collection: Collection) -> list[tuple[str, str]]:
    """Return the markets of a collection whose symbols a rule chooses."""
    return sorted({(entry.exchange, entry.market_type) for entry in collection.ruled})


def _ranked(
    collection: Collection, ledger: Ledger, markets: Iterable[tuple[str, str]], at: datetime
) -> list[Refreshed]:
    """Rank the tops of some markets by the bars that are stored now; return those with a new symbol."""
    found = [Refreshed(*market, top=_rank(collection, ledger, market, at)) for market in markets]
    return [one for one in found if one.top]


def _rank(collection: Collection, ledger: Ledger, market: tuple[str, str], at: datetime) -> tuple[str, ...]:
    """Rank the tops of a market; return the symbols that are new in one."""
    mine = [one for one in collection.ruled if (one.exchange, one.market_type) == market]
    found: dict[str, list[str]] = ledger.change(lambda connection: write_tops(connection, mine, at.date()))
    return tuple(sorted({symbol for symbols in found.values() for symbol in symbols}))


class _Market:
    """One market that is listed."""

    def __init__(
        self,
        client: Client,
        collection: Collection,
        ledger: Ledger,
        market: tuple[str, str],
        at: datetime,
        lives: int,
    ) -> None:
        self._client, self._collection, self._ledger = client, collection, ledger
        self._market, self._at, self._lives = market, at, lives
        with ledger.transaction() as connection:
            self._instruments = instruments_at(connection, *market, at)
        self._named = {one.instrument.exchange_symbol: symbol for symbol, one in self._instruments.items()}

    def refreshed(self, problems: list[str]) -> Refreshed:
        changes: dict[str, ListedChanges] = {}
        read = ReadNames({})
        try:
            read = self._archive()
        except (*OF_THIS_PROCESS, ConfigError):
            raise
        except CryptoAssetsError as error:
            problems.append(f"archive: {error}")
        if read.symbols:
            changes["archive"] = self._write("archive", {symbol: Life(name) for symbol, name in read.symbols.items()})
            self._look_at_files(problems)
        if said := self._said():
            changes["instruments"] = self._write("instruments", said)
        top = _rank(self._collection, self._ledger, self._market, self._at)
        return Refreshed(*self._market, changes, top, read.unread, read.undecided, tuple(problems))

    def _write(self, source: Source, listed: Mapping[str, Life]) -> ListedChanges:
        return self._ledger.change(lambda connection: write_listed(connection, *self._market, source, listed, self._at))

    def _archive(self) -> ReadNames:
        """Return the symbols that the archive lists under any dataset of the market's entries."""
        names = names_of_market(self._client, self._collection, self._series())
        exchange, market_type = self._market
        return read_names(names, self._named, lambda name: sources.get(exchange).symbols(market_type, name))

    def _series(self) -> list[Series]:
        entries = [one for one in self._collection.ruled if (one.exchange, one.market_type) == self._market]
        entries = entries or [one for one in self._collection.series if (one.exchange, one.market_type) == self._market]
        return list(dict.fromkeys(series for entry in entries for series in entry.series))

    def _look_at_files(self, problems: list[str]) -> None:
        """Find the first and last day with a file of symbols that were not looked at for long; the first failure ends it."""
        series = self._series()[0]
        with self._ledger.transaction() as connection:
            due = to_look_at(connection, *self._market, self._at - LIFE_AGE, self._lives)
        found: dict[str, tuple[date | None, date | None]] = {}

        def look(symbol: str) -> None:
            found[symbol] = life_in_archive(self._client, self._collection, Track(series, symbol), self._at)

        try:
            with DaemonPool(_AT_ONCE, "lives") as pool:
                list(pool.map(look, due))
        except (*OF_THIS_PROCESS, ConfigError):
            raise
        except CryptoAssetsError as error:
            problems.append(f"files: {error}")
        if found:
            self._ledger.change(lambda connection: write_lives(connection, *self._market, found, self._at))

    def _said(self) -> dict[str, Life]:
        """Return the symbols that the exchange says it has now."""
        if instrument_query(*self._market) is None:
            return {}
        return {
            symbol: Life(
                one.instrument.exchange_symbol,
                one.instrument.listed_at.date() if one.instrument.listed_at else None,
                one.instrument.delisted_at.date() if one.instrument.delisted_at else None,
            )
            for symbol, one in self._instruments.items()
            if one.valid_until is None
        }
