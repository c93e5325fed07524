"""Entries that are alike come out as Dagster's own serialiser writes them."""

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._serdes import deserialize_value, serialize_value
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets.instance import serialize
from crypto_assets.instance.serialize import serialize_all


def evaluation(partition, storage_id=1, at=1.5, time=2.5, metadata=None, passed=True, name="complete"):
    target = None
    if storage_id is not None:
        target = AssetCheckEvaluationTargetMaterializationData(storage_id=storage_id, run_id="run", timestamp=at)
    data = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(["binance", "spot", "BTC-USDT", "ohlcv_1m"]),
        check_name=name,
        passed=passed,
        metadata=metadata if metadata is not None else {"found": 1440},
        partition=partition,
        target_materialization_data=target,
    )
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name="job",
        event_specific_data=data,
        message="passed",
        step_key="step",
        logging_tags={"step": "step"},
        pid=7,
    )
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message="passed",
        run_id="run",
        timestamp=time,
        step_key="step",
        job_name="job",
        dagster_event=event,
    )


times = st.floats(min_value=0, max_value=4e9, allow_nan=False)
evaluations = st.builds(
    evaluation,
    partition=st.one_of(st.none(), st.text(max_size=12), st.dates().map(str)),
    storage_id=st.one_of(st.none(), st.integers(min_value=0, max_value=2**62)),
    at=times,
    time=times,
    metadata=st.sampled_from([{}, {"found": 1440}, {"found": 1439, "spans": "08:34"}, {"table": ["unhashable"]}]),
    passed=st.booleans(),
    name=st.sampled_from(["complete", "contract"]),
)


@given(st.lists(evaluations, max_size=30))
def test_every_text_is_the_one_that_dagster_writes(entries):
    assert serialize_all(entries) == [serialize_value(entry) for entry in entries]


def test_alike_entries_are_serialised_once_and_read_back_as_they_were(monkeypatch):
    entries = [evaluation(f"2024-01-{day:02d}", storage_id=day, at=day / 3, time=day / 7) for day in range(1, 29)]
    calls = []
    monkeypatch.setattr(serialize, "serialize_value", lambda value: calls.append(value) or serialize_value(value))
    texts = serialize_all(entries)
    assert [deserialize_value(text, EventLogEntry) for text in texts] == entries
    assert len(calls) == 2, "the first one, and the template"


@pytest.mark.parametrize("metadata", [{"note": serialize._PARTITION}, {"number": serialize._STORAGE_ID}])
def test_an_entry_that_happens_to_hold_a_mark_is_written_the_long_way(metadata):
    entries = [evaluation(f"2024-01-{day:02d}", storage_id=day, metadata=metadata) for day in range(1, 9)]
    assert serialize_all(entries) == [serialize_value(entry) for entry in entries]
