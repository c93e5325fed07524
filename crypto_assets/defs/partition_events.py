"""Builds Dagster's events for one day of one symbol: that it is materialised, its check results, or why it is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from crypto_assets.causes.known_outages import known_outages
from crypto_assets.causes.rules import cause_of_day
from crypto_assets.defs.presentation import candles, evidence_text, preview, shown_metadata
from crypto_assets.engine.problems import word_of
from crypto_assets.ledger.acknowledgements import Acknowledgement
from crypto_assets.ledger.minutes import start_of
from crypto_assets.ledger.partitions import PartitionRecord
from crypto_assets.model import DAY, STORED_STATES, Finding, Outcome, Rule, Series, Severity, State
from crypto_assets.model.kinds import Kind
from crypto_assets.text.visible import visible

EVIDENCE_CHARACTERS = 600

_FILL = "`crypto-assets fill` requests it again."
_WHAT_TO_DO = {
    Kind.NOT_YET_PUBLISHED: "Wait: the exchange has not published it yet. The archive sensor collects it when it appears; "
    "`crypto-assets fill` tries at once.",
    Kind.UPSTREAM_BAD_FILE: "`crypto-assets quarantine` shows the refused file; `crypto-assets fill` downloads it again.",
    Kind.UPSTREAM_ABSENT_FILE: "`crypto-assets fill` tries again. If the file will never be published, accept the day: "
    "`crypto-assets gaps acknowledge`.",
    Kind.OUR_FAILURE: "`crypto-assets fill` collects it as soon as the host answers.",
}


# ---- stored days ------------------------------------------------------------------------------------------------------


def is_present(outcome: Outcome) -> bool:
    """Return whether a day counts as materialised: it is stored, or it has no data."""
    return outcome.state in STORED_STATES or outcome.state is State.NO_DATA


def materialization(key: dg.AssetKey, outcome: Outcome, rows: pa.Table | None) -> dg.AssetMaterialization:
    """Return the materialisation of a lake asset's day, with a preview of its rows if they are given."""
    metadata: dict[str, Any] = {"state": outcome.state.value}
    if outcome.reason:
        metadata["reason"] = outcome.reason
    if outcome.state is State.DEGRADED:
        metadata["what to do"] = "`crypto-assets gaps` shows the missing minutes and their cause. " + _FILL
    if outcome.state is State.NO_DATA and outcome.evidence:
        metadata["evidence"] = _short(outcome.evidence)
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
        metadata=shown_metadata(metadata),
        tags={"dagster/data_version": outcome.stored.sha256 if outcome.stored else outcome.state.value},
    )


def materialization_of_record(key: dg.AssetKey, record: PartitionRecord) -> dg.AssetMaterialization:
    """Return the materialisation that the run would have reported for a lake asset's day, without its rows."""
    metadata: dict[str, Any] = {
        "state": record.state.value,
        "reported": "after the run: it ended too early, or more has become known of the day since",
    }
    if record.reason:
        metadata["reason"] = record.reason
    if record.state is State.NO_DATA and record.evidence:
        metadata["evidence"] = _short(record.evidence)
    if record.path is not None:
        metadata |= {
            "dagster/partition_row_count": record.rows or 0,
            "source_object": record.source_key or "",
            "source_sha256": record.source_sha256 or "",
            "path": record.path,
            "bytes": record.size_bytes or 0,
        }
    tags = {"dagster/data_version": record.content_sha256 or record.state.value}
    return dg.AssetMaterialization(key, partition=record.day.isoformat(), metadata=shown_metadata(metadata), tags=tags)


def warehouse_materialization(
    key: dg.AssetKey, day: date, dataset: str, state: State, rows: int, version: str
) -> dg.AssetMaterialization:
    """Return the materialisation of a warehouse asset's day for one of its datasets."""
    return dg.AssetMaterialization(
        key,
        partition=day.isoformat(),
        metadata={"dagster/partition_row_count": rows, "dataset": dataset, "state": state.value},
        tags={"dagster/data_version": version},
    )


def _checks_text(outcome: Outcome) -> str:
    failed = outcome.failed_checks
    open_ = sum(not finding.judged for finding in outcome.findings.values())
    passed = len(outcome.findings) - len(failed) - open_
    text = f"{', '.join(failed)} failed, {passed} passed" if failed else f"all {passed} passed"
    return f"{text}, {open_} not judged" if open_ else text


# ---- missing days -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unmet:
    """A failed attempt to collect a day: why, and the `state` of the day in the ledger since then.

    The state is None for a day that was never collected and so cannot be loaded into a table. With `former` an earlier
    version stays stored; the ledger then keeps its state, or marks it `corrected`.
    """

    series: Series
    symbol: str
    day: date
    state: State | None
    reason: str
    evidence: Mapping[str, Any]
    former: bool = False

    @property
    def text(self) -> str:
        """The attempt in one sentence."""
        word = word_of(self.state)
        if self.former and self.state is not State.CORRECTED:
            word = f"{word}, but not collected again"
        return f"{word[:1].upper()}{word[1:]}: {self.reason or 'no reason is known'}"


def unmet_outcome(outcome: Outcome, record: PartitionRecord | None) -> Unmet:
    """Return the failed attempt of an outcome without rows, together with the ledger's record of the day."""
    return Unmet(
        outcome.series,
        outcome.partition.symbol,
        outcome.partition.day,
        record.state if record else None,
        outcome.reason,
        outcome.evidence,
        former=record is not None and record.path is not None,
    )


def unmet_record(record: PartitionRecord) -> Unmet | None:
    """Return the failed last attempt of a record; None if it did not fail."""
    former = record.path is not None
    if record.attempt_error is None and (former or record.state is State.NO_DATA):
        return None
    # Unless the state is `corrected`, the evidence belongs to the former version, not to the attempt.
    evidence = {} if former and record.state is not State.CORRECTED else record.evidence
    series = Series.named(record.exchange, record.market_type, record.dataset)
    reason = record.attempt_error or record.reason
    return Unmet(series, record.symbol, record.day, record.state, reason, evidence, former)


def observations(unmet: Unmet, keys: Iterable[dg.AssetKey]) -> list[dg.AssetObservation]:
    """Return what Dagster's page of a day shows about a failed attempt, for the lake asset and its tables."""
    metadata: dict[str, Any] = {
        "state": unmet.state.value if unmet.state else word_of(None),
        "reason": unmet.reason or "no reason is known",
        "what to do": _FILL,
    }
    if unmet.evidence or not unmet.former:
        begin, end = start_of(unmet.day), start_of(unmet.day + DAY)
        known = known_outages(unmet.series.exchange, unmet.series.market_type, begin, end)
        # The attempt failed, even if an earlier version is stored.
        attempt = State.MISSING if unmet.former else unmet.state
        cause = cause_of_day(unmet.day, attempt, unmet.evidence, (), known)
        metadata |= {
            "cause": cause.kind.value,
            "evidence": _short({**cause.evidence, **unmet.evidence}),
            "what to do": _WHAT_TO_DO.get(cause.kind, _FILL),
        }
    if unmet.former:
        metadata["earlier version"] = "stays in the lake and in the warehouse"
    return [
        dg.AssetObservation(key, visible(unmet.text), shown_metadata(metadata), unmet.day.isoformat()) for key in keys
    ]


def acknowledgement(one: Acknowledgement, keys: Iterable[dg.AssetKey]) -> list[dg.AssetObservation]:
    """Return what Dagster's page of a day shows about its last acknowledgement, for the lake asset and its tables."""
    text = str(one)
    metadata = {"state": one.state.value, "acknowledged by": one.by, "acknowledged because": one.reason}
    if one.withdrawn:
        metadata["withdrawn because"] = one.withdrawn
    description = f"{text[:1].upper()}{text[1:]}"
    return [
        dg.AssetObservation(key, visible(description), shown_metadata(metadata), one.day.isoformat()) for key in keys
    ]


def _short(evidence: Mapping[str, Any]) -> str:
    """Return evidence as `name: value` in a few lines."""
    text = "; ".join(f"{name}: {evidence_text(value)}" for name, value in evidence.items()) or "none"
    return text if len(text) <= EVIDENCE_CHARACTERS else text[: EVIDENCE_CHARACTERS - 2] + " …"


# ---- checks -----------------------------------------------------------------------------------------------------------


def evaluation(key: dg.AssetKey, rule: Rule, series: Series, day: date, finding: Finding) -> dg.AssetCheckEvaluation:
    """Return Dagster's event for one check of one judged day; a failure also has a sentence."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=rule.name,
        passed=finding.passed,
        description=None if finding.passed else visible(rule.words(finding.evidence, series)),
        metadata=evidence_metadata(finding),
        severity=severity_of(rule.severity),
        partition=day.isoformat(),
    )


def evidence_metadata(finding: Finding) -> Mapping[str, Any]:
    """Return a finding's evidence as the metadata of an evaluation; rows become a table."""
    return shown_metadata({name: _metadata(value) for name, value in finding.evidence.items()})


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
    return value if isinstance(value, int | float | bool) else "" if value is None else visible(str(value))


def severity_of(severity: Severity) -> dg.AssetCheckSeverity:
    """Return Dagster's severity; a refused or partial day must not leave its asset green."""
    return dg.AssetCheckSeverity.WARN if severity is Severity.WARN else dg.AssetCheckSeverity.ERROR
