"""Finds the archive objects with some days of one symbol, and says why a day has none."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from crypto_assets.engine.archive.lifetime import Asks, Cause, Lifetime, expired
from crypto_assets.engine.archive.listing import list_objects, list_prefixes
from crypto_assets.engine.archive.probing import Unlisted, unlisted
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import UnknownSymbol
from crypto_assets.model import ArchiveObject, Outcome, Partition, Series, State, Track
from crypto_assets.model.symbols import similar_symbols
from crypto_assets.rows.bar_calendar import Due, due
from crypto_assets.sources import Exchange


@dataclass(frozen=True, slots=True)
class Located:
    """`holders` pairs each object with the days to take from it; `absent` has an outcome for each other day."""

    holders: Sequence[tuple[ArchiveObject, tuple[date, ...]]]
    absent: Sequence[Outcome]


def locate(
    site: ArchiveSite,
    track: Track,
    days: Sequence[date],
    now: datetime,
    reported: Asks | None = None,
    anchor: date | None = None,
    *,
    preferred_only: bool = False,
) -> Located:
    """Return the objects that hold `days` (ascending) of one symbol.

    The preferred prefix (daily files) is read first; the next one (monthly files) only for days that it does not have. A day
    without an object is `no_data` if nothing should be there: no bar opens, or the symbol did not trade (`lifetime.py`).
    Otherwise it is `pending` while the file may still appear, then `missing`. Before that, it is requested by its name if the
    site has an `archive_url`: listings have been stale.

    Args:
        reported: the means to ask the exchange about the symbol, if that is allowed.
        anchor: a day on which a bar of the symbol opens, for three-day bars.
        preferred_only: search only the preferred prefix.

    Raises:
        UnknownSymbol: the archive lists nothing for the symbol.
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    exchange, (series, symbol) = site.exchange, track
    gone = {day: cause for day in days if (cause := expired(exchange, symbol, day))}
    outcomes = [_no_data(track, day, cause, {}) for day, cause in gone.items()]
    wanted = [day for day in days if day not in gone]
    if not wanted:
        return Located([], outcomes)
    prefixes = exchange.prefixes(series, symbol)[: 1 if preferred_only else None]
    holders, listed, wanted = _held(site, track, prefixes, wanted)
    if wanted:
        first_listed = require_listed(site, track, prefixes)
        about = {"first_listed": str(first_listed), "listing": site.listing_url}
        not_due = {day: rule for day in wanted if (rule := due(series.timeframe or "", day, anchor)).opens is False}
        outcomes += [nothing_due(series, symbol, day, rule) for day, rule in not_due.items()]
        wanted = [day for day in wanted if day not in not_due]
        life = Lifetime(site, track, now, first_listed, reported)
        causes = _causes(life, wanted, first_listed, listed)
        asked = Unlisted({}, frozenset())
        if site.archive_url:
            missing = [day for day in wanted if not causes[day].no_data and day >= first_listed]
            asked = unlisted(site, track, missing, now)
            for day, obj in sorted(asked.found.items()):
                holders.setdefault(obj.key, (obj, []))[1].append(day)
            wanted = [day for day in wanted if day not in asked.found]
        outcomes += [
            _no_data(track, day, causes[day], about)
            if causes[day].no_data
            else _not_there(exchange, track, day, now, causes[day], asked, about)
            for day in wanted
        ]
    outcomes.sort(key=lambda outcome: outcome.partition.day)
    return Located([(obj, tuple(sorted(held))) for obj, held in holders.values()], outcomes)


def _held(
    site: ArchiveSite,
    track: Track,
    prefixes: Sequence[str],
    wanted: list[date],
) -> tuple[dict[str, tuple[ArchiveObject, list[date]]], list[tuple[date, date]], list[date]]:
    """Return the objects with some days, the periods of all those objects, and the days without any."""
    exchange = site.exchange
    holders: dict[str, tuple[ArchiveObject, list[date]]] = {}
    listed: list[tuple[date, date]] = []
    for prefix in prefixes:
        if not wanted:
            break
        first, last = exchange.key(prefix, *track, wanted[0]), exchange.key(prefix, *track, wanted[-1])
        found = {
            obj.key: obj
            for obj in list_objects(site.listing, site.listing_url, prefix, after=_just_before(first), until=last)
            if obj.key.endswith(".zip")
        }
        left = []
        for day in wanted:
            key = exchange.key(prefix, *track, day)
            if key in found:
                holders.setdefault(key, (found[key], []))[1].append(day)
                listed.append(exchange.period(key))
            else:
                left.append(day)
        wanted = left
    return holders, listed, wanted


def _just_before(key: str) -> str:
    """Return the marker just before `key`, so that `key` is the first possible one after it."""
    return key.removesuffix(".zip")


def _causes(
    life: Lifetime, days: Sequence[date], first_listed: date, listed: Sequence[tuple[date, date]]
) -> dict[date, Cause]:
    """Return the causes of days without a file, from the files beside them."""
    causes = {day: life.before(day) for day in days if day < first_listed}
    later = [day for day in days if day >= first_listed]
    firsts, lasts = sorted(first for first, _ in listed), sorted(last for _, last in listed)
    runs: dict[tuple[date | None, date | None], list[date]] = {}
    for day in later:
        before, after = bisect_left(lasts, day), bisect_right(firsts, day)
        beside = lasts[before - 1] if before else None, firsts[after] if after < len(firsts) else None
        runs.setdefault(beside, []).append(day)
    for (earlier, following), run in runs.items():
        causes |= life.after(run, earlier, following)
    return causes


def nothing_due(series: Series, symbol: str, day: date, rule: Due) -> Outcome:
    """Return the outcome of a day on which no bar opens."""
    reason = f"no {series.timeframe} bar opens on this day: {rule.rule}"
    return Outcome(series, Partition(symbol, day), State.NO_DATA, reason, {"opens": rule.because})


def _no_data(track: Track, day: date, cause: Cause, about: Mapping[str, Any]) -> Outcome:
    evidence = {**about, **(cause.evidence or {})}
    return Outcome(track.series, Partition(track.symbol, day), State.NO_DATA, cause.reason, evidence)


def _not_there(
    exchange: Exchange,
    track: Track,
    day: date,
    now: datetime,
    cause: Cause,
    asked: Unlisted,
    about: Mapping[str, Any],
) -> Outcome:
    """Return the outcome of a day that should have a file, now or later."""
    evidence: dict[str, Any] = {**about, **(cause.evidence or {})}
    expected_by = exchange.expected_by(track.series, day)
    if day >= now.astimezone(UTC).date():
        state, reason = State.PENDING, "the day has not ended"
    elif now < expected_by:
        state, reason = State.PENDING, f"not published yet; expected by {expected_by:%Y-%m-%d %H:%M} UTC"
    else:
        key = exchange.key(exchange.prefixes(*track)[0], *track, day)
        state = State.MISSING
        reason = f"expected {key} by {expected_by:%Y-%m-%d}, the archive does not list it"
    if day in asked.asked:
        evidence["asked_by_name"] = "404"
        reason += ", nor has it under its name" if state is State.MISSING else ""
    elif asked.problem:
        evidence["asked_by_name"] = asked.problem
    if cause.hint and state is State.MISSING:
        reason += f"; {cause.hint}"
    return Outcome(track.series, Partition(track.symbol, day), state, reason, evidence)


def require_listed(site: ArchiveSite, track: Track, prefixes: Sequence[str] | None = None) -> date:
    """Return the first day of a symbol in the archive, under all of its prefixes or the given ones.

    Raises:
        UnknownSymbol: the archive has none; the message names similar symbols that it lists.
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    first_listed = first_listed_day(site, track, prefixes)
    if first_listed is None:
        raise UnknownSymbol(
            f"{track.series}: the archive lists nothing for {track.symbol} "
            f"(expected keys under {site.exchange.prefixes(*track)[0]}){_similar(site, track)}",
            symbol=track.symbol,
        )
    return first_listed


def first_listed_day(site: ArchiveSite, track: Track, prefixes: Sequence[str] | None = None) -> date | None:
    """Return the first day of a symbol in the archive, None if it has none; raises as `list_objects`."""
    firsts = []
    for prefix in prefixes or site.exchange.prefixes(*track):
        for obj in list_objects(site.listing, site.listing_url, prefix, page=2):
            try:
                firsts.append(site.exchange.period(obj.key)[0])
            except ValueError:  # a checksum, or a file without data
                continue
            break
    return min(firsts, default=None)


def _similar(site: ArchiveSite, track: Track) -> str:
    exchange, (series, symbol) = site.exchange, track
    listed = [
        prefix.rstrip("/").rpartition("/")[2]
        for prefix in list_prefixes(site.listing, site.listing_url, exchange.universe_prefix(series))
    ]
    close = similar_symbols(exchange.exchange_symbol(symbol), listed, most=3)
    if close:
        meant = [_written(exchange, name, symbol) for name in close]
        return f"; did you mean {' or '.join(meant)}? Check `symbols` in collection.yaml"
    return f"; it lists {len(listed)} symbols. Check `symbols` in collection.yaml"


def _written(exchange: Exchange, name: str, symbol: str) -> str:
    """Return an exchange's own name of a symbol in the form of collection.yaml, if it ends as `symbol` does."""
    _, _, end = symbol.partition("/")
    written = f"{name.removesuffix(end.partition(':')[0])}/{end}"
    return written if exchange.exchange_symbol(written) == name else name
