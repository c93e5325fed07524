"""Ticks of the project's sensor by Dagster's sensor daemon, each in a process that may be killed in the middle.

    python -m crypto_assets_tests.defs.sensor_process

Reads lines of JSON, [instant, point]: the sensor's clock, and the point in Dagster's daemon where SIGKILL comes, or null.
Answers each with the exit code of that process and the present runs.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import warnings
from datetime import datetime

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon import sensor as daemon

from crypto_assets_tests.defs import sensor_definitions

SENSOR = "new_files"


def tick(now: str, point: str | None) -> None:
    """Let Dagster's daemon evaluate the sensor once, at a given instant."""
    sensor_definitions.CLOCK[0] = datetime.fromisoformat(now)
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(module_name=sensor_definitions.__name__, executable_path=sys.executable)
    )
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget([origin]), instance) as context,
    ):
        (entry,) = context.create_request_context().get_code_location_entries().values()
        assert entry.code_location, entry.load_error
        (repository,) = entry.code_location.get_repositories().values()
        sensor = repository.get_sensor(SENSOR)
        if not sensor.get_current_instigator_state(
            instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
        ).is_running:
            instance.start_sensor(sensor)
        flags = {SENSOR: {point: signal.SIGKILL}} if point else None
        logger = logging.getLogger("sensor")
        list(daemon.execute_sensor_iteration(context, logger, None, None, debug_crash_flags=flags))


def main() -> None:
    """Run each tick in a child process, and print the runs."""
    # Dagster waits some seconds of real time between two ticks of a sensor.
    daemon.is_under_min_interval = lambda *_: False
    for line in sys.stdin:
        child = os.fork()
        if not child:
            tick(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        reader, writer = os.pipe()
        if not os.fork():
            os.write(writer, json.dumps([os.waitstatus_to_exitcode(status), runs()]).encode() + b"\n")
            os._exit(0)
        os.wait()
        sys.stdout.write(os.read(reader, 1 << 16).decode())
        sys.stdout.flush()
        os.close(reader)
        os.close(writer)


def runs() -> list[list[str]]:
    """Return Dagster's runs: status, first and last day, assets."""
    with dg.DagsterInstance.get() as instance:
        return sorted(
            [
                run.status.value,
                run.tags["dagster/asset_partition_range_start"],
                run.tags["dagster/asset_partition_range_end"],
                " ".join(sorted(key.to_user_string() for key in run.asset_selection or ())),
            ]
            for run in instance.get_runs()
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    main()
