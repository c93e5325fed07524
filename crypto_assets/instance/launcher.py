"""A run launcher that detects a run whose process died together with its code server.

With the stock launcher such a run (a machine that went down, a killed container) stays STARTED forever. Here run
monitoring asks the code server about each run, and marks the run failed after a grace period without a good answer
(22.6 s after the server came back, measured with the default grace); `dagster/max_retries` then starts it again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from dagster import DagsterRun, Field, Float
from dagster._config.config_schema import UserConfigSchema
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import ConfigurableClassData, deserialize_value

from crypto_assets.config.environment import settings
from crypto_assets.ledger.pauses import Controls
from crypto_assets.machine.run_process import PROCESS_TAG, is_gone
from crypto_assets.storage import postgres_url
from crypto_assets.storage.database import Database

_CALL_TIMEOUT_S = 5


class HealthRunLauncher(DefaultRunLauncher):
    """The stock launcher, with a health check for run monitoring."""

    def __init__(self, inst_data: ConfigurableClassData | None = None, grace_s: float = 20.0) -> None:
        """Set the launcher up.

        Args:
            inst_data: for Dagster's own use.
            grace_s: seconds without a good answer before a run counts as lost. A restarting code server needs some, and so
                does a finished run until its last event arrives.
        """
        super().__init__(inst_data)
        self._grace_s = grace_s
        self._silent_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of `config:` in dagster.yaml."""
        return {"grace_s": Field(Float, is_required=False, default_value=20.0)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> HealthRunLauncher:
        """Return the launcher that dagster.yaml describes; called by Dagster."""
        return cls(inst_data, **config_value)

    def terminate(self, run_id: str) -> bool:
        """End a run; a run of `crypto-assets collect` is asked through Postgres, no code server knows it."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or run.tags.get(PROCESS_TAG) is None or is_gone(run.tags[PROCESS_TAG]):
            return bool(super().terminate(run_id))
        self._instance.report_run_canceling(run)
        with Database(postgres_url(settings()), connections=1) as database:
            Controls(database).cancel(run_id, "Dagster")
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: run monitoring calls `check_run_worker_health` for every run in progress."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return RUNNING, or NOT_FOUND once the run has been unknown or unreachable for the grace period.

        A run of `crypto-assets collect` is looked up among the processes of this machine. A run started neither by the code
        server nor by us (`dagster asset materialize`) counts as RUNNING: there is nothing to ask.
        """
        process = run.tags.get(PROCESS_TAG)
        if process is not None:
            if is_gone(process):
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the process of the command line has ended")
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        problem = None
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=_CALL_TIMEOUT_S)
            if not deserialize_value(answer, CanCancelExecutionResult).can_cancel:
                problem = "the code server does not know this run"
        except Exception as error:
            problem = f"the code server that started it cannot be reached: {type(error).__name__}"
        if problem is None:
            self._silent_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        since = self._silent_since.setdefault(run.run_id, time.monotonic())
        if time.monotonic() - since < self._grace_s:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._silent_since[run.run_id]
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"{problem}, for {self._grace_s:g} s")
