"""Finding the archive objects that hold some days of one symbol, and saying why a day has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches

from crypto_assets.collection.http import Client
from crypto_assets.collection.listing import list_objects, list_prefixes
from crypto_assets.errors import UnknownSymbol
from crypto_assets.exchanges import Exchange
from crypto_assets.model import ArchiveObject, Outcome, Partition, Series, State


@dataclass(frozen=True, slots=True)
class Located:
    """Where days are: `holders` pairs each object with the days it is to give, `absent` says why the others have none."""

    holders: Sequence[tuple[ArchiveObject, tuple[date, ...]]]
    absent: Sequence[Outcome]


def locate(
    client: Client,
    exchange: Exchange,
    listing_url: str,
    series: Series,
    symbol: str,
    days: Sequence[date],
    now: datetime,
) -> Located:
    """Return the objects that hold `days` (ascending) of one symbol.

    The preferred prefix (daily files) is asked first; the next one (monthly files) only for days it does not have. A day
    without an object is `pending` while it may still appear, `no_data` before the first listed day, else `missing`.

    Raises:
        UnknownSymbol: nothing is listed for the symbol at all.
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    wanted = list(days)
    holders: dict[str, tuple[ArchiveObject, list[date]]] = {}
    for prefix in exchange.prefixes(series, symbol):
        if not wanted:
            break
        first, last = exchange.key(prefix, series, symbol, wanted[0]), exchange.key(prefix, series, symbol, wanted[-1])
        found = {
            obj.key: obj
            for obj in list_objects(client, listing_url, prefix, after=_just_before(first), until=last)
            if obj.key.endswith(".zip")
        }
        left = []
        for day in wanted:
            key = exchange.key(prefix, series, symbol, day)
            if key in found:
                holders.setdefault(key, (found[key], []))[1].append(day)
            else:
                left.append(day)
        wanted = left
    absent = _explain(client, exchange, listing_url, series, symbol, wanted, now) if wanted else []
    return Located([(obj, tuple(held)) for obj, held in holders.values()], absent)


def _just_before(key: str) -> str:
    """Return a marker after which `key` is the first possible one."""
    return key.removesuffix(".zip")


def _explain(
    client: Client,
    exchange: Exchange,
    listing_url: str,
    series: Series,
    symbol: str,
    days: Sequence[date],
    now: datetime,
) -> list[Outcome]:
    first_listed = require_listed(client, exchange, listing_url, series, symbol)
    outcomes = []
    for day in days:
        expected_by = exchange.expected_by(series, day)
        if day < first_listed:
            state, reason = State.NO_DATA, f"not listed before {first_listed}: the archive's first file"
        elif day >= now.astimezone(UTC).date():
            state, reason = State.PENDING, "the day has not ended"
        elif now < expected_by:
            state, reason = State.PENDING, f"not published yet; expected by {expected_by:%Y-%m-%d %H:%M} UTC"
        else:
            key = exchange.key(exchange.prefixes(series, symbol)[0], series, symbol, day)
            state = State.MISSING
            reason = f"expected {key} by {expected_by:%Y-%m-%d}, the archive does not list it"
        outcomes.append(
            Outcome(
                series,
                Partition(symbol, day),
                state,
                reason,
                {"first_listed": str(first_listed), "listing": listing_url},
            )
        )
    return outcomes


def require_listed(client: Client, exchange: Exchange, listing_url: str, series: Series, symbol: str) -> date:
    """Return the first day that the archive has of a symbol.

    Raises:
        UnknownSymbol: it has nothing; the message names similar symbols that it lists.
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    first_listed = first_listed_day(client, exchange, listing_url, series, symbol)
    if first_listed is None:
        raise UnknownSymbol(
            f"{series.exchange} {series.market_type} {series.dataset}: the archive lists nothing for {symbol} "
            f"(expected keys under {exchange.prefixes(series, symbol)[0]})"
            + _similar(client, exchange, listing_url, series, symbol),
            symbol=symbol,
        )
    return first_listed


def first_listed_day(client: Client, exchange: Exchange, listing_url: str, series: Series, symbol: str) -> date | None:
    """Return the first day that the archive has of a symbol, or None where it has nothing; raises as `list_objects`."""
    firsts = []
    for prefix in exchange.prefixes(series, symbol):
        for obj in list_objects(client, listing_url, prefix, page=2):
            try:
                firsts.append(exchange.period(obj.key)[0])
            except ValueError:  # a checksum, or a file that is no data
                continue
            break
    return min(firsts, default=None)


def _similar(client: Client, exchange: Exchange, listing_url: str, series: Series, symbol: str) -> str:
    listed = [
        prefix.rstrip("/").rpartition("/")[2]
        for prefix in list_prefixes(client, listing_url, exchange.universe_prefix(series))
    ]
    close = get_close_matches(exchange.exchange_symbol(symbol), listed, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}? Check `symbols` in collection.yaml"
    return f"; it lists {len(listed)} symbols. Check `symbols` in collection.yaml"
