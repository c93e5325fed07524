"""A range run that reports its partitions in bulk, read back through Dagster's own API."""

from collections.abc import Callable, Iterator

import dagster as dg
import pytest
import sqlalchemy as db
from dagster import DagsterEventType
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from crypto_assets.instance import event_log
from crypto_assets.instance.events import report

DAILY = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-06-01")
LAKE = dg.AssetKey(["binance", "spot", "ohlcv_1m", "BTC-USDT"])
WAREHOUSE = dg.AssetKey(["warehouse", "binance", "spot", "ohlcv", "BTC-USDT"])
CHECKS = ("no_missing_bars", "positive_prices")
MISSING, BAD = "2024-01-03", "2024-01-05"
Open = Callable[[str], dg.DagsterInstance]


def collector(store: Callable[..., None], *, fail: bool = False) -> dg.AssetsDefinition:
    """An op over a range of days: one is missing, one fails a check; `store` reports them to Dagster."""

    @dg.multi_asset(
        name="collect",
        specs=[
            dg.AssetSpec(LAKE, partitions_def=DAILY, skippable=True),
            dg.AssetSpec(WAREHOUSE, partitions_def=DAILY, skippable=True, deps=[LAKE]),
        ],
        check_specs=[dg.AssetCheckSpec(name, asset=LAKE, partitions_def=DAILY) for name in CHECKS],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def collect(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult]:
        days = [day for day in context.partition_keys if day != MISSING]
        materializations = [
            dg.AssetMaterialization(
                key, partition=day, metadata={"rows": 1440, "day": day}, tags={"dagster/data_version": day}
            )
            for day in days
            for key in (LAKE, WAREHOUSE)
        ]
        evaluations = [
            dg.AssetCheckEvaluation(
                asset_key=LAKE,
                check_name=name,
                passed=day != BAD,
                partition=day,
                metadata={"day": day, "path": "a\\b\tc\n"},
            )
            for day in days
            for name in CHECKS
        ]
        store(context, materializations, evaluations, [observed(key, MISSING) for key in (LAKE, WAREHOUSE)])
        yield from ()
        if fail:
            raise dg.Failure("2024-01-03 is missing", allow_retries=False)

    return collect


def observed(key: dg.AssetKey, day: str) -> dg.AssetObservation:
    return dg.AssetObservation(key, f"Missing: {day}", {"reason": "404", "state": "missing"}, day)


def run(
    instance: dg.DagsterInstance, asset: dg.AssetsDefinition, start: str = "2024-01-01", end: str = "2024-01-10"
) -> dg.ExecuteInProcessResult:
    job = dg.Definitions([asset], executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def log_one_by_one(
    context: dg.AssetExecutionContext,
    materializations: list[dg.AssetMaterialization],
    evaluations: list[dg.AssetCheckEvaluation],
    observations: list[dg.AssetObservation],
) -> None:
    for event in (*materializations, *evaluations, *observations):
        context.log_event(event)


def test_only_what_was_reported_is_materialised_and_the_run_succeeds(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        result = run(instance, collector(report))
        assert result.success
        days = {f"2024-01-{day:02d}" for day in range(1, 11)} - {MISSING}
        for key in (LAKE, WAREHOUSE):
            assert instance.get_materialized_partitions(key) == days
            latest = instance.get_latest_materialization_event(key)
            assert latest is not None
            assert latest.asset_materialization is not None
            assert latest.asset_materialization.partition == "2024-01-10"
            assert latest.asset_materialization.metadata["day"].value == "2024-01-10"
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=LAKE, asset_partitions=["2024-01-07"]), limit=10
        ).records
        assert len(records) == 1
        assert records[0].run_id == result.run_id
        stats = instance.get_run_step_stats(result.run_id)
        assert [(step.step_key, step.status.value, len(step.materialization_events)) for step in stats] == [
            ("collect", "SUCCESS", 18)
        ]


def test_a_run_that_fails_in_the_end_keeps_what_it_reported(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        assert not run(instance, collector(report, fail=True)).success
        assert len(instance.get_materialized_partitions(LAKE)) == 9


def test_every_partition_has_the_result_of_its_own_check(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        run_id = run(instance, collector(report)).run_id
        key = dg.AssetCheckKey(LAKE, CHECKS[0])
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
        found = {record.partition: record.status for record in history}
        assert len(history) == 9, "none is there twice"
        assert found[BAD] == AssetCheckExecutionRecordStatus.FAILED
        assert found["2024-01-04"] == AssetCheckExecutionRecordStatus.SUCCEEDED
        assert MISSING not in found, "what was planned and never judged has no result"
        [record] = [record for record in history if record.partition == "2024-01-04"]
        assert record.run_id == run_id
        assert record.event is not None
        evaluation = record.event.dagster_event.event_specific_data  # type: ignore[union-attr]
        assert evaluation.metadata["path"].value == "a\\b\tc\n"
        [materialization] = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=LAKE, asset_partitions=["2024-01-04"]), limit=10
        ).records
        assert evaluation.target_materialization_data.storage_id == materialization.storage_id


def test_a_day_that_is_not_materialised_is_observed_with_what_was_said_of_it(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        run_id = run(instance, collector(report)).run_id
        for key in (LAKE, WAREHOUSE):
            [record] = instance.fetch_observations(dg.AssetRecordsFilter(asset_key=key), limit=10).records
            assert record.asset_observation == observed(key, MISSING)
            assert (record.run_id, record.partition_key) == (run_id, MISSING)


def comparable(instance: dg.DagsterInstance, run_id: str) -> list[object]:
    """The asset events of a run without the parts that differ between any two runs."""
    kinds = {
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_CHECK_EVALUATION,
        DagsterEventType.ASSET_OBSERVATION,
    }
    found = []
    for record in instance.get_records_for_run(run_id, of_type=kinds).records:
        entry = record.event_log_entry
        event = entry.dagster_event
        assert event is not None
        data = event.event_specific_data
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            mine = data.materialization._replace(
                tags={"dagster/data_version": data.materialization.tags["dagster/data_version"]}
            )  # type: ignore[union-attr]
            content: object = mine
        elif event.event_type == DagsterEventType.ASSET_OBSERVATION:
            content = data.asset_observation
            # Dagster has no message for it; ours is the description, which the log of the run then shows.
            found.append((entry.level, entry.step_key, entry.job_name, content))
            continue
        else:
            content = (data.asset_key, data.check_name, data.partition, data.passed, data.metadata, data.severity)  # type: ignore[union-attr]
        logging_tags = {**(event.logging_tags or {}), "run_id": "differs"}
        bare = event._replace(event_specific_data=None, logging_tags=logging_tags)
        frame = (entry.level, entry.user_message, entry.step_key, entry.job_name, bare)
        found.append((frame, content))
    return found


def test_reported_events_equal_those_that_dagster_logs_itself(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        ours = comparable(instance, run(instance, collector(report)).run_id)
        stock = comparable(instance, run(instance, collector(log_one_by_one)).run_id)
    assert len(ours) == 38
    assert ours == stock


def test_with_another_storage_the_same_events_are_logged_one_by_one() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, collector(report), end="2024-01-02")
        assert result.success
        assert instance.get_materialized_partitions(LAKE) == {"2024-01-01", "2024-01-02"}


def test_a_stock_postgres_storage_reads_what_ours_wrote_and_the_other_way_round(open_instance: Open) -> None:
    with open_instance("ours") as instance:
        run(instance, collector(report))
    with open_instance("stock") as instance:
        assert len(instance.get_materialized_partitions(WAREHOUSE)) == 9
        assert (
            len(instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(LAKE, CHECKS[1]), 100))
            == 9
        )
        assert run(instance, collector(report), "2024-01-11", "2024-01-12").success
    with open_instance("ours") as instance:
        assert len(instance.get_materialized_partitions(WAREHOUSE)) == 11


def test_a_derived_asset_is_fresh_until_its_parents_content_changes(open_instance: Open) -> None:
    asset = collector(report)
    graph = dg.Definitions([asset]).get_repository_def().asset_graph

    def status(day: str) -> StaleStatus:
        return CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance)).get_status(WAREHOUSE, day)

    with open_instance("ours") as instance:
        run(instance, asset)
        assert [status("2024-01-04"), status(MISSING)] == [StaleStatus.FRESH, StaleStatus.MISSING]
        for version, expected in (("2024-01-04", StaleStatus.FRESH), ("other bytes", StaleStatus.STALE)):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(LAKE, partition="2024-01-04", tags={"dagster/data_version": version})
            )
            assert status("2024-01-04") == expected
        assert status("2024-01-02") == StaleStatus.FRESH


def test_ten_times_the_events_take_no_statement_and_no_copy_more(
    open_instance: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counted(
        context: dg.AssetExecutionContext,
        materializations: list[dg.AssetMaterialization],
        evaluations: list[dg.AssetCheckEvaluation],
        observations: list[dg.AssetObservation],
    ) -> None:
        statements: list[str] = []
        copy = event_log._copy

        def copied(connection: object, table: str, *rest: object) -> None:
            statements.append(f"COPY {table}")
            copy(connection, table, *rest)  # type: ignore[arg-type]

        def executed(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            statements.append(statement)

        db.event.listen(db.Engine, "before_cursor_execute", executed)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(event_log, "_copy", copied)
                report(context, materializations, evaluations, observations)
        finally:
            db.event.remove(db.Engine, "before_cursor_execute", executed)
        assert statements.count("COPY event_logs") == 1
        counts.append(len(statements))

    with open_instance("ours") as instance:
        run(instance, collector(report), end="2024-01-01")  # an existing table is remembered
        for end in ("2024-01-15", "2024-05-30"):
            assert run(instance, collector(counted), end=end).success
    assert counts[0] == counts[1] > 0


def test_a_wrong_report_fails_the_op_and_stores_nothing(open_instance: Open) -> None:
    def wrong(context: dg.AssetExecutionContext, materializations: list[dg.AssetMaterialization], *_: object) -> None:
        report(context, [*materializations, "not an event"])  # type: ignore[list-item]

    with open_instance("ours") as instance:
        assert not run(instance, collector(wrong)).success
        assert instance.get_materialized_partitions(LAKE) == set()
