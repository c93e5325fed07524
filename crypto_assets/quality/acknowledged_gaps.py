"""Acknowledge gaps and withdraw acknowledgements. Stored in `ledger/acknowledgements.py`."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from crypto_assets import sources
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.engine.problems import Problem, days_text, spans
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.acknowledgements import (
    Acknowledged,
    Acknowledgement,
    add_acknowledgements,
    read_acknowledgements,
    withdraw,
    withdraw_outdated,
)
from crypto_assets.ledger.gaps import Gap, gaps
from crypto_assets.model import Series, State, Track, TrackDay, days_between
from crypto_assets.quality.gap_causes import explain

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger


_REFUSED_SHOWN = 3
"""Most spans of days in a refusal."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decides about the days from first to last, both included, of some series and symbols, and why."""

    selected: Sequence[tuple[SeriesEntry, Some[Track]]]
    first: date
    last: date
    by: str
    reason: str


def acknowledge(
    ledger: Ledger, collection: Collection, decision: Decision, *, today: date, lost: Container[TrackDay] = ()
) -> list[Acknowledgement]:
    """Acknowledge every day of a decision; return the acknowledgements.

    All of them or none: a day that is not a gap cannot be acknowledged.

    Raises:
        ConfigError: a day is complete (or was, and is `lost`), still expected, not collected yet or outside the
            collection; or the reason is empty.
    """
    first, last = decision.first, decision.last
    if not decision.reason.strip():
        raise ConfigError("--reason: expected why these days are accepted, found nothing; write it in a few words")
    if last < first:
        raise ConfigError(f"--from {first} --to {last}: expected --from on or before --to")
    found: list[Gap] = []
    refused: list[Problem] = []
    for entry, tracks in decision.selected:
        mine = {
            gap.track_day: gap
            for gap in gaps(collection, ledger, today, [entry], tracks=tracks, first=first, last=last)
        }
        for series, symbol in sorted(tracks):
            for day in days_between(first, last):
                gap = mine.get(TrackDay(series, symbol, day))
                is_lost = TrackDay(series, symbol, day) in lost
                if why := _refusal(entry, day, gap, today, is_lost):
                    refused.append(Problem(series, symbol, day, None, why))
                elif gap is not None:
                    found.append(gap)
    if refused:
        raise ConfigError(_refused_in_words(refused))
    wanted = [
        Acknowledged(
            gap.series.exchange,
            gap.series.market_type,
            gap.symbol,
            gap.series.dataset,
            gap.day,
            one.cause.kind.value,
            _keys(gap.series, gap.symbol, gap.day),
        )
        for one in explain(ledger, found)
        for gap in [one.gap]
    ]
    with ledger.transaction() as connection:
        add_acknowledgements(connection, wanted, decision.reason.strip(), decision.by)
    tracks = {gap.track for gap in found}
    return [one for one in _read(ledger, tracks, first, last) if one.holds]


def _refused_in_words(refused: Sequence[Problem]) -> str:
    """Return the refused days with reasons, neighbours together, and which days can be accepted."""
    found = spans(refused)
    texts = [f"{one.track} {days_text(one.first, one.last)}: {one.reason}" for one in found[:_REFUSED_SHOWN]]
    left = sum(one.days for one in found[_REFUSED_SHOWN:])
    more = f"; and {left:,} more" if left else ""
    return (
        f"expected days that were collected and are missing or partial, found {'; '.join(texts)}{more}. Nothing was "
        "acknowledged: days that `crypto-assets fill` can still collect, or the archive may still publish, are not accepted"
    )


def _refusal(entry: SeriesEntry, day: date, gap: Gap | None, today: date, is_lost: bool) -> str:
    """Return why a day cannot be acknowledged; empty if it can."""
    if day < entry.start or entry.until(day) < day:
        return f"outside the collection ({entry.span})"
    if day >= today:
        return "not over yet"
    if is_lost:
        return "stored and lost"
    if gap is None:
        return "complete"
    if gap.state is None:
        return "not collected yet"
    if gap.state is State.PENDING:
        return "not published yet"
    return ""


def _keys(series: Series, symbol: str, day: date) -> list[str]:
    name = sources.name_of(series, symbol)
    return [key for feed in sources.archives(series) for key in feed.keys(name, day)]


def withdraw_by_hand(ledger: Ledger, decision: Decision) -> list[Acknowledgement]:
    """Withdraw the valid acknowledgements of the days of a decision; return them.

    Raises:
        ConfigError: no acknowledgement of these days is valid.
    """
    first, last, reason = decision.first, decision.last, decision.reason.strip()
    tracks = {track for _, of_entry in decision.selected for track in of_entry}
    found = [one for one in _read(ledger, tracks, first, last) if one.holds]
    if not found:
        raise ConfigError(
            f"expected acknowledged days from {first} to {last}, found none; `crypto-assets gaps acknowledged` lists them"
        )
    because = f"{decision.by} withdrew it" + (f": {reason}" if reason else "")
    ledger.change(lambda connection: withdraw(connection, found, because))
    return found


def refresh_acknowledgements(
    ledger: Ledger, collection: Collection, first: date, last: date, today: date
) -> list[Acknowledgement]:
    """End the acknowledgements that are no longer valid: the acknowledged day has changed, or has another cause now.

    Args:
        first, last: days whose causes may have changed, both included.

    Returns:
        The acknowledgements whose cause has changed.
    """
    with ledger.transaction() as connection:
        withdraw_outdated(connection)
        held = read_acknowledgements(connection, first=first, last=last, holding=True)
    if not held:
        return []
    tracks = {one.track_day.track for one in held}
    days = min(one.day for one in held), max(one.day for one in held)
    open_ = gaps(collection, ledger, today, tracks=tracks, first=days[0], last=days[1])
    changed: dict[str, list[Acknowledgement]] = {}
    for one in explain(ledger, [gap for gap in open_ if gap.acknowledged and gap.acknowledged.holds]):
        known = one.gap.acknowledged
        if known is not None and known.cause not in (None, one.cause.kind.value):
            changed.setdefault(f"its cause is {one.cause.kind} now, it was {known.cause}", []).append(known)
    with ledger.transaction() as connection:
        for because, ones in changed.items():
            withdraw(connection, ones, because)
    return [one for ones in changed.values() for one in ones]


def _read(ledger: Ledger, tracks: Some[Track], first: date, last: date) -> list[Acknowledgement]:
    with ledger.transaction() as connection:
        found = read_acknowledgements(connection, first=first, last=last)
    return [one for one in found if one.track_day.track in tracks]
