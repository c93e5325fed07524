"""Checks of a whole asset: its health covers all collected days, not only the last run.

Dagster takes an asset's health from the latest result of each check, whichever day it is for. A good day collected today
would hide a partial one of last year. So every run ends with a summary over all days, from the ledger.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from crypto_assets.checks import rules_of
from crypto_assets.config.collection import Collection, SeriesEntry
from crypto_assets.defs.asset_keys import days_text, lake_key, warehouse_key
from crypto_assets.defs.partition_events import severity_of
from crypto_assets.defs.resources import LakeResource
from crypto_assets.engine.publication.warehouse_rows import ROWS_MATCH_LAKE, Loads, Table, loads_of
from crypto_assets.instance.event_log import BatchedEventLogStorage
from crypto_assets.instance.private_names import AssetCheckExecutionRecordStatus
from crypto_assets.ledger.completeness import Span, Standing, standings
from crypto_assets.ledger.lakes import lost_days
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Rule, Series, Severity, State, Track, TrackDay, days_between
from crypto_assets.storage.lake import Lake

ALL_DAYS_COMPLETE = Rule(
    name="all_days_complete",
    severity=Severity.DEGRADE,
    description="No day from the start of the collection to its end or yesterday is missing, partial, not collected or not "
    "published yet, or corrected since; for a table, no day of its source datasets. Acknowledged days do not count.",
    words=lambda evidence, series: "",  # noqa: ARG005  its evaluation says it
)

_WORDS = {
    State.MISSING: "missing",
    State.DEGRADED: "partial",
    State.CORRECTED: "corrected",
    State.PENDING: "not published yet",
}
"""The states of days that are not complete, the worst first."""


@dataclass(slots=True)
class Judged:
    """The results of one check of an asset in a run: whether it passed, by day, and the days that it could not judge.

    `example` is the evidence of the first failed day.
    """

    results: dict[date, bool] = field(default_factory=dict)
    not_judged: set[date] = field(default_factory=set)
    example: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[date]:
        return sorted(day for day, passed in self.results.items() if not passed)


def table_of(collection: Collection, symbol: str, name: str, feeders: Sequence[Series]) -> Table:
    """Return a warehouse asset's table with the entries that decide its rows."""
    exchange, market_type = feeders[0].exchange, feeders[0].market_type
    built = collection.built_timeframes(exchange, market_type, symbol) if name == "ohlcv" else ()
    return Table(name, exchange, market_type, symbol, tuple(feeders), built)


def tables_of(collection: Collection, series: Series, symbol: str) -> list[Table]:
    """Return the tables that a series of a symbol feeds, each with all series that feed it."""
    return [
        table_of(collection, symbol, name, _feeders(collection, series, symbol, name))
        for name in collection.tables_of(series, symbol)
    ]


def _feeders(collection: Collection, series: Series, symbol: str, table: str) -> list[Series]:
    return [
        feeder
        for entry in collection.series
        if symbol in entry.symbols and (entry.exchange, entry.market_type) == (series.exchange, series.market_type)
        for feeder in entry.series
        if table in entry.tables_of(feeder)
    ]


class Summary:
    """The summary at the end of a run: the state of some assets over all their days.

    Args:
        today: the UTC day that has not ended; tests choose it.
        lake: days without a file in it are missing; by default the configured lake.
    """

    def __init__(
        self,
        collection: Collection,
        ledger: Ledger,
        instance: dg.DagsterInstance,
        today: date | None = None,
        lake: Lake | None = None,
    ) -> None:
        self._collection = collection
        self._ledger = ledger
        self._instance = instance
        self._today = today or datetime.now(UTC).date()
        self._lake = lake or LakeResource().lake()

    def of_tracks(
        self,
        tracks: Iterable[Track],
        judged: Mapping[dg.AssetCheckKey, Judged] | None = None,
        only_day: date | None = None,
    ) -> Iterator[dg.AssetCheckEvaluation]:
        """Yield the evaluations of the lake assets of some series and symbols, and of the tables that they feed.

        Checks without results have no evaluation. A check of severity warn concerns the run only: `judged` alone counts.

        Args:
            judged: the results of the run, by check.
            only_day: the day of a run over one day; a summary that only repeats the result of that day is left out.
        """
        judged = judged or {}
        quiet: list[tuple[dg.AssetKey, Rule]] = []
        lakes = list(dict.fromkeys(tracks))
        tables = list(dict.fromkeys(table for track in lakes for table in tables_of(self._collection, *track)))
        feeders = [track for table in tables for track in _feeding(table)]
        spans = {track: span for track in dict.fromkeys([*lakes, *feeders]) if (span := self._span(*track)) is not None}
        standing = standings(self._ledger, list(spans.values()), self._today, self._lost(list(spans.values())))
        loads = loads_of(self._ledger, {table: days for table in tables if (days := _days_of(table, spans))})
        for track in lakes:
            if track in spans:
                key = lake_key(*track)
                yield from all_days(key, {spans[track]: standing[spans[track]]}, self._today)
                for rule in rules_of(track[0]):
                    found = judged.get(dg.AssetCheckKey(key, rule.name), Judged())
                    failed = _failed(rule, standing[spans[track]], found)
                    if not failed and not found.results and rule.severity is not Severity.WARN:
                        quiet.append((key, rule))
                    elif not (found.results and only_day and set(failed) <= {only_day}):
                        yield from of_rule(key, rule, standing[spans[track]], found)
        yield from self._no_longer_failing(quiet)
        for table in tables:
            key = warehouse_key(table.feeders[0], table.symbol, table.name)
            mine = {spans[track]: standing[spans[track]] for track in _feeding(table) if track in spans}
            yield from all_days(key, mine, self._today)
            found = judged.get(dg.AssetCheckKey(key, ROWS_MATCH_LAKE.name), Judged())
            loaded = loads.get(table, Loads())
            if not (found.results and only_day and set(loaded.wrong) <= {only_day}):
                yield from of_table(key, loaded)

    def _no_longer_failing(self, quiet: Sequence[tuple[dg.AssetKey, Rule]]) -> Iterator[dg.AssetCheckEvaluation]:
        """Yield a summary of the checks that fail on no day now, although their last result in Dagster is a failure."""
        for check in _failing(self._instance, [dg.AssetCheckKey(key, rule.name) for key, rule in quiet]):
            yield dg.AssetCheckEvaluation(
                asset_key=check.asset_key,
                check_name=check.name,
                passed=True,
                description="No day fails any more.",
                severity=dg.AssetCheckSeverity.WARN,
            )

    def _lost(self, spans: Sequence[Span]) -> Mapping[TrackDay, str]:
        """Return the stored days of some spans whose files in the lake do not match the ledger."""
        if not spans:
            return {}
        tracks = {span.track for span in spans}
        first, last = min(span.first for span in spans), max(span.last for span in spans)
        return lost_days(self._ledger, self._lake, tracks, first, last, self._collection).reasons

    def _span(self, series: Series, symbol: str) -> Span | None:
        entry: SeriesEntry | None = self._collection.entry_of(series, symbol)
        if entry is None:
            return None
        last = entry.until(self._today)
        return Span(series, symbol, entry.start, last) if entry.start <= last else None


def _failing(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> Sequence[dg.AssetCheckKey]:
    """Return the checks whose last result in Dagster is a failure."""
    storage = instance.event_log_storage
    if isinstance(storage, BatchedEventLogStorage):
        return storage.failing_checks(keys)
    latest = storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    return [key for key, one in latest.items() if one.status is AssetCheckExecutionRecordStatus.FAILED]


def _feeding(table: Table) -> list[Track]:
    return [Track(feeder, table.symbol) for feeder in table.feeders]


def _days_of(table: Table, spans: Mapping[Track, Span]) -> tuple[date, date] | None:
    """Return the first and the last day of the series that feed a table; None if none has days."""
    mine = [spans[track] for track in _feeding(table) if track in spans]
    return (min(span.first for span in mine), max(span.last for span in mine)) if mine else None


def all_days(key: dg.AssetKey, spans: Mapping[Span, Standing], today: date) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield whether all ended days of some spans are complete, counted as in `gaps`; nothing if no day is collected."""
    if not any(standing.days for standing in spans.values()):
        return
    open_: dict[State, set[date]] = {}
    count = 0
    for standing in spans.values():
        for state, found in standing.open.items():
            open_.setdefault(state, set()).update(found)
            count += len(found)
    accepted = sum(len(standing.acknowledged) for standing in spans.values())
    days = sum(len(days_between(span.first, min(span.last, _before(today)))) for span in spans)
    fresh = days - sum(standing.days for standing in spans.values())
    metadata: dict[str, Any] = {"days": days, "days complete": days - count - accepted - fresh}
    if provisional := sum(standing.provisional for standing in spans.values()):
        metadata["days provisional"] = provisional
    texts = []
    for state, word in _WORDS.items():
        if found_days := open_.get(state):
            metadata[f"days {word}"] = sum(len(standing.open.get(state, ())) for standing in spans.values())
            texts.append(f"{word} {days_text(sorted(found_days))}")
    if accepted:
        metadata["days acknowledged"] = accepted
    if fresh:
        metadata["days not collected yet"] = fresh
        texts.append(f"{_days(fresh)} not collected yet")
    if count or fresh:
        text = f"Incomplete: {count + fresh:,} of {_days(days)}: {'; '.join(texts)}. `crypto-assets gaps` says why."
    else:
        text = f"All {days:,} days are complete" + (f" or acknowledged ({accepted:,})." if accepted else ".")
    if provisional:
        text += f" {_days(provisional)} of the complete ones {_are(provisional)} provisional."
    # Days that no run has requested, and days that the exchange has not published yet, are no fault.
    waiting = not open_.keys() - {State.PENDING}
    yield dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=ALL_DAYS_COMPLETE.name,
        passed=not count and not fresh,
        description=text,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.WARN if waiting else severity_of(ALL_DAYS_COMPLETE.severity),
    )


def _before(today: date) -> date:
    return date.fromordinal(today.toordinal() - 1)


def _failed(rule: Rule, standing: Standing, found: Judged) -> list[date]:
    """Return the days on which a check fails: all such days, or for severity warn those of the run."""
    return found.failed if rule.severity is Severity.WARN else list(standing.failed.get(rule.name, ()))


def of_rule(key: dg.AssetKey, rule: Rule, standing: Standing, found: Judged) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the summary of one check of a lake asset; nothing if no day was judged and none is known to fail."""
    failed = _failed(rule, standing, found)
    if not failed and not found.results:
        return
    metadata: dict[str, Any] = {"days_failed": len(failed), "days_judged_in_this_run": len(found.results)}
    if found.not_judged:
        metadata["days_not_judged_in_this_run"] = len(found.not_judged)
    if failed:
        metadata["failed"] = days_text(failed)
    if found.failed:  # the day that a person would open next
        metadata |= {"shown_day": found.failed[0].isoformat(), **found.example}
    days = (
        f"{_days(len(failed)) if failed else 'no day'} in this run"
        if rule.severity is Severity.WARN
        else f"{len(failed) or 'none'} of {_days(standing.days)} that {_were(standing.days)} requested"
    )
    text = f"Failed on {days}: {days_text(failed)}." if failed else f"Failed on {days}."
    yield dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=rule.name,
        passed=not failed,
        description=text,
        metadata=metadata,
        # The UI uses the severity of a passed summary for days on which the check did not run.
        severity=severity_of(rule.severity) if failed else dg.AssetCheckSeverity.WARN,
    )


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def of_table(key: dg.AssetKey, loaded: Loads) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the summary of `rows_match_lake` over all loaded days; nothing if no day is loaded."""
    if not loaded.days:
        return
    wrong = loaded.wrong
    metadata: dict[str, Any] = {"days_loaded": loaded.days, "days_failed": len(wrong)}
    which = f"{_days(loaded.days)} that {_are(loaded.days)} loaded"
    text = f"Failed on none of {which}."
    if wrong:
        metadata["failed"] = days_text(wrong)
        text = f"Failed on {len(wrong):,} of {which}: {days_text(wrong)}. `crypto-assets fill` loads them again."
    yield dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=ROWS_MATCH_LAKE.name,
        passed=not wrong,
        description=text,
        metadata=metadata,
        severity=severity_of(ROWS_MATCH_LAKE.severity) if wrong else dg.AssetCheckSeverity.WARN,
    )
