"""The instance storage: creation, batches and its dependencies on Dagster."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster import AssetKey, DagsterEvent, DagsterEventType, EventLogEntry
from dagster._core.events import BATCH_WRITABLE_EVENTS, AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.instance.methods import event_methods
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.storage import DagsterPostgresStorage
from psycopg2.errors import UniqueViolation  # type: ignore[import-untyped]

from crypto_assets.errors import PostgresUnavailable
from crypto_assets.instance.event_log import BatchedEventLogStorage
from crypto_assets.instance.storage import InstanceStorage, storage_url

Open = Callable[[str], dg.DagsterInstance]
CREATE = """
import sys
from crypto_assets.instance.storage import InstanceStorage
storage = InstanceStorage(sys.argv[1])
storage.event_log_storage.get_maximum_record_id()
storage.run_storage.get_runs()
storage.schedule_storage.all_instigator_state()
"""


def entry(kind: DagsterEventType, data: object, run_id: str = "r1") -> EventLogEntry:
    event = DagsterEvent(
        event_type_value=kind.value, job_name="job", step_key="step", event_specific_data=data, message="m"
    )  # type: ignore[arg-type]
    return EventLogEntry(
        error_info=None, level=10, user_message="m", run_id=run_id, timestamp=time.time(), step_key="step",
        job_name="job", dagster_event=event,
    )  # fmt: skip


def materialized(key: str, partition: str) -> EventLogEntry:
    tags = {"dagster/data_version": f"{key}-{partition}"}
    data = StepMaterializationData(dg.AssetMaterialization(key, partition=partition, tags=tags))
    return entry(DagsterEventType.ASSET_MATERIALIZATION, data)


def evaluated(partition: str) -> EventLogEntry:
    data = dg.AssetCheckEvaluation(asset_key=AssetKey("a"), check_name="c", passed=True, partition=partition)
    return entry(DagsterEventType.ASSET_CHECK_EVALUATION, data)


def test_processes_that_come_at_once_create_the_tables_once(postgres_url: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", CREATE, postgres_url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert "Retrying" not in errors
    with psycopg.connect(postgres_url) as connection:
        schemas = connection.execute(
            "SELECT table_schema, count(*) FROM information_schema.tables"
            " WHERE table_schema IN ('dagster', 'public') GROUP BY 1"
        ).fetchall()
        stamps = connection.execute("SELECT count(*) FROM dagster.alembic_version").fetchone()
    assert [schema for schema, _ in schemas] == ["dagster"], "nothing in public"
    assert stamps == (1,)


def test_the_url_names_driver_and_schema_and_keeps_what_it_had() -> None:
    url = storage_url("postgres://u:p%40ss@h:5433/d?sslmode=require&options=-cstatement_timeout%3D5000")
    assert url.startswith("postgresql+psycopg2://u:p%40ss@h:5433/d?")
    assert "sslmode=require" in url
    assert "statement_timeout" in url
    assert "search_path%3Ddagster" in url


def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    with pytest.raises(
        PostgresUnavailable, match=r"127\.0\.0\.1:1/d: expected an answer, found: .*CRYPTO_ASSETS_POSTGRES_URL"
    ) as caught:
        InstanceStorage("postgresql://u:secret@127.0.0.1:1/d")
    assert "secret" not in str(caught.value)


def test_a_batch_brings_every_asset_key_up_to_date(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        batch = [materialized(key, day) for day in ("2024-01-01", "2024-01-02") for key in ("a", "b", "c")]
        instance.event_log_storage.store_event_batch(batch)
        for key in ("a", "b", "c"):
            [record] = instance.get_asset_records([AssetKey(key)])
            latest = record.asset_entry.last_materialization
            assert latest is not None
            assert latest.asset_materialization is not None
            assert latest.asset_materialization.partition == "2024-01-02"
            assert record.asset_entry.last_materialization_storage_id == max(
                record.storage_id for record in instance.fetch_materializations(AssetKey(key), limit=9).records
            )
            tags = instance.event_log_storage.get_latest_tags_by_partition(
                AssetKey(key), DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
            )
            assert tags["2024-01-01"] == {"dagster/data_version": f"{key}-2024-01-01"}


def test_a_mixed_batch_of_planned_and_done_keeps_both(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        planned = entry(
            DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
            AssetMaterializationPlannedData(AssetKey("a"), "2024-01-01"),
            "r2",
        )
        instance.event_log_storage.store_event_batch([materialized("a", "2024-01-01"), planned])
        [record] = instance.get_asset_records([AssetKey("a")])
        assert record.asset_entry.last_run_id == "r2"
        assert record.asset_entry.last_materialization is not None


def test_evaluating_again_in_the_same_run_replaces_the_result(open_instance: Open) -> None:
    def evaluated(passed: bool, partition: str | None) -> EventLogEntry:
        data = dg.AssetCheckEvaluation(asset_key=AssetKey("a"), check_name="c", passed=passed, partition=partition)
        return entry(DagsterEventType.ASSET_CHECK_EVALUATION, data)

    with open_instance("ours") as instance:
        storage = instance.event_log_storage
        storage.store_event_batch([evaluated(True, "p"), evaluated(True, None), evaluated(False, "p")])
        storage.store_event_batch([evaluated(False, None)])
        history = storage.get_asset_check_execution_history(dg.AssetCheckKey(AssetKey("a"), "c"), limit=9)
        assert {(record.partition, record.status.value) for record in history} == {("p", "FAILED"), (None, "FAILED")}
        assert len(history) == 2


def test_a_result_that_is_reported_outside_a_run_again_replaces_the_one_before(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        for passed in (True, False, True):
            for partition in ("p", "q", None):
                instance.report_runless_asset_event(
                    dg.AssetCheckEvaluation(asset_key=AssetKey("a"), check_name="c", passed=passed, partition=partition)
                )
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(AssetKey("a"), "c"), limit=9
        )
        assert {record.partition for record in history[:3]} == {"p", "q", None}
        assert [record.status.value for record in history[:3]] == ["SUCCEEDED"] * 3
        assert sum(record.partition is not None for record in history) == 2


def test_a_batch_with_an_unknown_type_goes_the_stock_way(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        other = entry(DagsterEventType.STEP_START, None)
        instance.event_log_storage.store_event_batch([materialized("a", "p"), other])
        assert len(instance.all_logs("r1")) == 2
        assert instance.get_materialized_partitions(AssetKey("a")) == {"p"}


def test_every_process_with_this_storage_writes_events_in_batches() -> None:
    assert int(os.environ["DAGSTER_EVENT_BATCH_SIZE"]) >= 1
    assert 'os.getenv("DAGSTER_EVENT_BATCH_SIZE"' in inspect.getsource(event_methods), "read at each event"


def test_what_we_override_in_dagster_is_still_there() -> None:
    """If this fails, a new Dagster has changed the base of crypto_assets/instance: read that code again."""
    assert list(inspect.signature(PostgresEventLogStorage.store_event_batch).parameters) == ["self", "events"]
    for name in (
        "_store_asset_event",
        "_tags_for_asset_event",
        "_event_insert_timestamp",
        "_store_asset_check_evaluation_planned",
        "_store_runless_asset_check_evaluation",
        "index_transaction",
        "has_table",
    ):
        assert callable(getattr(PostgresEventLogStorage, name))
    assert "_engine" in inspect.getsource(PostgresEventLogStorage.__init__)
    assert "should_autocreate_tables" in inspect.signature(DagsterPostgresStorage.__init__).parameters
    assert {kind.value for kind in BATCH_WRITABLE_EVENTS} == {
        "ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_FAILED_TO_MATERIALIZE",
        "ASSET_MATERIALIZATION_PLANNED", "ASSET_CHECK_EVALUATION_PLANNED",
    }  # fmt: skip
    assert issubclass(BatchedEventLogStorage, PostgresEventLogStorage)


def test_a_batch_that_was_committed_before_is_no_error_and_another_violation_is(
    open_instance: Open, postgres_url: str
) -> None:
    with open_instance("ours") as instance:
        storage: Any = instance.event_log_storage
        ids = storage.reserve_event_ids(2)
        once = [evaluated("2024-01-01")]
        storage.store_event_batch(once, ids[:1])
        storage.store_event_batch(once, ids[:1])
        assert len(instance.event_log_storage.get_logs_for_run("r1")) == 1
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("CREATE UNIQUE INDEX odd ON dagster.asset_check_executions (check_name)")
        with pytest.raises(UniqueViolation):
            storage.store_event_batch([evaluated("2024-01-02")], ids[1:])
