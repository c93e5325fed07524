"""Report many materialisations, observations and check evaluations from inside an op, cheaply.

`context.log_event` costs 10–20 ms an event (Python logging, then a transaction or two); a run over 900 days of one
symbol has thousands. `report` builds the same event log entries and stores them in one batch, at about 0.1 ms each.
With any other instance storage it logs the events one by one.

Stored events have the run, job, step, message, level and tags of an ordinary step, so the UI, the run page, sensors
and staleness read them as usual. Two things are better than in a range run of stock Dagster: metadata and data versions
belong to the partition, and an evaluation or a derived asset refers to the materialisation of its partition.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import AssetKey, DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    DataVersion,
    compute_logical_data_version,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.events import AssetObservationData, StepMaterializationData
from dagster._core.execution.context.system import StepExecutionContext
from dagster_shared.record import replace

from crypto_assets.instance.event_log import BatchedEventLogStorage

_Partition = tuple[AssetKey, str | None]


def report(
    context: dg.AssetExecutionContext,
    materializations: Sequence[dg.AssetMaterialization],
    evaluations: Sequence[dg.AssetCheckEvaluation] = (),
    observations: Sequence[dg.AssetObservation] = (),
) -> None:
    """Store the events of one batch of partitions in one transaction: materialisations, evaluations, observations.

    A materialisation gets the version tags that Dagster gives its own. A `dagster/data_version` tag of the caller (a hash of
    the content) is the version; without one every report is a new version. The recorded input is the parent asset's
    materialisation of the same partition in this batch, else the parent's latest one.

    Args:
        context: of the running op. Report only assets and checks that the run selected.
        materializations: with `partition` set if the asset is partitioned.
        evaluations: with `partition` set to belong to that partition, None for the check as a whole.
        observations: with `partition` set, for days that are not materialised.
    """
    count = len(materializations) + len(evaluations) + len(observations)
    if not count:
        return
    step = context.op_execution_context._step_execution_context
    storage = context.instance.event_log_storage
    if isinstance(storage, BatchedEventLogStorage):
        ids = storage.reserve_event_ids(count)
        entries = _entries(step, materializations, evaluations, observations, ids)
        storage.store_event_batch(entries, ids)
        return
    # Without ids no event can refer to another event of the batch; Dagster then compares times, which are in order.
    for materialization in materializations:
        context.log_event(materialization)
    for evaluation in evaluations:
        context.log_event(evaluation)
    for observation in observations:
        context.log_event(observation)


def _entries(
    step: StepExecutionContext,
    materializations: Sequence[dg.AssetMaterialization],
    evaluations: Sequence[dg.AssetCheckEvaluation],
    observations: Sequence[dg.AssetObservation],
    ids: Sequence[int],
) -> list[EventLogEntry]:
    """Return the entries of a batch, in id order."""
    frame = _Frame(step)
    versions = _Versions(step, materializations, ids)
    made: dict[_Partition, tuple[int, float]] = {}
    entries = []
    for id_, materialization in zip(ids, materializations, strict=False):
        tagged = materialization._replace(tags=versions.tags(materialization))
        message = materialization.description or f"Materialized value {materialization.label}."
        entry = frame.entry(DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(tagged), message)
        made[materialization.asset_key, materialization.partition] = (id_, entry.timestamp)
        entries.append(entry)
    for evaluation in evaluations:
        target = made.get((evaluation.asset_key, evaluation.partition))
        if target is not None and evaluation.target_materialization_data is None:
            at = AssetCheckEvaluationTargetMaterializationData(
                storage_id=target[0], run_id=step.run_id, timestamp=target[1]
            )
            evaluation = replace(evaluation, target_materialization_data=at)
        entries.append(frame.entry(DagsterEventType.ASSET_CHECK_EVALUATION, evaluation, _check_message(evaluation)))
    for observation in observations:
        data = AssetObservationData(observation)
        entries.append(frame.entry(DagsterEventType.ASSET_OBSERVATION, data, observation.description or ""))
    return entries


def _check_message(evaluation: dg.AssetCheckEvaluation) -> str:
    verdict = "passed." if evaluation.passed else "did not pass."
    text = f"Asset check '{evaluation.check_name}' on '{evaluation.asset_key.to_user_string()}' {verdict}"
    return text if evaluation.description is None else f"{text} Description: '{evaluation.description}'"


class _Frame:
    """The values that all events of a step share, as `DagsterEvent.from_step` and the log manager fill them in.

    They are looked up once: Dagster's properties compute them again at each access.
    """

    def __init__(self, step: StepExecutionContext) -> None:
        self._of_event: Mapping[str, Any] = {
            "job_name": step.job_name,
            "step_handle": step.step.handle,
            "node_handle": step.step.node_handle,
            "step_kind_value": step.step.kind.value,
            "logging_tags": step.event_tags,
            "pid": os.getpid(),
        }
        self._of_entry: Mapping[str, Any] = {
            "error_info": None,
            "level": logging.DEBUG,
            "run_id": step.run_id,
            "step_key": step.step.key,
            "job_name": step.job_name,
        }

    def entry(self, kind: DagsterEventType, data: Any, message: str) -> EventLogEntry:
        """Return one event of the step, with the current time."""
        event = DagsterEvent(event_type_value=kind.value, event_specific_data=data, message=message, **self._of_event)
        return EventLogEntry(user_message=message, timestamp=time.time(), dagster_event=event, **self._of_entry)


class _Versions:
    """The version tags of a batch's materialisations (`_get_output_asset_events` in Dagster's execute_step)."""

    def __init__(
        self, step: StepExecutionContext, materializations: Sequence[dg.AssetMaterialization], ids: Sequence[int]
    ) -> None:
        self._step = step
        self._layer = step.job_def.asset_layer
        self._batch = {
            (materialization.asset_key, materialization.partition): (id_, materialization)
            for id_, materialization in zip(ids, materializations, strict=False)
        }
        self._tags: dict[_Partition, Mapping[str, str]] = {}
        for asset_key in {key for key, _ in self._batch}:
            # Dagster caches a parent's latest event for the step; these are about to be outdated.
            step.wipe_input_asset_version_info(asset_key)

    def tags(self, materialization: dg.AssetMaterialization) -> Mapping[str, str]:
        """Return the materialisation's own tags plus those of its inputs and code version."""
        partition = (materialization.asset_key, materialization.partition)
        if partition not in self._tags:
            self._tags[partition] = self._made_tags(materialization)
        return self._tags[partition]

    def _made_tags(self, materialization: dg.AssetMaterialization) -> Mapping[str, str]:
        own = dict(materialization.tags or {})
        if not self._layer.has(materialization.asset_key):
            return own
        node = self._layer.get(materialization.asset_key)
        code_version = node.code_version or self._step.run_id
        tags = {CODE_VERSION_TAG: code_version}
        inputs: dict[AssetKey, DataVersion] = {}
        for parent in sorted(node.parent_keys - {materialization.asset_key}):
            version, pointer = self._input((parent, materialization.partition))
            inputs[parent] = version
            tags[get_input_data_version_tag(parent)] = version.value
            tags[get_input_event_pointer_tag(parent)] = pointer
        if DATA_VERSION_TAG in own:
            tags[DATA_VERSION_IS_USER_PROVIDED_TAG] = "true"
        else:
            tags[DATA_VERSION_TAG] = compute_logical_data_version(code_version, inputs).value
        return {**tags, **own}

    def _input(self, parent: _Partition) -> tuple[DataVersion, str]:
        """Return the data version and the event id of a parent: from this batch, else the latest known to Dagster."""
        if parent in self._batch:
            id_, materialization = self._batch[parent]
            return DataVersion(self.tags(materialization)[DATA_VERSION_TAG]), str(id_)
        info = self._step.maybe_fetch_and_get_input_asset_version_info(parent[0])
        if info is None:
            return DEFAULT_DATA_VERSION, NULL_EVENT_POINTER
        return info.data_version or DEFAULT_DATA_VERSION, str(info.storage_id)
