"""Finds days without data, and edges of lives, that stored rows of another dataset of the same symbol contradict.

That a day has no data is inferred from one dataset: its files end, its first row comes late, no id is missing. If another
dataset has rows of the day, or beyond the inferred end of the life, the inference is wrong and rows are missing. Trades are
such witnesses, and bars in which something traded. A calendar by which no bar opens is never contradicted; an outage or the
name of a contract is contradicted only by trading on that very day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import psycopg

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.engine.archive.lifetime import CONTRADICTED_BY, LIFE
from crypto_assets.ledger.minutes import StoredDay, mask
from crypto_assets.ledger.witnesses import days_without_data, doubtful_days, numbers_of, spans_of, stored_days
from crypto_assets.model import DAY, Outcome, Partition, Series, State
from crypto_assets.rows.bar_calendar import days_of_bar
from crypto_assets.rows.numbered import FEW_TRADES, NUMBERED


@dataclass(frozen=True, slots=True)
class _Witness:
    dataset: str
    day: date
    words: str


@dataclass(frozen=True, slots=True)
class _Known:
    """The stored days of the symbols of some days without data, in other datasets and, for `numbers`, in their own.

    `spans` are the first and the last day on which anything traded, by symbol and dataset. `stored` are the stored days, by
    symbol and day. `empty` are the days without data of other datasets: dataset, symbol, day. `numbers` are the first stored
    day and its first trade number, for symbols that traded before it.
    """

    spans: Mapping[str, Mapping[str, tuple[date, date]]]
    stored: Mapping[tuple[str, date], Sequence[StoredDay]]
    empty: Set[tuple[str, str, date]]
    numbers: Mapping[str, tuple[date, int]]


def contradicted(connection: psycopg.Connection[Any], series: Series, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return new outcomes for the days without data that other rows contradict: `missing`, with the reason."""
    asked = [one for one in outcomes if one.state is State.NO_DATA and "opens" not in one.evidence]
    if not asked:
        return []
    symbols = {one.partition.symbol for one in asked}
    spans = spans_of(connection, series, symbols)
    numbers = numbers_of(connection, series, symbols, FEW_TRADES) if series.table in NUMBERED else {}
    near = [one for one in asked if one.partition.symbol in numbers or _may_be(series, one, spans)]
    if not near:
        return []
    places = {(one.partition.symbol, day) for one in near for day in days_of_bar(series.timeframe, one.partition.day)}
    own = {(one.partition.symbol, one.partition.day) for one in near}
    known = _Known(spans, stored_days(connection, series, places), days_without_data(connection, series, own), numbers)
    found = []
    for one in near:
        witness = _on_the_day(series, one, known) or _beyond_the_edge(one, known) or _before_the_first(one, known)
        if witness is not None:
            found.append(_missing(one, witness))
    return found


def reopen(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbols: Iterable[str]
) -> list[Outcome]:
    """Return the days without data of some symbols that are contradicted now, in every dataset, as `contradicted` does."""
    records = doubtful_days(connection, exchange, market_type, symbols, NUMBERED, FEW_TRADES)
    by_series: dict[Series, list[Outcome]] = defaultdict(list)
    for record in records:
        series, symbol = record.track
        by_series[series].append(
            Outcome(
                series,
                Partition(symbol, record.day),
                State.NO_DATA,
                record.reason,
                record.evidence,
                record.source_file,
                unchanged=True,  # nothing was downloaded
            )
        )
    return [one for series, outcomes in by_series.items() for one in contradicted(connection, series, outcomes)]


# ---- the rule --------------------------------------------------------------------------------------------------------


def _may_be(series: Series, outcome: Outcome, spans: Mapping[str, Mapping[str, tuple[date, date]]]) -> bool:
    day = outcome.partition.day
    end, since = days_of_bar(series.timeframe, day)[-1] + DAY, min(day, _last_day(outcome))
    of_symbol = spans.get(outcome.partition.symbol, {}).values()
    return any(first < end and (since <= last or outcome.evidence.get(LIFE) == "before") for first, last in of_symbol)


def _on_the_day(series: Series, outcome: Outcome, known: _Known) -> _Witness | None:
    bars_are_due = (
        series.table == "ohlcv" and "outage" not in outcome.evidence and outcome.evidence.get("source") != "name"
    )
    day, funding = outcome.partition.day, series.table == "funding_rates"
    for each in days_of_bar(series.timeframe, day):
        for row in known.stored.get((outcome.partition.symbol, each), ()):
            if _funding_is_due(row) if funding else row.traded or (bars_are_due and row.is_bars):
                when = "of this day" if each == day else f"of {each}"
                return _Witness(row.dataset, each, f"{row.dataset} has rows {when}")
    return None


def _funding_is_due(row: StoredDay) -> bool:
    """Return whether a symbol traded in the first hour of a day and after the first event that must follow, 8 hours later."""
    return bool(row.traded & mask(0, 60)) and bool(row.traded & mask(8 * 60, MINUTES))


def _beyond_the_edge(outcome: Outcome, known: _Known) -> _Witness | None:
    """Return a dataset with rows beyond the inferred end of a life; a dataset that has no data of the day does not count.

    Funding may end hours before trading does, so only funding days inside the trading are contradicted.
    """
    evidence, day, symbol = outcome.evidence, outcome.partition.day, outcome.partition.symbol
    funding = outcome.series.table == "funding_rates"
    life = evidence.get(LIFE)
    if life not in ("before", "after") or evidence.get("source") == "name":
        return None
    for dataset, (first, last) in known.spans.get(symbol, {}).items():
        beyond = first < day and (life == "before" or last > (day if funding else _last_day(outcome)))
        if beyond and (dataset, symbol, day) not in known.empty:
            when = first if life == "before" else last
            return _Witness(dataset, when, f"{dataset} has rows of {when}")
    return None


def _before_the_first(outcome: Outcome, known: _Known) -> _Witness | None:
    """Return the dataset itself if the number of its first stored trade shows that many trades came before it."""
    evidence, day = outcome.evidence, outcome.partition.day
    if evidence.get(LIFE) != "before" or "exchange_asked" in evidence or outcome.partition.symbol not in known.numbers:
        return None
    first, number = known.numbers[outcome.partition.symbol]
    if first <= day:
        return None
    dataset = outcome.series.dataset
    return _Witness(dataset, first, f"the first row of {first} has the number {number}, so others came before it")


def _last_day(outcome: Outcome) -> date:
    """Return the last day with rows from which the end of a life was inferred; for a long bar, the last day of that bar."""
    said = outcome.evidence.get("edge") or outcome.evidence.get("last_listed")
    if not said:
        return outcome.partition.day
    last = date.fromisoformat(str(said)[:10])
    return days_of_bar(outcome.series.timeframe, last)[-1]


def _missing(outcome: Outcome, witness: _Witness) -> Outcome:
    evidence: dict[str, Any] = {
        CONTRADICTED_BY: witness.dataset,
        "contradicted_on": str(witness.day),
        "was": outcome.reason,
    }
    if "object" in outcome.evidence:
        evidence["object"] = outcome.evidence["object"]
    reason = f"no rows, and {witness.words}; without these: {outcome.reason}"
    return replace(outcome, state=State.MISSING, reason=reason, evidence=evidence)
