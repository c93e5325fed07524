"""Similar entries are serialised exactly as by Dagster's own serialiser."""

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.events import AssetMaterializationPlannedData, AssetObservationData, StepMaterializationData
from dagster._serdes import deserialize_value, serialize_value
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_assets.instance import serialize
from crypto_assets.instance.serialize import Serializer

KEY = dg.AssetKey(["binance", "spot", "ohlcv_1m", "BTC-USDT"])


def evaluation(
    partition, storage_id=1, at=1.5, time=2.5, metadata=None, passed=True, name="complete", description=None, key=KEY
):
    target = None
    if storage_id is not None:
        target = AssetCheckEvaluationTargetMaterializationData(storage_id=storage_id, run_id="run", timestamp=at)
    data = dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=name,
        passed=passed,
        metadata=metadata if metadata is not None else {"found": 1440},
        description=description,
        partition=partition,
        target_materialization_data=target,
    )
    return entry(DagsterEventType.ASSET_CHECK_EVALUATION, data, f"{name}: {description}", time)


def materialization(partition, time=2.5, metadata=None, tags=None, key=KEY):
    made = dg.AssetMaterialization(key, partition=partition, metadata=metadata, tags=tags)
    return entry(DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(made), "made", time)


def observation(partition, time=2.5, metadata=None, description="Missing: 404", key=KEY):
    seen = dg.AssetObservation(key, description, metadata, partition)
    return entry(DagsterEventType.ASSET_OBSERVATION, AssetObservationData(seen), description or "", time)


def planned(partition, time=2.5, key=KEY):
    data = AssetMaterializationPlannedData(key, partition=partition)
    return entry(DagsterEventType.ASSET_MATERIALIZATION_PLANNED, data, "planned", time)


def entry(kind, data, message, time):
    event = DagsterEvent(
        event_type_value=kind.value,
        job_name="job",
        event_specific_data=data,
        message=message,
        step_key="step",
        logging_tags={"step": "step"},
        pid=7,
    )
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message=message,
        run_id="run",
        timestamp=time,
        step_key="step",
        job_name="job",
        dagster_event=event,
    )


times = st.floats(min_value=0, max_value=4e9, allow_nan=False)
texts = st.text(max_size=12)
numbers = st.one_of(st.integers(), st.floats(), st.booleans(), texts)
partitions = st.one_of(st.none(), texts, st.dates().map(str))
metadata = st.one_of(
    st.sampled_from([{}, {"spans": "08:34"}, {"table": ["unhashable"]}, {"chart": dg.MetadataValue.md("|a|")}]),
    st.fixed_dictionaries({"found": numbers}, optional={"rows": numbers}),
)
keys = st.sampled_from([KEY, dg.AssetKey(["binance", "spot", "ohlcv_1m", "币-USDT"]), dg.AssetKey(['"', "\\"])])
entries = st.one_of(
    st.builds(
        evaluation,
        partition=partitions,
        storage_id=st.one_of(st.none(), st.integers(min_value=0, max_value=2**62)),
        at=times,
        time=times,
        metadata=metadata,
        passed=st.booleans(),
        name=st.sampled_from(["complete", "contract"]),
        description=st.one_of(st.none(), texts),
        key=keys,
    ),
    st.builds(
        materialization,
        partition=partitions,
        time=times,
        metadata=metadata,
        tags=st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {"dagster/data_version": texts},
                optional={"other": st.from_regex(r"[A-Za-z0-9._-]{0,12}", fullmatch=True)},
            ),
        ),
        key=keys,
    ),
    st.builds(planned, partition=partitions, time=times, key=keys),
    st.builds(
        observation,
        partition=partitions,
        time=times,
        metadata=metadata,
        description=st.one_of(st.none(), texts),
        key=keys,
    ),
)


@settings(deadline=None)
@given(st.lists(entries, max_size=40))
def test_every_text_is_the_one_that_dagster_writes(entries):
    serializer = Serializer()
    for _ in range(2):  # the second batch uses the forms of the first
        assert serializer.texts(entries) == [serialize_value(entry) for entry in entries]


def asset(day):
    return dg.AssetKey(["binance", "spot", "ohlcv_1m", f"COIN{day}-USDT"])


def evaluated(day):
    metadata = {"step": day / 9, "why": f"no. {day}"}
    return evaluation(f"2024-01-{day:02d}", storage_id=day, at=day / 3, time=day / 7, metadata=metadata, key=asset(day))


def stored(day):
    metadata = {"rows": day, "candles": dg.MetadataValue.md(f"![{day}]"), "unchanged": False}
    tags = {"dagster/data_version": f"v{day}", "dagster/code_version": "run"}
    return materialization(f"2024-01-{day:02d}", day / 7, metadata, tags, asset(day))


def missed(day):
    metadata = {"reason": f"no. {day}", "state": "missing"}
    return observation(f"2024-01-{day:02d}", day / 7, metadata, f"Missing: no. {day}", asset(day))


def expected(day):
    return planned(f"2024-01-{day:02d}", day / 7, asset(day))


@pytest.mark.parametrize("make", [evaluated, stored, missed, expected])
def test_entries_of_one_form_are_serialised_once_whatever_their_values_and_read_back_as_they_were(monkeypatch, make):
    made = [make(day) for day in range(1, 29)]
    calls = []
    monkeypatch.setattr(serialize, "serialize_value", lambda value: calls.append(value) or serialize_value(value))
    serializer = Serializer()
    found = [text for begin in (0, 9, 18) for text in serializer.texts(made[begin : begin + 9])]
    assert [deserialize_value(text, EventLogEntry) for text in found] == made[:27]
    assert len(calls) == 3, "the first two, and the template"


@pytest.mark.parametrize("mark", ["<7f1c9e52:3>", 'a "<7f1c9e52:4>" b'])
def test_an_entry_that_happens_to_hold_a_mark_is_written_the_long_way(mark):
    key = dg.AssetKey(["binance", mark])
    made = [evaluation(f"2024-01-{day:02d}", storage_id=day, metadata={mark: mark}, key=key) for day in range(1, 9)]
    made += [materialization(f"2024-01-{day:02d}", tags={"dagster/data_version": mark}, key=key) for day in range(1, 9)]
    assert Serializer().texts(made) == [serialize_value(entry) for entry in made]


def test_forms_without_number_are_not_all_remembered(monkeypatch):
    monkeypatch.setattr(serialize, "_FORMS", 10)
    serializer = Serializer()
    made = [evaluation("2024-01-01", name=f"check_{n % 25}") for n in range(100)]
    assert serializer.texts(made) == [serialize_value(entry) for entry in made]
    assert len(serializer._seen) <= 10
    assert len(serializer._templates) <= 10
