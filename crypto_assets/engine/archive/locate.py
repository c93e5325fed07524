"""Finds the archive objects with some days of one symbol, and says why a day has none."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from crypto_assets import sources
from crypto_assets.engine.archive.files import first_listed_day, holders_of, names_listed, objects_of
from crypto_assets.engine.archive.holders import Files, Holder
from crypto_assets.engine.archive.lifetime import Asks, Cause, Lifetime, expired
from crypto_assets.engine.archive.probing import Unlisted, unlisted
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import UnknownSymbol
from crypto_assets.model import Outcome, Partition, Series, State, Track
from crypto_assets.model.symbols import similar_symbols
from crypto_assets.rows.bar_calendar import Due, due
from crypto_assets.sources import ArchiveFeed


@dataclass(frozen=True, slots=True)
class Located:
    """`holders` hold some days each; `absent` has an outcome for each other day."""

    holders: Sequence[Holder]
    absent: Sequence[Outcome]


def locate(
    site: ArchiveSite,
    track: Track,
    days: Sequence[date],
    now: datetime,
    reported: Asks | None = None,
    anchor: date | None = None,
    *,
    listed_at: Callable[[], datetime | None] = lambda: None,
    preferred_only: bool = False,
) -> Located:
    """Return the files that hold `days` (ascending) of one symbol.

    The preferred feed (daily files) is read first; the next one (monthly files) only for days that it does not have. A day
    without an object is `no_data` if nothing should be there: no bar opens, or the symbol did not trade (`lifetime.py`).
    Otherwise it is `pending` while the file may still appear, then `missing`. Before that, it is requested by its name if the
    site has an `archive_url`: listings have been stale.

    Args:
        reported: the means to ask the exchange about the symbol, if that is allowed.
        anchor: a day on which a bar of the symbol opens, for three-day bars.
        listed_at: returns when the symbol was listed, as the exchange's instruments say; None if they do not.
        preferred_only: search only the preferred feed.

    Raises:
        UnknownSymbol: the archive lists nothing for the symbol.
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    series, symbol = track
    gone = {day: cause for day in days if (cause := expired(site.source, symbol, day))}
    outcomes = [_no_data(track, day, cause, {}) for day, cause in gone.items()]
    wanted = [day for day in days if day not in gone]
    if not wanted:
        return Located([], outcomes)
    feeds = sources.archives(series)[: 1 if preferred_only else None]
    holders, wanted = _held(site, track, feeds, wanted)
    if wanted:
        first_listed = require_listed(site, track, feeds)
        archive_begins = any(feed.since == first_listed for feed in feeds)
        about = {"archive_begins" if archive_begins else "first_listed": str(first_listed), "listing": site.listing_url}
        not_due = {day: rule for day in wanted if (rule := due(series.timeframe or "", day, anchor)).opens is False}
        outcomes += [nothing_due(series, symbol, day, rule) for day, rule in not_due.items()]
        wanted = [day for day in wanted if day not in not_due]
        life = Lifetime(site, track, now, first_listed, reported, listed_at, archive_begins=archive_begins)
        causes = _causes(life, wanted, first_listed, holders)
        asked = Unlisted([], frozenset())
        if site.archive_url:
            missing = [day for day in wanted if not causes[day].no_data and day >= first_listed]
            asked = unlisted(site, track, missing, now)
            holders += asked.found
            found = {day for holder in asked.found for day in holder.days}
            wanted = [day for day in wanted if day not in found]
        outcomes += [
            _no_data(track, day, causes[day], about)
            if causes[day].no_data
            else _not_there(track, day, now, causes[day], asked, about)
            for day in wanted
        ]
    outcomes.sort(key=lambda outcome: outcome.partition.day)
    return Located(_merged(holders), outcomes)


def _held(
    site: ArchiveSite, track: Track, feeds: Sequence[ArchiveFeed], wanted: list[date]
) -> tuple[list[Files], list[date]]:
    """Return the listed files of some days, and the days without any."""
    name = sources.name_of(*track)
    holders: list[Files] = []
    for feed in feeds:
        if not wanted:
            break
        found = holders_of(feed, name, wanted, objects_of(site, feed, name, wanted))
        holders += found
        held = {day for holder in found for day in holder.days}
        wanted = [day for day in wanted if day not in held]
    return holders, wanted


def _merged(holders: Sequence[Files]) -> list[Files]:
    """Return the holders with each file once: a file that no listing shows may hold days beside a listed one."""
    by_key: dict[str, Files] = {}
    for holder in holders:
        known = by_key.get(holder.obj.key)
        days = sorted({*holder.days, *(known.days if known else ())})
        by_key[holder.obj.key] = Files(holder.feed, known.obj if known else holder.obj, tuple(days))
    return list(by_key.values())


def _causes(life: Lifetime, days: Sequence[date], first_listed: date, holders: Sequence[Files]) -> dict[date, Cause]:
    """Return the causes of days without a file, from the files beside them."""
    listed = [holder.period for holder in holders]
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
    track: Track,
    day: date,
    now: datetime,
    cause: Cause,
    asked: Unlisted,
    about: Mapping[str, Any],
) -> Outcome:
    """Return the outcome of a day that should have a file, now or later."""
    evidence: dict[str, Any] = {**about, **(cause.evidence or {})}
    expected_by = sources.expected_by(track.series, day)
    if day >= now.astimezone(UTC).date():
        state, reason = State.PENDING, "the day has not ended"
    elif now < expected_by:
        state, reason = State.PENDING, f"not published yet; expected by {expected_by:%Y-%m-%d %H:%M} UTC"
    else:
        keys = sources.archives(track.series)[0].keys(sources.name_of(*track), day)
        state = State.MISSING
        reason = (
            cause.reason or f"expected {' and '.join(keys)} by {expected_by:%Y-%m-%d}, the archive does not list it"
        )
    if day in asked.asked:
        evidence["asked_by_name"] = "404"
        reason += ", nor has it under its name" if state is State.MISSING else ""
    elif asked.problem:
        evidence["asked_by_name"] = asked.problem
    if cause.hint and state is State.MISSING:
        reason += f"; {cause.hint}"
    return Outcome(track.series, Partition(track.symbol, day), state, reason, evidence)


def require_listed(site: ArchiveSite, track: Track, feeds: Sequence[ArchiveFeed] | None = None) -> date:
    """Return the first day of a symbol in the archive, in all of its feeds or the given ones.

    It is the first day of the archive itself where no listing of the symbol can be read from its beginning.

    Raises:
        UnknownSymbol: the archive has none; the message names similar symbols that it lists.
        ListingError, HostUnreachable, HostRefused: the listing could not be read.
    """
    found = feeds or sources.archives(track.series)
    name = sources.name_of(*track)
    first_listed = min((day for feed in found if (day := first_listed_day(site, feed, name))), default=None)
    if first_listed is None:
        raise UnknownSymbol(
            f"{track.series}: the archive lists nothing for {track.symbol} "
            f"(expected keys under {sources.archives(track.series)[0].prefix(name)}){_similar(site, track)}",
            symbol=track.symbol,
        )
    return first_listed


def _similar(site: ArchiveSite, track: Track) -> str:
    listed = names_listed(site, sources.archives(track.series)[0])
    if listed is None:
        return "; check `symbols` in collection.yaml"
    close = similar_symbols(sources.name_of(*track), listed, most=3)
    if close:
        read = [(name, site.source.symbols(track.series.market_type, name)) for name in close]
        meant = [symbols[0] if len(symbols) == 1 else name for name, symbols in read]
        return f"; did you mean {' or '.join(meant)}? Check `symbols` in collection.yaml"
    return f"; it lists {len(listed)} symbols. Check `symbols` in collection.yaml"
