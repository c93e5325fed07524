"""Private names of Dagster that other folders need; tests fail when a new Dagster moves them."""

from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

__all__ = [
    "IN_PROGRESS_RUN_STATUSES",
    "AssetCheckExecutionRecordStatus",
    "DagsterExecutionInterruptedError",
    "ReconstructableJob",
    "ReconstructableRepository",
]
