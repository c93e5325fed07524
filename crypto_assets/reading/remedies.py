"""Say what can be done about incomplete days of `crypto_assets.read`: only remedies that can work.

Called only when a message is built, because it reads collection.yaml, and the database if that can help.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError, PostgresUnavailable
from crypto_assets.ledger.day_records import database_that_is_there
from crypto_assets.ledger.symbol_rules import load_known_collection
from crypto_assets.model import TIMEFRAME_LENGTHS, Series, State
from crypto_assets.reading.day_coverage import NOT_COLLECTED, OUTSIDE, DayCoverage, Explained, Remedy, usual
from crypto_assets.rows.timeframes import BUILT_FROM

if TYPE_CHECKING:
    from crypto_assets.config.collection import SeriesEntry
    from crypto_assets.reading.question import Question


def explain(asked: Question, days: Sequence[DayCoverage]) -> Explained:
    """Return incomplete days with their reasons, and what can be done about them."""
    if asked.lock is not None:
        return Explained(
            days, ["the lock lists what was stored when it was written; `crypto-assets lock` writes a present one"]
        )
    if asked.known_at is not None:
        return Explained(days, [_since(asked, days), "`crypto-assets fill` changes only what is known from now on"])
    try:
        entries = _entries(asked)
    except ConfigError:
        return usual(days)
    shown = [one if one.acknowledged else _outside(asked, one, entries) for one in days]
    advice = usual(shown).advice
    if not entries and (shorter := _shorter(asked)):
        advice = [f"build_from={shorter!r} builds them from shorter bars", *advice]
    if any(was is not now for was, now in zip(days, shown, strict=True)):
        built = _built(asked, days)
        advice = [*([built] if built else []), *advice, _ADD if not entries else _WIDEN]
    return Explained(shown, advice)


_ADD = "an entry in collection.yaml, then `crypto-assets fill`, collects it"
_WIDEN = "`start` and `end` in collection.yaml set the days that `crypto-assets fill` collects"


def _shorter(asked: Question) -> str:
    """Return the longest bars of collection.yaml that the requested ones can be built from; empty if there are none."""
    from crypto_assets.reading.build import target_of

    if asked.source != "lake" or asked.series.timeframe is None:
        return ""
    market = (asked.series.exchange, asked.series.market_type)
    names = {
        series.timeframe: series.dataset
        for entry in load_known_collection(settings_at_start().config).series
        for series in entry.series
        if (series.exchange, series.market_type) == market and series.timeframe and asked.symbol in entry.symbols
    }
    for timeframe in sorted(names, key=lambda name: TIMEFRAME_LENGTHS.get(name, timedelta()), reverse=True):
        with contextlib.suppress(ConfigError):
            target_of(*market, asked.series.dataset, names[timeframe])
            return names[timeframe]
    return ""


def _entries(asked: Question) -> list[SeriesEntry]:
    """Return the entries of collection.yaml that give the requested rows."""
    names = [asked.series.dataset]
    if asked.source == "warehouse":
        from crypto_assets.reading.loaded_days import sources_of

        names = sources_of(asked.series)
    wanted = {Series.named(asked.series.exchange, asked.series.market_type, name) for name in names}
    collection = load_known_collection(settings_at_start().config)
    return [entry for entry in collection.series if wanted.intersection(entry.series) and asked.symbol in entry.symbols]


def _outside(asked: Question, one: DayCoverage, entries: Sequence[SeriesEntry]) -> DayCoverage:
    """Return a day outside all entries with the reason why `fill` does not collect it; other days unchanged."""
    if any(entry.start <= one.day <= (entry.end or date.max) for entry in entries):
        return one
    first = min((entry.start for entry in entries), default=None)
    if first is None:
        why = f"collection.yaml has no entry of {asked}"
    elif one.day < first:
        why = f"its collection begins on {first}"
    elif one.day > (last := max(entry.end or date.max for entry in entries)):
        why = f"its collection ends on {last}"
    else:
        why = f"no entry of {asked} in collection.yaml has the day"
    if one.state == NOT_COLLECTED:
        return replace(one, state=OUTSIDE, reason=why, remedy=Remedy.NONE)
    return replace(one, reason=f"{one.reason}; {why}", remedy=Remedy.NONE)


def _built(asked: Question, days: Sequence[DayCoverage]) -> str:
    """Return a sentence if the warehouse has some of the days, built from shorter bars; otherwise empty."""
    if asked.source == "warehouse" or asked.series.timeframe not in BUILT_FROM:
        return ""
    from crypto_assets.reading.loaded_days import TableQuestion, read_days

    with contextlib.suppress(PostgresUnavailable, ConfigError):
        url = database_that_is_there(settings_at_start())
        if url is not None:
            wanted = {one.day for one in days}
            _, there = read_days(url, replace(TableQuestion.of(asked, "ohlcv", ["open_time"]), to_day_end=True))
            has = sum(one.day in wanted and one.complete and one.state != State.NO_DATA for one in there)
            if has:
                which = "them" if has == len(days) == len(wanted) else f"{has:,} of them"
                return f"source='warehouse' has {which}, built from ohlcv_1m"
    return ""


def _since(asked: Question, days: Sequence[DayCoverage]) -> str:
    """Return since when all of the days are known that were collected after the requested instant."""
    from crypto_assets.ledger.partitions import Ledger

    url = database_that_is_there(settings_at_start())
    if url is None:
        return "as_of shows what was known then"
    with Ledger(url) as ledger:
        since = ledger.known_since(asked.series, asked.symbol, days[0].day, days[-1].day)
    late = [at for one in days if one.state == NOT_COLLECTED and (at := since.get(one.day))]
    if not late:
        return "as_of shows what was known then"
    whole = max(late) + timedelta(seconds=1)
    return f"what was collected later is known since {whole:%Y-%m-%d %H:%M:%S} UTC: use as_of that instant or later"
