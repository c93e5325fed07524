"""Asks exchanges for their instruments, and records the answers: contract sizes, steps, lives of symbols.

One question has all symbols of a market type. It goes through the limits, the cool-down and the breaker of all requests. A
failure costs that market alone: what was recorded before stays, and says when it was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from crypto_assets import sources
from crypto_assets.config.environment import settings
from crypto_assets.engine.rest.ccxt_client import RestApi, read_json
from crypto_assets.errors import OF_THIS_PROCESS, BadContent, ConfigError, CryptoAssetsError, TransientError
from crypto_assets.ledger.instruments import (
    InstrumentChanges,
    KnownInstrument,
    instrument_versions,
    instruments_at,
    last_asked,
    valid_at,
    write_instruments,
)
from crypto_assets.model import Instrument, Partition, Series, SourceFile, Track
from crypto_assets.sources.own_faults import Careful
from crypto_assets.transport.bounds import JSON
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.sources.feeds import Call
    from crypto_assets.sources.instruments import InstrumentQuery

MOST_PAGES = 100
"""The most answers to one question; Bybit, with 1,000 symbols a page, needs one or two."""

FRESH = timedelta(days=1)
"""A run that needs contract sizes asks for them if the last answer is older."""

_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Looked:
    """The result of a question about one market; `problem` says why there is no answer.

    What the answer has and what cannot be used is left out, and stays as it is known: see `Answered`.
    """

    exchange: str
    market_type: str
    asked_at: datetime
    changes: InstrumentChanges = field(default_factory=lambda: InstrumentChanges(0))
    twice: Sequence[str] = ()
    repeated: Sequence[str] = ()
    odd: Sequence[str] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The instruments of a market as an exchange says now, each symbol and each name once, and what is left out.

    `twice` are symbols that it gives to two of its names; `repeated` are its names with two contents, and `odd` its names of
    instruments that cannot be read. `left_out` are all names that are left out, those of `twice` too.
    """

    instruments: Sequence[Instrument]
    twice: Sequence[str] = ()
    repeated: Sequence[str] = ()
    odd: Sequence[str] = ()
    left_out: Sequence[str] = ()


def asks_instruments(collection: Collection, exchange: str) -> bool:
    """Return whether an exchange may be asked: not if another archive is collected and no `rest_url` is given.

    Contract sizes of the real exchange must not be applied to rows of a synthetic or private one.
    """
    urls = collection.urls(exchange)
    return urls.rest_url is not None or urls.archive_url is None


def markets_with_instruments(collection: Collection) -> list[tuple[str, str]]:
    """Return the markets of a collection, by exchange and market type, whose exchange says what its instruments are."""
    markets = sorted({(entry.exchange, entry.market_type) for entry in collection.entries})
    return [
        market
        for market in markets
        if instrument_query(*market) is not None and asks_instruments(collection, market[0])
    ]


def instrument_query(exchange: str, market_type: str) -> InstrumentQuery | None:
    """Return how to ask an exchange for the instruments of a market type; None if it does not tell.

    Its methods raise SourceFault where the source's module fails.
    """
    query = sources.get(exchange).instruments(market_type)
    what = f"instruments of {exchange} {market_type}"
    return None if query is None else cast("InstrumentQuery", Careful(query, exchange, what))


def refresh_instruments(
    collection: Collection,
    ledger: Ledger,
    markets: Iterable[tuple[str, str]] | None = None,
    *,
    older_than: timedelta = timedelta(0),
    now: datetime | None = None,
) -> list[Looked]:
    """Ask for the instruments of some markets and record the answers; return what each answer changed.

    Args:
        markets: exchange and market type; by default all of the collection that can be asked.
        older_than: markets whose last answer is younger are left out.

    Raises:
        PostgresUnavailable: the database does not answer.
    """
    due = []
    with ledger.transaction() as connection:
        for market in markets_with_instruments(collection) if markets is None else markets:
            asked = last_asked(connection, *market)
            if asked is None or (now or datetime.now(UTC)) - asked >= older_than:
                due.append(market)
    if not due:
        return []
    with (
        Guard(ledger.url, collection, egress=settings().egress, patience_s=_TIMEOUT_S) as guard,
        Client(guard, timeout_s=_TIMEOUT_S, attempts=2) as client,
    ):
        return [_looked(client, collection, ledger, market, now) for market in due]


def _looked(
    client: Client, collection: Collection, ledger: Ledger, market: tuple[str, str], now: datetime | None
) -> Looked:
    asked_at = now or datetime.now(UTC)
    try:
        answered = ask_instruments(client, collection, *market)
    except (*OF_THIS_PROCESS, ConfigError):
        raise
    except CryptoAssetsError as error:
        return Looked(*market, asked_at, problem=str(error))
    changes = ledger.change(
        lambda connection: write_instruments(connection, *market, answered.instruments, asked_at, answered.left_out)
    )
    return Looked(*market, asked_at, changes, answered.twice, answered.repeated, answered.odd)


def ask_instruments(client: Client, collection: Collection, exchange: str, market_type: str) -> Answered:
    """Return the instruments of a market as the exchange says now; what it says of one name costs no other name.

    Raises:
        HostUnreachable, HostRefused, CircuitOpen, PermanentError: there is no answer.
        BadContent, SourceFault: the answer is not what the exchange documents, or has no instrument at all.
    """
    query = instrument_query(exchange, market_type)
    if query is None:
        raise BadContent(f"{exchange} {market_type}: expected instruments, found that the source cannot ask for them")
    found: list[Instrument] = []
    odd: list[str] = []
    for answer in _answers(client, collection, exchange, query):
        found += query.read(answer)
        odd += query.left_out(answer)
    if not found:
        raise BadContent(
            f"{exchange} {market_type}: expected instruments, found an answer without any; nothing was changed"
        )
    named, repeated = _one_of_each(found, lambda one: one.exchange_symbol, query.has_ended)
    distinct, twice = _one_of_each(named, lambda one: one.symbol, query.has_ended)
    names = [one.exchange_symbol for one in named if one.symbol in set(twice)]
    return Answered(distinct, twice, repeated, odd, [*odd, *repeated, *names])


def _one_of_each(
    found: Sequence[Instrument], key: Callable[[Instrument], str], has_ended: Callable[[Instrument], bool]
) -> tuple[list[Instrument], list[str]]:
    """Return the instrument of each key, and the keys, sorted, of several: these are left out, contract sizes differ.

    One that trades takes the place of those that have ended, as the exchange says. Nothing else decides between two. An
    instrument that is told again with the same words is one.
    """
    by_key: dict[str, list[Instrument]] = {}
    for one in found:
        same = by_key.setdefault(key(one), [])
        if one not in same:
            same.append(one)
    chosen, again = [], []
    for name, same in by_key.items():
        rivals = [one for one in same if not has_ended(one)] or same
        if len(rivals) == 1:
            chosen += rivals
        else:
            again.append(name)
    return chosen, sorted(again)


def _answers(client: Client, collection: Collection, exchange: str, query: InstrumentQuery) -> Iterator[Any]:
    call: Call | None = query.call()
    for _ in range(MOST_PAGES):
        if call is None:
            return
        answer = _ask(client, collection, exchange, query, call)
        yield answer
        call = query.following(call, answer)
    raise BadContent(f"{exchange}: expected its instruments in at most {MOST_PAGES} answers, found more")


def _ask(client: Client, collection: Collection, exchange: str, query: InstrumentQuery, call: Call) -> Any:
    rest_url = collection.urls(exchange).rest_url
    if call.method:
        return RestApi(client, query, rest_url, settings().api_key(exchange)).ask(call)
    base = rest_url or getattr(query, "url", None) or sources.get(exchange).rest_url
    url = f"{base.rstrip('/')}/{call.path.lstrip('/')}"
    params = {name: str(value) for name, value in call.params.items()}
    headers = {"accept-encoding": "gzip", **call.headers}
    return read_json(url, client.at(call.endpoint).get(url, params, headers=headers, bound=JSON).text)


def converted(source: SourceFile, instrument: Instrument | None) -> SourceFile:
    """Return the source of rows with the contract size that converts their amounts; itself if nothing is converted."""
    return source if instrument is None else replace(source, contract_size=f"{instrument.contract_size:f}")


def needs_instrument(series: Series) -> bool:
    """Return whether rows of a series cannot be read without the contract size of their symbol."""
    return sources.facts(series).amounts == "contracts"


def no_instrument(track: Track) -> TransientError:
    """Return the error for a symbol whose contract size is not known: our own fact is missing, the file may be good."""
    return TransientError(
        f"{track}: expected the contract size of the symbol, found no instrument of it; "
        "`crypto-assets instruments --refresh` asks the exchange"
    )


class InstrumentsOfDays:
    """The instruments of symbols whose amounts are contracts, as they were on a day; asked once, safe for many threads."""

    def __init__(self, collection: Collection, ledger: Ledger) -> None:
        self._collection = collection
        self._ledger = ledger
        self._versions: dict[Track, list[KnownInstrument]] = {}
        self._lock = threading.Lock()

    def of(self, track: Track, day: date) -> Instrument | None:
        """Return the instrument at the end of a day; None if amounts are not contracts, or if nobody knows it."""
        if not needs_instrument(track.series):
            return None
        with self._lock:
            if track not in self._versions:
                self._versions[track] = versions_of(self._collection, self._ledger, track)
            known = valid_at(self._versions[track], Partition(track.symbol, day).end)
        return known.instrument if known else None

    def by_size(self, track: Track, days: Iterable[date]) -> list[tuple[Instrument | None, list[date]]]:
        """Return the days by the contract size that converts their amounts; all of them without an instrument, as in `of`."""
        found: dict[Decimal | None, tuple[Instrument | None, list[date]]] = {}
        for day in days:
            instrument = self.of(track, day)
            size = None if instrument is None else instrument.contract_size
            found.setdefault(size, (instrument, []))[1].append(day)
        return list(found.values())


def versions_of(
    collection: Collection, ledger: Ledger, track: Track, now: datetime | None = None
) -> list[KnownInstrument]:
    """Return every version of the instrument of a track whose amounts are in contracts, the earliest first; else none.

    The exchange is asked first as by `instruments_of`.
    """
    series, symbol = track
    if not instruments_of(collection, ledger, [track], now):
        return []
    with ledger.transaction() as connection:
        return instrument_versions(connection, series.exchange, series.market_type, symbol)


def instruments_of(
    collection: Collection, ledger: Ledger, tracks: Iterable[Track], now: datetime | None = None
) -> dict[tuple[str, str, str], Instrument]:
    """Return the instruments of the tracks whose amounts are in contracts, by exchange, market type and symbol.

    Their exchanges are asked first if they were not asked today, or do not have a symbol yet. If they do not answer, what is
    recorded is used. A symbol without any record is not in the result: its rows cannot be converted.

    Raises:
        PostgresUnavailable: the database does not answer.
    """
    wanted: dict[tuple[str, str], set[str]] = {}
    for series, symbol in tracks:
        if sources.facts(series).amounts == "contracts":
            wanted.setdefault((series.exchange, series.market_type), set()).add(symbol)
    if not wanted:
        return {}
    instant = now or datetime.now(UTC)
    askable = set(markets_with_instruments(collection))
    known = {market: _known(ledger, market, symbols, instant) for market, symbols in wanted.items()}
    for age, markets in (
        (timedelta(0), [market for market in wanted if wanted[market] - known[market].keys()]),
        (FRESH, [market for market in wanted if not wanted[market] - known[market].keys()]),
    ):
        for looked in refresh_instruments(collection, ledger, askable & set(markets), older_than=age, now=now):
            market = looked.exchange, looked.market_type
            known[market] = _known(ledger, market, wanted[market], instant)
    return {(*market, symbol): one for market, found in known.items() for symbol, one in found.items()}


def _known(ledger: Ledger, market: tuple[str, str], symbols: set[str], instant: datetime) -> dict[str, Instrument]:
    with ledger.transaction() as connection:
        found = instruments_at(connection, *market, instant, symbols)
    return {symbol: one.instrument for symbol, one in found.items()}
