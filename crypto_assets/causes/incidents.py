"""Build incidents: spans of minutes without data or trades, with their causes. `ledger/incidents.py` stores them.

They follow from profiles alone, without the lake, and are kept equal to the profiles: an incident that no longer holds is
removed. Ordinary silences of a symbol have no incident; `crypto-assets gaps` gives the cause of every missing minute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import psycopg

from crypto_assets.causes.known_outages import KnownOutage, known_outages
from crypto_assets.causes.outages import find_outages
from crypto_assets.causes.rules import Market, MarketIncident, MinuteSpan, of_market
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.ledger.incidents import Incident, lock_incidents, read_incidents, replace_incidents
from crypto_assets.ledger.known_days import symbol_days_without_data
from crypto_assets.ledger.minutes import (
    MINUTE,
    StoredDay,
    covered,
    long_runs,
    read_minutes,
    resolution,
    start_of,
)
from crypto_assets.model import DAY, Series, days_between
from crypto_assets.model.kinds import Kind
from crypto_assets.storage.database import Database
from crypto_assets.storage.sessions import lock_wait, of_connection

WORTH_MINUTES = 5
"""A shorter span of one symbol has no row of its own."""

DAYS_BESIDE = 4
"""Days read on either side: a span may cross midnight, and is judged by the days around it."""


def load_market(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    days: Iterable[date],
    known: Sequence[KnownOutage] | None = None,
) -> tuple[Market, list[MarketIncident], list[StoredDay]]:
    """Return a market around some days from its profiles, with its outages, and the stored days.

    Args:
        known: known outages; default: those of the list.
    """
    around = {day + n * DAY for day in days for n in range(-DAYS_BESIDE, DAYS_BESIDE + 1)}
    if not around:
        return Market(exchange, market_type, ()), [], []
    stored = read_minutes(connection, exchange, market_type, around)
    if known is None:
        known = known_outages(exchange, market_type, start_of(min(around)), start_of(max(around) + DAY))
    unlisted = symbol_days_without_data(connection, exchange, market_type, around)
    found = find_outages(stored)
    incidents = of_market(found, known)
    cuts = [one for one in found if one.cut]
    return Market(exchange, market_type, stored, incidents, cuts, unlisted), incidents, stored


# ---- writing ----------------------------------------------------------------------------------------------------------


def refresh_incidents(
    database: Database,
    market: Series | tuple[str, str],
    first_day: date,
    last_day: date,
    known: Sequence[KnownOutage] | None = None,
) -> list[Incident]:
    """Replace the incidents that overlap some days of a market by those its profiles give now; return them, by time.

    The same profiles give the same rows, and unchanged rows are not written again. Waits for another process that refreshes
    the same market.

    Args:
        market: a series (all datasets and symbols of its market are judged), or (exchange, market type).
        known: known outages; default: those of the list.
    """
    exchange, market_type = (market.exchange, market.market_type) if isinstance(market, Series) else market
    with database.transaction() as connection:
        with lock_wait(of_connection(connection), f"the lock on the incidents of {exchange} {market_type}"):
            lock_incidents(connection, exchange, market_type)

        def former(days: tuple[date, date]) -> list[Incident]:
            return read_incidents(connection, exchange=exchange, market_type=market_type, first=days[0], last=days[1])

        # An incident of these days may reach into others: these are rebuilt too.
        kept = _days_of(former((first_day, last_day)), first_day, last_day)
        replaced = former(kept)
        loaded = _days_of(replaced, *kept)
        while True:
            wanted = [one for one in _made(connection, exchange, market_type, *loaded, known) if _overlaps(one, *kept)]
            wider = _days_of(wanted, *loaded)
            if wider == loaded:
                break
            loaded = wider
        replace_incidents(connection, replaced, wanted)
    return [one for one in wanted if _overlaps(one, first_day, last_day)]


def _overlaps(one: Incident, first: date, last: date) -> bool:
    return one.start_time < start_of(last + DAY) and start_of(first) < one.end_time


def _days_of(incidents: Iterable[Incident], first: date, last: date) -> tuple[date, date]:
    """Return the days from first to last, widened to contain whole incidents."""
    for one in incidents:
        first = min(first, one.start_time.date())
        last = max(last, (one.end_time - timedelta(microseconds=1)).date())
    return first, last


def _made(
    connection: psycopg.Connection[Any],
    exchange: str,
    market_type: str,
    first: date,
    last: date,
    known: Sequence[KnownOutage] | None,
) -> list[Incident]:
    """Return the incidents that the profiles of some days and their neighbours give, by time."""
    market, of_all, stored = load_market(connection, exchange, market_type, days_between(first, last), known)
    outages: dict[date, int] = defaultdict(int)
    for incident in of_all:
        for day in days_between(incident.start.date(), incident.end.date()):
            outages[day] |= covered(incident.start, incident.end, day)
    finest: dict[tuple[str, date], int] = {}
    for one in stored:
        place = one.symbol, one.day
        finest[place] = min(resolution(one.dataset) or MINUTES, finest.get(place, MINUTES))
    common = [incident.cause for incident in of_all]
    spans = [
        span
        for one in stored
        if _worth_a_look(one, outages[one.day])
        for span in market.spans(one.symbol, one.dataset, one.day, WORTH_MINUTES)
        if span.cause not in common and _worth_a_row(one, span, finest[one.symbol, one.day])
    ]
    found = [_of_market(exchange, market_type, incident) for incident in of_all]
    found += _over_midnight(_of_span(exchange, market_type, span) for span in spans)
    return sorted(found, key=lambda one: (one.start_time, one.kind, one.symbol or "", one.dataset or ""))


def _worth_a_look(one: StoredDay, outages: int) -> bool:
    """Return whether a day may have spans worth a row; a cheap test, because most days have none."""
    return long_runs(one.untraded & ~outages, WORTH_MINUTES) != 0


def _worth_a_row(one: StoredDay, span: MinuteSpan, finest: int) -> bool:
    if (span.end - span.start) // MINUTE < WORTH_MINUTES:
        return False
    if span.only_silent:  # a fact of the symbol, shown once, by its finest bars or trades
        return span.cause.kind is Kind.UNEXPLAINED and resolution(one.dataset) == finest
    return span.missing or span.cause.kind is not Kind.ILLIQUID


def _of_market(exchange: str, market_type: str, one: MarketIncident) -> Incident:
    return Incident(
        exchange,
        market_type,
        None,
        None,
        one.cause.kind,
        one.start,
        one.end,
        one.symbols,
        one.cause.evidence,
        "known" if one.reference else "found",
        one.reference,
    )


def _of_span(exchange: str, market_type: str, span: MinuteSpan) -> Incident:
    """Return the row of a span: a silence belongs to the symbol, missing rows to the dataset."""
    dataset = None if span.only_silent else span.dataset
    return Incident(
        exchange,
        market_type,
        span.symbol,
        dataset,
        span.cause.kind,
        span.start,
        span.end,
        (span.symbol,),
        {**span.cause.evidence, "missing": span.missing},
    )


def _over_midnight(spans: Iterable[Incident]) -> list[Incident]:
    """Return the spans of symbols, each once, joined across midnight."""
    by_end: dict[tuple[Any, ...], Incident] = {}
    for one in sorted(spans, key=lambda one: one.start_time):
        series = one.symbol, one.dataset, one.kind, one.evidence["missing"]
        before = by_end.pop((*series, one.start_time), None)
        if before:
            one = replace(before, end_time=one.end_time)
        by_end[(*series, one.end_time)] = one
    return list({one.key: one for one in by_end.values()}.values())
