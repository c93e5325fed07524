"""Serialising many event log entries that are almost alike.

A run over 900 days with six checks has 5,400 evaluations, most of which differ only in partition, time and the
materialisation they are about. Dagster's serialiser takes 0.07 ms for each; here it runs once for each kind, with marks
in place of what differs, and the marks are then filled in.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

from dagster import AssetCheckEvaluation, EventLogEntry
from dagster._serdes import serialize_value
from dagster_shared.record import replace

# Values that occur nowhere else in an entry; a template that does not hold each exactly once is not used.
_PARTITION = "7f1c9e52-partition"
_STORAGE_ID = 900719925474031
_TARGET_TIME = 86400.015625
_ENTRY_TIME = 86400.046875


def serialize_all(entries: Sequence[EventLogEntry]) -> list[str]:
    """Return `serialize_value` of each entry, at a fraction of the cost for evaluations that are alike."""
    seen: set[Hashable] = set()
    templates: dict[Hashable, list[str] | None] = {}
    texts = []
    for entry in entries:
        kind = _kind(entry)
        if kind is not None and kind in seen and kind not in templates:
            templates[kind] = _template(entry)
        parts = templates.get(kind) if kind is not None else None
        if parts is None:
            texts.append(serialize_value(entry))
            seen.add(kind)
        else:
            texts.append(_filled(parts, entry))
    return texts


def _kind(entry: EventLogEntry) -> Hashable:
    """Return what entries must have in common to share a template; None for those that share none."""
    data = entry.get_dagster_event().event_specific_data
    if not isinstance(data, AssetCheckEvaluation) or data.partition is None or data.target_materialization_data is None:
        return None
    evidence = tuple((name, type(value), value.value) for name, value in data.metadata.items())
    kind = (
        *(entry.run_id, entry.step_key, entry.job_name, entry.level, entry.user_message, data.asset_key),
        *(data.check_name, data.passed, data.severity, data.description, data.blocking, evidence),
        data.target_materialization_data.run_id,
    )
    try:
        hash(kind)
    except TypeError:
        return None
    return kind


def _template(entry: EventLogEntry) -> list[str] | None:
    """Return the text of an entry cut at partition, storage id, target time and entry time, or None if it cannot be cut."""
    event = entry.get_dagster_event()
    data: Any = event.event_specific_data
    target = replace(data.target_materialization_data, storage_id=_STORAGE_ID, timestamp=_TARGET_TIME)
    marked_data = replace(data, partition=_PARTITION, target_materialization_data=target)
    text = serialize_value(
        entry._replace(timestamp=_ENTRY_TIME, dagster_event=event._replace(event_specific_data=marked_data))
    )
    marks = {json.dumps(_PARTITION): 0, str(_STORAGE_ID): 1, repr(_TARGET_TIME): 2, repr(_ENTRY_TIME): 3}
    places = sorted((text.find(mark), mark) for mark in marks)
    if any(text.count(mark) != 1 for mark in marks):
        return None
    parts: list[str] = []
    begin = 0
    for place, mark in places:
        parts += [text[begin:place], str(marks[mark])]
        begin = place + len(mark)
    return [*parts, text[begin:]]


def _filled(parts: Sequence[str], entry: EventLogEntry) -> str:
    data: Any = entry.get_dagster_event().event_specific_data
    target = data.target_materialization_data
    values = (json.dumps(data.partition), str(target.storage_id), repr(target.timestamp), repr(entry.timestamp))
    return "".join(part if number % 2 == 0 else values[int(part)] for number, part in enumerate(parts))
