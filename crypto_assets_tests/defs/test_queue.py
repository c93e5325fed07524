"""The queue of runs: which of them Dagster's coordinator starts first, with the limits of the project's dagster.yaml."""

from __future__ import annotations

import sys
from datetime import date

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from crypto_assets.defs.requests import GAPS_PRIORITY
from crypto_assets.defs.resources import PostgresResource
from crypto_assets.engine.watch.watch import PRIORITIES
from crypto_assets_tests import project
from crypto_assets_tests.defs.test_schedules import Nowhere
from crypto_assets_tests.project import entry


@dg.op
def work() -> None: ...


@dg.op(pool="exchange_slow")
def collect() -> None: ...


@dg.job
def elsewhere():
    work()


@dg.job
def slow_exchange():
    collect()


class Queue:
    """Runs in a project's queue; `starts` is one iteration of Dagster's coordinator without launching."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def add(self, job: dg.JobDefinition, name: str, **tags: str) -> dg.DagsterRun:
        # Only runs of a code location may be queued; this one is never loaded.
        location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("nowhere"), "nothing")
        run = self.instance.create_run_for_job(
            job,
            tags={"name": name} | tags,
            remote_job_origin=RemoteJobOrigin(location, job.name),
            job_code_origin=JobPythonOrigin(
                job.name, RepositoryPythonOrigin(sys.executable, ModuleCodePointer("nowhere", "nothing", None), None)
            ),
        )
        enqueued = dg.DagsterEvent(event_type_value="PIPELINE_ENQUEUED", job_name=job.name)
        self.instance.report_dagster_event(enqueued, run.run_id)
        return run

    def starts(self) -> list[str]:
        """Return the runs that would start now, in order; they start and hang."""
        coordinator = QueuedRunCoordinatorDaemon(interval_seconds=1)
        runs = coordinator._get_runs_to_dequeue(self.instance, self.instance.get_concurrency_config(), None)
        for run in runs:
            for kind in ("PIPELINE_STARTING", "PIPELINE_START"):
                self.instance.report_dagster_event(
                    dg.DagsterEvent(event_type_value=kind, job_name=run.job_name), run.run_id
                )
            if run.job_name == slow_exchange.name:
                storage = self.instance.event_log_storage
                storage.claim_concurrency_slot("exchange_slow", run.run_id, "collect")
        return [run.tags["name"] for run in runs]


@pytest.fixture
def queue(tmp_path, postgres_url, monkeypatch):
    bars = entry(["ohlcv_1m"], ["BTC/USDT"], date(2024, 1, 5))
    mine = project.make(Nowhere(), tmp_path, postgres_url, monkeypatch, bars)  # type: ignore[arg-type]
    PostgresResource().resolved_url()
    with mine.instance() as instance:
        yield Queue(instance)


def test_an_exchange_that_hangs_leaves_slots_for_the_others(queue):
    for number in range(7):
        queue.add(elsewhere, f"slow {number}", exchange="slow")
    queue.add(elsewhere, "other", exchange="other")
    assert queue.starts() == [*(f"slow {number}" for number in range(6)), "other"]
    queue.add(elsewhere, "other again", exchange="other")
    assert queue.starts() == ["other again"]
    queue.add(elsewhere, "no slot is left", exchange="third")
    assert queue.starts() == []


def test_backfills_from_the_ui_have_no_tag_and_are_held_back_by_their_pool(queue):
    # The first run of a pool sets its default limit, from the next iteration on.
    queue.instance.event_log_storage.initialize_concurrency_limit_to_default("exchange_slow")
    for number in range(6):
        queue.add(slow_exchange, f"slow {number}")
    queue.add(elsewhere, "other")
    assert queue.starts() == ["slow 0", "slow 1", "slow 2", "slow 3", "other"]
    queue.add(elsewhere, "other again")
    assert queue.starts() == ["other again"]


def test_fresh_days_leave_the_queue_before_files_published_again_gaps_and_backfills(queue):
    backfill = {"dagster/priority": "-5"}
    queue.add(elsewhere, "backfill", **backfill)
    queue.add(elsewhere, "launched by hand")
    for kind in ("history", "republished", "late", "fresh"):
        queue.add(elsewhere, kind, **{"dagster/priority": str(PRIORITIES[kind])})
    queue.add(elsewhere, "gaps", **{"dagster/priority": str(GAPS_PRIORITY)})
    assert queue.starts() == ["fresh", "late", "republished", "history", "launched by hand", "gaps", "backfill"]
