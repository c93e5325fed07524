"""Reports a run to Dagster: materialisations and check results of each day, and why a run failed."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from crypto_assets.checks import rules_of
from crypto_assets.config.collection import Collection
from crypto_assets.defs.asset_checks import ALL_DAYS_COMPLETE, Judged, Summary, tables_of
from crypto_assets.defs.asset_keys import day_of, lake_key, warehouse_key
from crypto_assets.defs.partition_events import (
    evaluation,
    evidence_metadata,
    is_present,
    materialization,
    observations,
    unmet_outcome,
    warehouse_materialization,
)
from crypto_assets.engine.flow import BATCH_DAYS
from crypto_assets.engine.problems import lines, problem_of, word_of
from crypto_assets.engine.publication.warehouse_rows import ROWS_MATCH_LAKE, Table, judge
from crypto_assets.engine.tally import Tally
from crypto_assets.errors import StoredDataError
from crypto_assets.instance.events import report
from crypto_assets.ledger.partitions import Ledger, PartitionRecord
from crypto_assets.ledger.progress import RunState
from crypto_assets.model import COMPLETE_STATES, Finding, Outcome, Rule, Series, State, Track, TrackDay
from crypto_assets.storage.lake import Lake
from crypto_assets.text.visible import visible

PROBLEMS_SHOWN = 200
PROBLEMS_LOGGED = 20
LOG_INTERVAL_S = 2.0
PAUSED_TAG = "crypto_assets/paused"
TAG_LENGTH = 200


class Reporter:
    """Reports the outcome of each partition to Dagster, a batch at a time.

    Days that are stored, or have no data, are reported as materialised; other days are observed, with the reason. Checks that
    could not be judged have no result. Unchanged days that Dagster already has are not reported again, unless the run fails.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        collection: Collection,
        total: int,
        ledger: Ledger | None = None,
        lake: Lake | None = None,
    ) -> None:
        """Without a ledger, reports are not recorded and there is no summary; `lake` is for the summary."""
        self._lake = lake
        self._context = context
        self._collection = collection
        self._ledger = ledger
        self._total = total
        self._done = 0
        self._logged_at = time.monotonic()
        self._selected = context.op_execution_context.selected_asset_keys
        self._selected_checks = context.op_execution_context.selected_asset_check_keys
        self._judged: dict[dg.AssetCheckKey, Judged] = {}
        self._tracks: dict[Track, None] = {}
        self._fed: dict[Track, Sequence[Table]] = {}
        self._materialized: dict[dg.AssetKey, set[str]] = {}
        self._unchanged: dict[TrackDay, Outcome] = {}

    def checked(self, outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:
        """Report one batch of stored days that were checked again, whichever run had collected them."""
        self._report(outcomes, rows, collected=False)

    def batch(self, outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:
        """Report one batch; called by the pipeline after the ledger knows it."""
        self._report(outcomes, rows, collected=True)

    def _report(self, outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None], *, collected: bool) -> None:
        materializations: list[dg.AssetMaterialization] = []
        evaluations: list[dg.AssetCheckEvaluation] = []
        for outcome, table in zip(outcomes, rows, strict=True):
            if outcome.stands:
                self._unchanged[outcome.track_day] = outcome
            else:
                self._unchanged.pop(outcome.track_day, None)  # the second look has changed it
            key = lake_key(outcome.series, outcome.partition.symbol)
            self._tracks[outcome.track_day.track] = None
            if key in self._selected and is_present(outcome) and not self._is_known(key, outcome):
                materializations.append(materialization(key, outcome, table))
            for rule in () if outcome.stands else rules_of(outcome.series):
                if (finding := outcome.findings.get(rule.name)) is not None:
                    evaluations += self._evaluation(key, rule, outcome.series, outcome.partition.day, finding)
            if is_present(outcome):
                materializations += self._warehouse_materializations(outcome)
        if collected:
            evaluations += self._loaded(outcomes)
        report(self._context, materializations, evaluations, self._observations(outcomes) if collected else ())
        if self._ledger is not None and (news := [one for one in outcomes if not one.stands]):
            # Only after the report: if the process is killed in between, Dagster gets it twice rather than never.
            self._ledger.mark_reported(news, self._context.run.run_id if collected else None)
        self._done = min(self._done + len(outcomes), self._total)  # some days come again after the second look
        self._log(outcomes)

    def repeat_unchanged(self) -> None:
        """Report the unchanged days too, for a run that fails: Dagster shows its planned days without an event as failed."""
        repeated = [replace(outcome, stands=False) for outcome in self._unchanged.values()]
        for start in range(0, len(repeated), BATCH_DAYS):
            materializations: list[dg.AssetMaterialization] = []
            for outcome in repeated[start : start + BATCH_DAYS]:
                key = lake_key(outcome.series, outcome.partition.symbol)
                if key in self._selected:
                    materializations.append(materialization(key, outcome, self._rows(outcome)))
                materializations += self._warehouse_materializations(outcome)
            report(self._context, materializations, (), ())

    def _rows(self, outcome: Outcome) -> pa.Table | None:
        """Return the stored rows of a day for its preview, or None if they cannot be read now."""
        if self._lake is None or outcome.stored is None:
            return None
        stored = outcome.stored
        try:
            return self._lake.read_versions(outcome.series, [(stored.path, stored.sha256, stored.rows)])
        except StoredDataError:
            return None

    def state(self, state: RunState, reason: str) -> None:
        """Write in the run's log and tags that it is paused or continues."""
        paused, reason = state is RunState.PAUSED, visible(reason)
        self._context.log.warning(f"paused: {reason}") if paused else self._context.log.info("resumed")
        self._context.instance.add_run_tags(
            self._context.run.run_id, {PAUSED_TAG: reason[:TAG_LENGTH] if paused else "no longer"}
        )

    def _log(self, outcomes: Sequence[Outcome]) -> None:
        """Write the notable outcomes to the run's log; each line is a transaction, so there are few."""
        problems = [problem_of(outcome) for outcome in outcomes if outcome.state not in COMPLETE_STATES]
        if problems:
            self._context.log.warning("\n".join(lines(problems, PROBLEMS_LOGGED, "the message of the run has them")))
        corrected = [
            f"{_name(o)}: corrected: {o.correction.text}"
            for o in outcomes
            if o.correction and o.correction.changes_rows
        ]
        if corrected:
            more = f"\n… and {len(corrected) - PROBLEMS_LOGGED} more" if len(corrected) > PROBLEMS_LOGGED else ""
            self._context.log.info("\n".join(corrected[:PROBLEMS_LOGGED]) + more)
        if time.monotonic() - self._logged_at >= LOG_INTERVAL_S or self._done == self._total:
            self._logged_at = time.monotonic()
            self._context.log.info(f"{self._done} of {self._total} days done; {outcomes[-1].partition}")

    # ---- days --------------------------------------------------------------------------------------------------------

    def _selected_tables(self, series: Series, symbol: str) -> list[dg.AssetKey]:
        """Return the keys of the tables that a series feeds and that the run has selected."""
        keys = [warehouse_key(series, symbol, table.name) for table in self._tables(series, symbol)]
        return [key for key in keys if key in self._selected]

    def _tables(self, series: Series, symbol: str) -> Sequence[Table]:
        """Return the tables that a series of a symbol feeds; cached, because a run has thousands of its days."""
        track = Track(series, symbol)
        if track not in self._fed:
            self._fed[track] = tables_of(self._collection, series, symbol)
        return self._fed[track]

    def _warehouse_materializations(self, outcome: Outcome) -> list[dg.AssetMaterialization]:
        """Return one for each table that the day was loaded into; a day without data is materialised without rows."""
        series, symbol = outcome.series, outcome.partition.symbol
        rows = {warehouse_key(series, symbol, table): count for table, count in outcome.warehouse_rows.items()}
        if outcome.state is State.NO_DATA:
            rows = dict.fromkeys(self._selected_tables(series, symbol), 0)
        version = outcome.stored.sha256 if outcome.stored else outcome.state.value
        return [
            warehouse_materialization(key, outcome.partition.day, series.dataset, outcome.state, count, version)
            for key, count in rows.items()
            if not self._is_known(key, outcome)
        ]

    def _is_known(self, key: dg.AssetKey, outcome: Outcome) -> bool:
        """Return whether Dagster already has the unchanged day: materialising it again would start dependent assets.

        Somebody may have wiped the asset in Dagster since it was reported.
        """
        if not outcome.stands:
            return False
        if key not in self._materialized:
            self._materialized[key] = self._context.instance.get_materialized_partitions(key)
        return outcome.partition.day.isoformat() in self._materialized[key]

    def _observations(self, outcomes: Sequence[Outcome]) -> list[dg.AssetObservation]:
        """Return an observation on the page of each day that is not materialised, with the reason."""
        unmet = [outcome for outcome in outcomes if not is_present(outcome)]
        records = self._records(unmet)
        found = []
        for outcome in unmet:
            series, symbol = outcome.series, outcome.partition.symbol
            lake = lake_key(series, symbol)
            keys = [*([lake] if lake in self._selected else []), *self._selected_tables(series, symbol)]
            found += observations(unmet_outcome(outcome, records.get(outcome.track_day)), keys)
        return found

    def _records(self, outcomes: Sequence[Outcome]) -> dict[TrackDay, PartitionRecord]:
        if self._ledger is None:
            return {}
        days: dict[Track, list[date]] = {}
        for outcome in outcomes:
            days.setdefault(outcome.track_day.track, []).append(outcome.partition.day)
        return self._ledger.records_of(days)

    # ---- checks ------------------------------------------------------------------------------------------------------

    def _evaluation(
        self, key: dg.AssetKey, rule: Rule, series: Series, day: date, finding: Finding
    ) -> list[dg.AssetCheckEvaluation]:
        """Return the result of a check of a day; None if the run has not selected it or it could not be judged."""
        check = dg.AssetCheckKey(key, rule.name)
        if check not in self._selected_checks:
            return []
        judged = self._judged.setdefault(check, Judged())
        if not finding.judged:
            judged.not_judged.add(day)
            return []
        if not finding.passed and not judged.failed:
            judged.example = evidence_metadata(finding)
        judged.results[day] = finding.passed
        return [evaluation(key, rule, series, day, finding)]

    def _loaded(self, outcomes: Sequence[Outcome]) -> list[dg.AssetCheckEvaluation]:
        """Return whether the tables have the days that were just loaded, or miss unchanged days."""
        days: dict[Table, set[date]] = {}
        standing = {outcome.partition.day.isoformat() for outcome in outcomes if outcome.stands}
        for outcome in outcomes:
            for table in self._tables(outcome.series, outcome.partition.symbol) if outcome.warehouse_rows else ():
                if table.name in outcome.warehouse_rows:
                    days.setdefault(table, set()).add(outcome.partition.day)
        found = [one for table, mine in days.items() for one in self._table(table, mine)]
        return [one for one in found if not (one.passed and one.partition in standing)]

    def tables(self, tables: Iterable[tuple[Table, Sequence[date]]]) -> None:
        """Judge some days of tables with only their checks selected."""
        for table, days in tables:
            report(self._context, [], self._table(table, days))
            self._tracks |= dict.fromkeys(Track(feeder, table.symbol) for feeder in table.feeders)

    def _table(self, table: Table, days: Iterable[date]) -> list[dg.AssetCheckEvaluation]:
        key = warehouse_key(table.feeders[0], table.symbol, table.name)
        if self._ledger is None or dg.AssetCheckKey(key, ROWS_MATCH_LAKE.name) not in self._selected_checks:
            return []
        findings = judge(self._ledger, table, set(days))
        return [
            one
            for day, found in findings.items()
            for one in self._evaluation(key, ROWS_MATCH_LAKE, table.feeders[0], day, found)
        ]

    def finish(self, tracks: Iterable[Track] = ()) -> None:
        """Report the summary of each check over all days of its asset; the UI shows it as the asset's health.

        Args:
            tracks: the series and symbols of the run; those of reported days are included anyway.
        """
        if self._ledger is None:
            return
        summary = Summary(self._collection, self._ledger, self._context.instance, lake=self._lake)
        only_day = day_of(self._context.partition_key) if self._context.has_partition_key else None
        found = summary.of_tracks([*self._tracks, *tracks], self._judged, only_day)
        # Days of a series also change the tables that it feeds, selected or not.
        always = ALL_DAYS_COMPLETE.name
        wanted = [one for one in found if one.check_name == always or one.asset_check_key in self._selected_checks]
        report(self._context, [], wanted)


def _name(outcome: Outcome) -> str:
    series = outcome.series
    return f"{series.exchange} {series.market_type} {outcome.partition.symbol} {series.dataset} {outcome.partition.day}"


def failure_text(tally: Tally) -> str:
    """Return why a run failed: one sentence for all days with the same failure, the failure with the most days first."""
    counts = ", ".join(f"{count} {word_of(state)}" for state, count in sorted(tally.states.items()) if count)
    found = lines(map(problem_of, tally.problems), PROBLEMS_SHOWN, "`crypto-assets gaps` has them")
    return f"{len(tally.problems)} of {tally.days} days are not complete ({counts}):\n" + "\n".join(found)


def failure_metadata(tally: Tally) -> dict[str, Any]:
    """Return the counts of a failed run's days, by state."""
    return {f"days_{state}": count for state, count in tally.states.items()}
