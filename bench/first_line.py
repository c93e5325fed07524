"""Measure the time from launching a run to the first line of its op, in a worker forked by our code server.

python -m bench.first_line FIRST_DAY LAST_DAY RUNS

Prints one JSON list: for each run the seconds from creating the run (as a click in the UI does) to the line, and
the worker's CPU until then. The first run of a code server also pays for starting the process that forks the workers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._grpc.client import DagsterGrpcClient

LOCATION = "bench.location"


def main(first: str, last: str, runs: int) -> None:
    """Serve the code location; launch runs of all its assets one after the other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Dagster handles SIGTERM like SIGINT: it ignores both if a shell started us in the background; children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "crypto_assets.instance.code_server", "api", "grpc"),
            *("-h", "127.0.0.1", "-p", str(port), "-m", LOCATION, "--location-name", "bench"),
        ],
        stdout=sys.stderr,
    )
    try:
        client = DagsterGrpcClient(host="127.0.0.1", port=port)
        _wait(lambda: _answers(client))
        target = GrpcServerTarget(host="127.0.0.1", port=port, socket=None, location_name="bench")
        with dg.DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as process:
            found = [_launch(instance, process.create_request_context(), first, last) for _ in range(runs)]
        sys.stdout.write(json.dumps(found) + "\n")
    finally:
        server.terminate()
        server.wait(60)


def _launch(instance: dg.DagsterInstance, request: Any, first: str, last: str) -> list[float]:
    stamp = Path(os.environ["BENCH_STAMP"])
    stamp.unlink(missing_ok=True)
    location = request.get_code_location("bench")
    repository = next(iter(location.get_repositories().values()))
    job = repository.get_full_job("__ASSET_JOB")
    started = time.monotonic()
    plan = location.get_execution_plan(job, {}, step_keys_to_execute=None, known_state=None, instance=instance)
    run = instance.create_run(
        job_name=job.name,
        run_config={},
        status=dg.DagsterRunStatus.NOT_STARTED,
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
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
    _wait(lambda: stamp.exists() and stamp.read_text())
    moment, cpu = map(float, stamp.read_text().split())
    # The rest of the run is measured elsewhere; it must not disturb the next run.
    _wait(lambda: (found := instance.get_run_by_id(run.run_id)) is not None and found.is_finished)
    return [moment - started, cpu]


def _answers(client: DagsterGrpcClient) -> bool:
    try:
        return bool(client.ping("x")["echo"] == "x")
    except Exception:
        return False


def _wait(condition: Any, timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it did not happen in time")
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
