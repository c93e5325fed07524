"""Finding the archive objects that hold some days of one symbol, and saying why a day has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any

from crypto_assets.collection.archive.discovery import Delisting, Unlisted, delisting, unlisted
from crypto_assets.collection.archive.listing import list_objects, list_prefixes
from crypto_assets.collection.transport.http import Client, View
from crypto_assets.errors import CryptoAssetsError, Stopped, UnknownSymbol
from crypto_assets.exchanges import Exchange
from crypto_assets.limits import Endpoint
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
    archive_url: str | None = None,
) -> Located:
    """Return the objects that hold `days` (ascending) of one symbol.

    The preferred prefix (daily files) is asked first; the next one (monthly files) only for days it does not have. A day
    without an object is `pending` while it may still appear, `no_data` before the first listed day and after a delisting,
    else `missing`. Before that it is asked for by its name, where `archive_url` is given: listings have been stale.

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
            for obj in list_objects(
                _listing(client, exchange), listing_url, prefix, after=_just_before(first), until=last
            )
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
    absent = []
    if wanted:
        first_listed = require_listed(client, exchange, listing_url, series, symbol)
        later = [day for day in wanted if day >= first_listed]
        gone = _delisting(client, exchange, listing_url, series, symbol, later, now) if later else None
        asked = Unlisted({}, frozenset())
        if archive_url:
            lacking = [day for day in later if gone is None or not gone.covers(day)]
            asked = unlisted(client, archive_url, exchange, series, symbol, lacking, now)
            for day, obj in sorted(asked.found.items()):
                holders.setdefault(obj.key, (obj, []))[1].append(day)
            wanted = [day for day in wanted if day not in asked.found]
        absent = [
            _explain(exchange, listing_url, series, symbol, day, now, first_listed, gone, asked) for day in wanted
        ]
    return Located([(obj, tuple(sorted(held))) for obj, held in holders.values()], absent)


def _just_before(key: str) -> str:
    """Return a marker after which `key` is the first possible one."""
    return key.removesuffix(".zip")


def _delisting(
    client: Client,
    exchange: Exchange,
    listing_url: str,
    series: Series,
    symbol: str,
    days: Sequence[date],
    now: datetime,
) -> Delisting | None:
    """Return the delisting that explains some of `days`, if that can be seen; what cannot be seen explains nothing."""
    try:
        return delisting(client, exchange, listing_url, series, symbol, days[-1], now)
    except Stopped:
        raise
    except CryptoAssetsError:
        return None


def _explain(
    exchange: Exchange,
    listing_url: str,
    series: Series,
    symbol: str,
    day: date,
    now: datetime,
    first_listed: date,
    gone: Delisting | None,
    asked: Unlisted,
) -> Outcome:
    evidence: dict[str, Any] = {"first_listed": str(first_listed), "listing": listing_url}
    expected_by = exchange.expected_by(series, day)
    if day < first_listed:
        state, reason = State.NO_DATA, f"not listed before {first_listed}: the archive's first file"
    elif gone is not None and gone.covers(day):
        state, reason = State.NO_DATA, gone.reason
        evidence |= gone.evidence
    elif day >= now.astimezone(UTC).date():
        state, reason = State.PENDING, "the day has not ended"
    elif now < expected_by:
        state, reason = State.PENDING, f"not published yet; expected by {expected_by:%Y-%m-%d %H:%M} UTC"
    else:
        key = exchange.key(exchange.prefixes(series, symbol)[0], series, symbol, day)
        state = State.MISSING
        reason = f"expected {key} by {expected_by:%Y-%m-%d}, the archive does not list it"
    if state in (State.PENDING, State.MISSING) and day in asked.asked:
        evidence["asked_by_name"] = "404"
        reason += ", nor has it under its name" if state is State.MISSING else ""
    elif asked.problem:
        evidence["asked_by_name"] = asked.problem
    return Outcome(series, Partition(symbol, day), state, reason, evidence)


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
        for obj in list_objects(_listing(client, exchange), listing_url, prefix, page=2):
            try:
                firsts.append(exchange.period(obj.key)[0])
            except ValueError:  # a checksum, or a file that is no data
                continue
            break
    return min(firsts, default=None)


def _listing(client: Client, exchange: Exchange) -> View:
    return client.at(Endpoint(exchange.name, "listing", "listing"))


def _similar(client: Client, exchange: Exchange, listing_url: str, series: Series, symbol: str) -> str:
    listed = [
        prefix.rstrip("/").rpartition("/")[2]
        for prefix in list_prefixes(_listing(client, exchange), listing_url, exchange.universe_prefix(series))
    ]
    close = get_close_matches(exchange.exchange_symbol(symbol), listed, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}? Check `symbols` in collection.yaml"
    return f"; it lists {len(listed)} symbols. Check `symbols` in collection.yaml"
