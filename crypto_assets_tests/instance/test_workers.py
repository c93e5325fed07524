"""Runs in real processes: workers forked by the code server, and the case that both are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient

from crypto_assets.instance import code_server
from crypto_assets.instance.launcher import HealthRunLauncher
from crypto_assets.machine.private_folder import socket_folder
from crypto_assets_tests.waiting import wait_for

MODULE = "crypto_assets_tests.instance.tiny_definitions"


@pytest.fixture
def instance(postgres_url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text(
        "storage:\n  custom: {module: crypto_assets.instance.storage, class: InstanceStorage,"
        f" config: {{postgres_url: '{postgres_url}'}}}}\n"
        "run_launcher: {module: crypto_assets.instance.launcher, class: HealthRunLauncher, config: {grace_s: 0.5}}\n"
        "telemetry: {enabled: false}\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


@contextmanager
def serving(tmp_path: Path, **environment: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """Run the code server on a unix socket."""
    place = socket_folder(tmp_path / "sockets", "code") / "code"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "crypto_assets.instance.code_server", "api", "grpc"),
            *("--socket", str(place), "-m", MODULE, "--location-name", "tiny"),
        ],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "TINY_OUTPUT": str(tmp_path / "out"), **environment},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        client = DagsterGrpcClient(socket=str(place))
        wait_for("the code server answers", lambda: answers(client))
        yield place, process
    finally:
        process.terminate()
        process.wait(60)


def answers(client: DagsterGrpcClient) -> bool:
    try:
        return client.ping("x")["echo"] == "x"
    except Exception:
        return False


def launch(instance: dg.DagsterInstance, place: Path) -> str:
    """Launch a run of the tiny asset on the code server; return its id."""
    target = GrpcServerTarget(host="localhost", port=None, socket=str(place), location_name="tiny")
    with WorkspaceProcessContext(instance, target) as process:
        request = process.create_request_context()
        location = request.get_code_location("tiny")
        repository = next(iter(location.get_repositories().values()))
        job = repository.get_full_job("__ASSET_JOB")
        plan = location.get_execution_plan(job, {}, step_keys_to_execute=None, known_state=None, instance=instance)
        run = instance.create_run(
            job_name=job.name,
            run_config={},
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={},
            execution_plan_snapshot=plan.execution_plan_snapshot,
            job_snapshot=job.job_snapshot,
            parent_job_snapshot=job.parent_job_snapshot,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            asset_graph=repository.asset_graph,
            run_id=None,
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=None,
            resolved_op_selection=None,
            op_selection=None,
            asset_selection=None,
            asset_check_selection=None,
        )
        instance.launch_run(run.run_id, request)
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_forked_worker_reaches_user_code_with_little_cpu(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with serving(tmp_path) as (place, _):
        for _ in range(2):  # the first run pays for the preload
            run_id = launch(instance, place)
            wait_for("the run ends", lambda run_id=run_id: status(instance, run_id).value in ("SUCCESS", "FAILURE"))  # type: ignore[misc]
            assert status(instance, run_id) == dg.DagsterRunStatus.SUCCESS
    cpu_s = float((tmp_path / "out").read_text().split()[0])
    assert cpu_s < 1.5 or code_server.unsupported()


def test_a_run_whose_worker_and_server_were_killed_is_found_lost(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with serving(tmp_path, TINY_SLEEP_S="60") as (place, server):
        run_id = launch(instance, place)
        wait_for(
            "the op runs", lambda: (tmp_path / "out").exists() and len((tmp_path / "out").read_text().split()) == 3
        )
        launcher = instance.run_launcher
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert launcher.supports_check_run_worker_health
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        worker = int((tmp_path / "out").read_text().split()[1])
        os.killpg(server.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL) if Path(f"/proc/{worker}").exists() else None
        server.wait()
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING, "within the grace period"
        time.sleep(0.6)
        found = launcher.check_run_worker_health(run)
    assert found.status == WorkerStatus.NOT_FOUND
    assert "cannot be reached" in str(found.msg)


def test_a_run_that_no_code_server_started_counts_as_running(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="by_hand", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_the_code_server_falls_back_to_the_stock_way_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    before = multiprocessing.get_context
    with pytest.warns(UserWarning, match="no forkserver"):
        assert not code_server.use_forkserver([MODULE])
    assert multiprocessing.get_context is before


def test_what_we_patch_in_dagster_is_still_there() -> None:
    """If this fails, a new Dagster has changed the base of the launcher or the code server: read that code again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code_server.unsupported() is None
    assert callable(DefaultRunLauncher._get_grpc_client_for_termination)
    assert issubclass(HealthRunLauncher, DefaultRunLauncher)
