"""Records that Dagster adds once exist once, with all their parts, even if the answer to a statement is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from dagster._core.errors import DagsterRunAlreadyExists
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus

from crypto_assets_tests.storage.cut_connections import LosesAnAnswer

Open = Callable[..., dg.DagsterInstance]
TAGS = {"a": "1", "b": "2"}


@pytest.fixture
def way(postgres_url: str) -> Iterator[LosesAnAnswer]:
    with LosesAnAnswer(postgres_url) as way:
        yield way
        assert way.lost == 1, "the fault has happened"


@pytest.fixture
def instance(open_instance: Open, way: LosesAnAnswer) -> Iterator[dg.DagsterInstance]:
    with open_instance("ours", way.url) as instance:
        yield instance


@pytest.mark.parametrize("table", [b"INSERT INTO runs ", b"INSERT INTO run_tags "])
def test_a_run_is_added_once_with_its_tags(way: LosesAnAnswer, instance: dg.DagsterInstance, table: bytes) -> None:
    run = dg.DagsterRun(job_name="job", run_id="r1", tags=TAGS)
    way.lose(of=table)
    assert instance.run_storage.add_run(run) == run
    (found,) = instance.get_runs()
    assert found.tags.items() >= TAGS.items()
    assert [one.run_id for one in instance.get_runs(dg.RunsFilter(tags=TAGS))] == ["r1"], "by the table of tags"
    with pytest.raises(DagsterRunAlreadyExists):
        instance.run_storage.add_run(run)


@pytest.mark.parametrize("table", [b"INSERT INTO bulk_actions ", b"INSERT INTO backfill_tags "])
def test_a_backfill_is_added_once_with_its_tags(way: LosesAnAnswer, instance: dg.DagsterInstance, table: bytes) -> None:
    way.lose(of=table)
    instance.add_backfill(
        PartitionBackfill(
            backfill_id="b1", status=BulkActionStatus.REQUESTED, from_failure=False, tags=TAGS, backfill_timestamp=1.0
        )
    )
    (found,) = instance.get_backfills()
    assert found.tags == TAGS


def test_a_tick_is_added_once(way: LosesAnAnswer, instance: dg.DagsterInstance) -> None:
    way.lose(of=b"INSERT INTO job_ticks ")
    made = instance.create_tick(
        TickData("origin", "sensor", InstigatorType.SENSOR, TickStatus.STARTED, 1.0, selector_id="s")
    )
    (found,) = instance.get_ticks("origin", "s")
    assert found.tick_id == made.tick_id
