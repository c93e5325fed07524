"""What a run tells Dagster: materialisations and check results of each day, and why a run ends failed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from crypto_assets.checks import all_rules, rules_of
from crypto_assets.collection.pipeline import Tally
from crypto_assets.collection.records.ledger import Ledger
from crypto_assets.collection.records.progress import RunState
from crypto_assets.collection.storing.loads import warehouse_tables
from crypto_assets.config import Collection
from crypto_assets.instance.events import report
from crypto_assets.model import (
    COMPLETE_STATES,
    NOT_JUDGED,
    STORED_STATES,
    Finding,
    Outcome,
    Rule,
    Severity,
    State,
    not_judged,
)
from crypto_assets.partitions import lake_key, ranges, warehouse_key
from crypto_assets.presentation import candles, evidence_text, preview

PROBLEMS_SHOWN = 200
PROBLEMS_LOGGED = 20
SPANS_SHOWN = 20
LOG_INTERVAL_S = 2.0
PAUSED_TAG = "crypto_assets/paused"
TAG_LENGTH = 200

NOT_ASKED = not_judged("not compared while collecting; `crypto-assets validate --monthly --rest` does")
"""What is said of a stored day to which nobody has asked the other source."""


@dataclass(slots=True)
class _Result:
    """The days of a run on which one check passed and failed; some of those that passed could not be judged.

    `example` is the finding of the first day that failed.
    """

    passed: list[date] = field(default_factory=list)
    failed: list[date] = field(default_factory=list)
    not_judged: int = 0
    example: Finding | None = None


class Reporter:
    """Tells Dagster what became of each partition, a batch at a time.

    Only days that are stored, or of which there is nothing to store, are reported as materialised.
    """

    def __init__(
        self, context: dg.AssetExecutionContext, collection: Collection, total: int, ledger: Ledger | None = None
    ) -> None:
        """Without a ledger nobody remembers what was reported."""
        self._context = context
        self._collection = collection
        self._ledger = ledger
        self._total = total
        self._done = 0
        self._logged_at = time.monotonic()
        self._selected_checks = context.op_execution_context.selected_asset_check_keys
        self._results: dict[dg.AssetCheckKey, _Result] = {}

    def checked(self, outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:
        """Report one batch of stored days that were checked again, whoever had collected them."""
        self._report(outcomes, rows, collected=False)

    def batch(self, outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None]) -> None:
        """Report one batch; called by the pipeline after the ledger knows it."""
        self._report(outcomes, rows, collected=True)

    def _report(self, outcomes: Sequence[Outcome], rows: Sequence[pa.Table | None], *, collected: bool) -> None:
        materializations: list[dg.AssetMaterialization] = []
        evaluations: list[dg.AssetCheckEvaluation] = []
        selected = self._context.op_execution_context.selected_asset_keys
        for outcome, table in zip(outcomes, rows, strict=True):
            key = lake_key(outcome.series, outcome.partition.symbol)
            present = outcome.state in STORED_STATES or outcome.state is State.NO_DATA
            if key in selected and present:
                materializations.append(_materialization(key, outcome, table))
            evaluations += self._evaluations(key, outcome)
            if present:
                materializations += self._warehouse_materializations(outcome)
        report(self._context, materializations, evaluations)
        if self._ledger is not None:
            # After the report: of a process that is killed in between, Dagster hears twice, never not at all.
            self._ledger.mark_reported(outcomes, self._context.run.run_id if collected else None)
        self._done += len(outcomes)
        self._log(outcomes)

    def state(self, state: RunState, reason: str) -> None:
        """Say in the run's log and in its tags that it is paused, or that it goes on."""
        paused = state is RunState.PAUSED
        self._context.log.warning(f"paused: {reason}") if paused else self._context.log.info("goes on")
        self._context.instance.add_run_tags(
            self._context.run.run_id, {PAUSED_TAG: reason[:TAG_LENGTH] if paused else "no longer"}
        )

    def _log(self, outcomes: Sequence[Outcome]) -> None:
        """Write what is worth a line in the run's log; each line is a transaction, so there are few."""
        problems = [problem_line(outcome) for outcome in outcomes if outcome.state not in COMPLETE_STATES]
        if problems:
            more = f"\n… and {len(problems) - PROBLEMS_LOGGED} more" if len(problems) > PROBLEMS_LOGGED else ""
            self._context.log.warning("\n".join(problems[:PROBLEMS_LOGGED]) + more)
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

    def _warehouse_materializations(self, outcome: Outcome) -> list[dg.AssetMaterialization]:
        """Return one for each table that the day was loaded into; a day without data is materialised without rows."""
        symbol = outcome.partition.symbol
        rows = dict(outcome.warehouse_rows)
        if outcome.state is State.NO_DATA:
            entry = self._collection.entry_of(outcome.series, symbol)
            selected = self._context.op_execution_context.selected_asset_keys
            tables = warehouse_tables(outcome.series, entry.warehouse if entry else ())
            rows = {table: 0 for table in tables if warehouse_key(outcome.series, symbol, table) in selected}
        return [
            dg.AssetMaterialization(
                warehouse_key(outcome.series, symbol, table),
                partition=outcome.partition.day.isoformat(),
                metadata={
                    "dagster/partition_row_count": count,
                    "dataset": outcome.series.dataset,
                    "state": outcome.state.value,
                },
                tags={"dagster/data_version": outcome.stored.sha256 if outcome.stored else outcome.state.value},
            )
            for table, count in rows.items()
        ]

    def _evaluations(self, key: dg.AssetKey, outcome: Outcome) -> list[dg.AssetCheckEvaluation]:
        evaluations = []
        for rule in rules_of(outcome.series):
            check_key = dg.AssetCheckKey(key, rule.name)
            if check_key not in self._selected_checks:
                continue
            finding = outcome.findings.get(rule.name)
            # Without a result Dagster shows the check as skipped, for all days of the asset.
            if finding is None and outcome.state is State.NO_DATA:
                finding = Finding(True, {"rows": 0, "no_data": outcome.reason})
            if finding is None and outcome.stored:
                finding = NOT_ASKED
            if finding is None:
                continue
            result = self._results.setdefault(check_key, _Result())
            (result.passed if finding.passed else result.failed).append(outcome.partition.day)
            result.not_judged += not finding.judged
            if not finding.passed and result.example is None:
                result.example = finding
            evaluations.append(evaluation(key, rule, outcome.partition.day, finding))
        return evaluations

    def finish(self) -> None:
        """Report one summary of each check over the whole run, which is what the UI shows first."""
        severities = {rule.name: severity_of(rule.severity) for rule in all_rules()}
        evaluations = []
        for key, result in self._results.items():
            passed, failed = result.passed, result.failed
            if len(passed) + len(failed) == 1 and self._context.has_partition_key:
                continue  # the one day speaks for itself
            metadata: dict[str, Any] = {"days_passed": len(passed) - result.not_judged, "days_failed": len(failed)}
            if result.not_judged:
                metadata["days_not_judged"] = result.not_judged
            if failed:
                metadata["failed"] = _days_text(failed)
            if result.example is not None:  # what a person would open next
                metadata |= {"shown_day": failed[0].isoformat(), **evidence_metadata(result.example)}
            evaluations.append(
                dg.AssetCheckEvaluation(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=not failed,
                    metadata=metadata,
                    description=f"All days of run {self._context.run.run_id[:8]} together: {_days_text(passed + failed)}.",
                    # Of a summary that passed the UI uses the severity for days on which the check did not run.
                    severity=severities[key.name] if failed else dg.AssetCheckSeverity.WARN,
                )
            )
        report(self._context, [], evaluations)


def _days_text(days: Sequence[date]) -> str:
    """Return days as `2024-01-05, 2024-01-07 … 2024-01-09`, some of them at least."""
    spans = [str(first) if first == last else f"{first} … {last}" for first, last in ranges(days)]
    return ", ".join(spans[:SPANS_SHOWN]) + (
        f" and {len(spans) - SPANS_SHOWN} more" if len(spans) > SPANS_SHOWN else ""
    )


def _materialization(key: dg.AssetKey, outcome: Outcome, rows: pa.Table | None) -> dg.AssetMaterialization:
    metadata: dict[str, Any] = {"state": outcome.state.value}
    if outcome.reason:
        metadata["reason"] = outcome.reason
    if outcome.stored:
        metadata["dagster/partition_row_count"] = outcome.stored.rows
        metadata["checks"] = _checks_text(outcome)
    if rows is not None:
        chart = candles(rows, outcome.series)
        if chart:
            metadata["candles"] = dg.MetadataValue.md(chart)
        metadata["rows"] = dg.MetadataValue.md(preview(rows))
    if outcome.correction:
        metadata["correction"] = dg.MetadataValue.md(outcome.correction.markdown)
    if outcome.source:
        metadata |= {"source_object": outcome.source.key, "source_sha256": outcome.source.sha256}
    if outcome.stored:
        metadata |= {
            "path": outcome.stored.path,
            "bytes": outcome.stored.size_bytes,
            "unchanged": outcome.unchanged,
        }
    metadata["duration_s"] = outcome.duration_s
    return dg.AssetMaterialization(
        key,
        partition=outcome.partition.day.isoformat(),
        metadata=metadata,
        tags={"dagster/data_version": outcome.stored.sha256 if outcome.stored else outcome.state.value},
    )


def _checks_text(outcome: Outcome) -> str:
    failed = outcome.failed_checks
    open_ = sum(not finding.judged for finding in outcome.findings.values())
    passed = len(outcome.findings) - len(failed) - open_
    text = f"{', '.join(failed)} failed, {passed} passed" if failed else f"all {passed} passed"
    return f"{text}, {open_} not judged" if open_ else text


def evaluation(key: dg.AssetKey, rule: Rule, day: date, finding: Finding) -> dg.AssetCheckEvaluation:
    """Return what Dagster is told of one check of one day."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=rule.name,
        passed=finding.passed,
        description=None if finding.judged else f"Not judged: {finding.evidence[NOT_JUDGED]}.",
        metadata=evidence_metadata(finding),
        severity=severity_of(rule.severity),
        partition=day.isoformat(),
    )


def evidence_metadata(finding: Finding) -> Mapping[str, Any]:
    """Return a finding's evidence as the metadata of an evaluation; rows are a table."""
    return {name: _metadata(value) for name, value in finding.evidence.items()}


def _metadata(value: Any) -> Any:
    if isinstance(value, int | float | str | bool):
        return value
    if isinstance(value, Sequence) and value and all(isinstance(row, Mapping) for row in value):
        columns = list(dict.fromkeys(name for row in value for name in row))
        return dg.MetadataValue.table(
            [dg.TableRecord({name: _cell(row.get(name)) for name in columns}) for row in value],
            dg.TableSchema([dg.TableColumn(name) for name in columns]),
        )
    return evidence_text(value)


def _cell(value: Any) -> str | int | float | bool:
    return value if isinstance(value, int | float | bool) else "" if value is None else str(value)


def severity_of(severity: Severity) -> dg.AssetCheckSeverity:
    """Return what Dagster calls a severity."""
    return dg.AssetCheckSeverity.ERROR if severity is Severity.BLOCK else dg.AssetCheckSeverity.WARN


def problem_line(outcome: Outcome) -> str:
    """Return the one line that names a day that is not there and why."""
    return f"{_name(outcome)}: {outcome.state}: {outcome.reason}"


def _name(outcome: Outcome) -> str:
    series = outcome.series
    return f"{series.exchange} {series.market_type} {outcome.partition.symbol} {series.dataset} {outcome.partition.day}"


def failure_text(tally: Tally) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(tally.states.items()))
    lines = [problem_line(problem) for problem in tally.problems[:PROBLEMS_SHOWN]]
    if len(tally.problems) > PROBLEMS_SHOWN:
        lines.append(f"… and {len(tally.problems) - PROBLEMS_SHOWN} more: crypto-assets gaps")
    return f"{len(tally.problems)} of {tally.days} days are not complete ({counts}):\n" + "\n".join(lines)


def failure_metadata(tally: Tally) -> dict[str, Any]:
    return {f"days_{state}": count for state, count in tally.states.items()}
