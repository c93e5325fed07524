"""Looking again at days that were taken for `no_data` by inference, or because an exchange said so.

Files may appear later, a symbol may be listed again, an archive may be completed backwards. A day that is no longer explained
becomes `missing` (or `pending`), and so a gap that `fill` collects. Each look costs about one page of a listing and one
question a symbol; when a day was last looked at stands in its evidence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets import exchanges
from crypto_assets.collection.archive.finder import Finder
from crypto_assets.collection.archive.lifetime import says_more
from crypto_assets.collection.days import Target
from crypto_assets.collection.pool import DaemonPool
from crypto_assets.collection.records.control import ALL, Controls, of_exchange
from crypto_assets.collection.records.ledger import Ledger
from crypto_assets.collection.records.recording import as_json
from crypto_assets.collection.rest.feed import RestFeed
from crypto_assets.collection.transport.guard import EGRESS, Guard
from crypto_assets.collection.transport.http import Client
from crypto_assets.config import Collection, SeriesEntry
from crypto_assets.errors import CryptoAssetsError, Stopped
from crypto_assets.model import DAY, ArchiveObject, Outcome, Partition, Series, State

DAILY = timedelta(days=1)
"""`gaps` looks again at what was not looked at for so long; `fill` always looks."""

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Inferred:
    """One day that is `no_data` because of what somebody inferred or an exchange said."""

    symbol: str
    day: date
    reason: str
    evidence: Mapping[str, Any]
    source_key: str | None
    source_etag: str | None

    @property
    def looked_at(self) -> str:
        """When it was last looked at, ISO 8601; empty where that is not known."""
        return str(self.evidence.get("looked_at", ""))


@dataclass(slots=True)
class Review:
    """What a look came to: how many days were looked at, those that are no longer explained, and what could not be asked.

    `problems` holds what went wrong, by exchange; `not_looked_at` counts the days that stay as they were because of that, and
    `since` is the oldest look at them.
    """

    looked_at: int = 0
    reopened: list[Outcome] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    not_looked_at: int = 0
    since: str = ""

    def in_words(self) -> list[str]:
        """Return lines for people; none where nothing is to be said."""
        lines = []
        if self.reopened:
            days = len(self.reopened)
            lines.append(
                "1 day of no data is no longer explained; it is a gap now"
                if days == 1
                else f"{days} days of no data are no longer explained; they are gaps now"
            )
        for exchange, problem in sorted(self.problems.items()):
            since = f" at {self.since[:16].replace('T', ' ')} UTC" if self.since else " not recorded"
            what = f"{self.not_looked_at} days of no data that was inferred, or said by the exchange"
            lines.append(f"{exchange}: could not look again at {what}; the last look was{since}: {problem}")
        return lines


def review(
    collection: Collection,
    ledger: Ledger,
    pairs: Iterable[tuple[SeriesEntry, Sequence[tuple[Series, str]]]],
    *,
    now: datetime | None = None,
    older_than: timedelta = timedelta(0),
    timeout_s: float = 15.0,
    budget_s: float = float("inf"),
    egress: str = EGRESS,
) -> Review:
    """Look again at the inferred days of some series and symbols, record what has changed, and return it.

    Args:
        pairs: entries and, of each, the series and symbols that are looked at.
        older_than: days whose last look is younger are left alone; where all are, nothing is asked.
        timeout_s: of each request; each is made once.
        budget_s: no symbol is begun after so long; those whose last look is oldest come first.

    Raises:
        PostgresUnavailable: the server does not answer.
    """
    at = now or datetime.now(UTC)
    paused = {one.scope for one in Controls(ledger).read() if one.action == "pause"}
    work = []
    for entry, of_entry in pairs:
        if paused & {ALL, of_exchange(entry.exchange)}:
            continue
        last = entry.until(at.date() - DAY)
        for series in sorted({series for series, _ in of_entry}):
            symbols = [symbol for one, symbol in of_entry if one == series]
            with ledger.transaction() as connection:
                found = _inferred(connection, series, symbols, entry.start, last, at - older_than)
            work += [(series, symbol, days) for symbol, days in found.items()]
    result = Review()
    if not work:
        return result
    work.sort(key=lambda one: min(day.looked_at for day in one[2]))
    deadline = time.monotonic() + budget_s
    with (
        Guard(ledger.url, collection, egress=egress, patience_s=timeout_s) as guard,
        Client(_AT_ONCE, timeout_s=timeout_s, attempts=1, guard=guard) as client,
        DaemonPool(_AT_ONCE, "review") as pool,
    ):
        finder = Finder(client, collection, ledger, RestFeed(client, collection), lambda: at)
        reviewer = _Reviewer(finder, ledger, result, at, deadline)
        list(pool.map(lambda one: reviewer.look(*one), work))
    return result


def _inferred(
    connection: psycopg.Connection[Any],
    series: Series,
    symbols: Sequence[str],
    first: date,
    last: date,
    before: datetime,
) -> dict[str, list[Inferred]]:
    """Return the days to look at, by symbol; of a symbol all days where one is due."""
    names = ", ".join(Inferred.__dataclass_fields__)
    with connection.cursor(row_factory=class_row(Inferred)) as cursor:
        rows = cursor.execute(
            f"""SELECT {names} FROM collection.partitions
            WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND symbol = ANY(%s) AND day BETWEEN %s AND %s
                AND state = 'no_data' AND evidence ?| ARRAY['inferred', 'exchange_asked']
            ORDER BY symbol, day""",
            (series.exchange, series.market_type, series.dataset, list(symbols), first, last),
        ).fetchall()
    found: dict[str, list[Inferred]] = {}
    for row in rows:
        found.setdefault(row.symbol, []).append(row)
    return {symbol: days for symbol, days in found.items() if min(one.looked_at for one in days) <= before.isoformat()}


class _Reviewer:
    """Looks at one symbol after the other; `look` may be called from many threads."""

    def __init__(self, finder: Finder, ledger: Ledger, result: Review, now: datetime, deadline: float) -> None:
        self._finder = finder
        self._ledger = ledger
        self._result = result
        self._now = now
        self._deadline = deadline
        self._lock = threading.Lock()

    def look(self, series: Series, symbol: str, days: Sequence[Inferred]) -> None:
        if time.monotonic() > self._deadline:
            return
        if series.exchange in self._result.problems:  # the host was asked a moment ago
            self._not_looked(series, days, self._result.problems[series.exchange])
            return
        target = Target(series, symbol, tuple(one.day for one in days))
        located = self._finder.find(target, target.days)
        held = {day: obj for obj, of_object in located.holders for day in of_object}
        absent = {outcome.partition.day: outcome for outcome in located.absent}
        same: list[tuple[Inferred, Outcome | None]] = []
        reopened: list[Outcome] = []
        for one in days:
            outcome = self._in_file(series, one, held[one.day]) if one.day in held else absent[one.day]
            if outcome is not None and (error := outcome.evidence.get("error")):
                problem = f"{error}: {outcome.reason}" if error == "ListingError" else outcome.reason
                self._not_looked(series, [one], problem)
            elif outcome is not None and outcome.evidence.get("exchange_problem"):
                self._not_looked(series, [one], str(outcome.evidence["exchange_problem"]))
            elif outcome is None or outcome.state is State.NO_DATA:
                same.append((one, outcome))
            elif "exchange_asked" in one.evidence and not says_more(outcome):
                same.append((one, None))  # what the exchange said stays said, where it may not be asked any more
            else:
                reopened.append(outcome)
        self._record(series, symbol, same, reopened)

    def _in_file(self, series: Series, one: Inferred, obj: ArchiveObject) -> Outcome | None:
        """Return what has become of a day that a file covers: None where it is as it was."""
        partition = Partition(one.symbol, one.day)
        if (one.source_key, one.source_etag) != (obj.key, obj.etag):
            since = one.looked_at[:10] or "it was looked at last"
            reason = f"{obj.key} has appeared since {since}; until then: {one.reason}. `crypto-assets fill` collects it"
            return Outcome(series, partition, State.MISSING, reason, {"appeared": obj.key, "was": one.reason})
        if "edge" not in one.evidence and "object" in one.evidence:  # a file of a month, in which it was no edge
            outside = self._finder.outside(series, one.symbol, [one.day]).get(one.day)
            return None if outside is None or outside.state is State.NO_DATA else outside
        period = exchanges.get(series.exchange).period(obj.key)
        before = one.evidence.get("life") == "before"
        outside = self._finder.beside(series, one.symbol, period[0] - DAY if before else period[1] + DAY)
        if outside is not None and (outside.evidence.get("error") or outside.evidence.get("exchange_problem")):
            return outside
        edge = one.evidence.get("edge")
        try:
            asks, contradicted = self._finder.asks(series, one.symbol), outside is None
            if asks is not None and edge and before:
                first = asks.first(series, one.symbol)
                contradicted |= first is not None and first < datetime.fromisoformat(edge)
            elif asks is not None and edge:
                latest = asks.latest(series, one.symbol)
                later = latest.time is not None and latest.time >= datetime.fromisoformat(edge)
                contradicted |= not latest.ended or later
        except Stopped:
            raise
        except CryptoAssetsError as error:
            return Outcome(series, partition, State.NO_DATA, one.reason, {"exchange_problem": str(error)})
        if not contradicted:
            return None
        where = "before" if before else "after"
        reason = (
            f"{obj.key} has no rows of this day, and the symbol has files or rows {where} it; until now: {one.reason}"
        )
        return Outcome(series, partition, State.MISSING, reason, {"object": obj.key, "was": one.reason})

    def _not_looked(self, series: Series, days: Sequence[Inferred], problem: str) -> None:
        with self._lock:
            self._result.problems.setdefault(series.exchange, problem)
            self._result.not_looked_at += len(days)
            looked = [one.looked_at for one in days if one.looked_at]
            self._result.since = min([*looked, *([self._result.since] if self._result.since else [])], default="")

    def _record(
        self, series: Series, symbol: str, same: Sequence[tuple[Inferred, Outcome | None]], reopened: Sequence[Outcome]
    ) -> None:
        looked = {"looked_at": self._now.isoformat()}
        rows = [
            (
                one.day,
                outcome.reason if outcome else one.reason,
                as_json({**(outcome.evidence if outcome else one.evidence), **looked}),
            )
            for one, outcome in same
        ]
        with self._ledger.transaction() as connection:
            connection.execute(
                """UPDATE collection.partitions p SET reason = o.reason, evidence = o.evidence
                FROM unnest(%s::date[], %s::text[], %s::jsonb[]) AS o (day, reason, evidence)
                WHERE (p.exchange, p.market_type, p.dataset, p.symbol, p.day) = (%s, %s, %s, %s, o.day)
                    AND p.state = 'no_data'""",
                (
                    *([list(column) for column in zip(*rows, strict=True)] or [[], [], []]),
                    series.exchange,
                    series.market_type,
                    series.dataset,
                    symbol,
                ),
            )
            self._ledger.record_outcomes(reopened, connection=connection)
        with self._lock:
            self._result.looked_at += len(same) + len(reopened)
            self._result.reopened += reopened
