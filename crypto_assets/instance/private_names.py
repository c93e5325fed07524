"""Private names of Dagster that other folders need; tests fail when a new Dagster moves them."""

from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

__all__ = [
    "IMPLICIT_ASSET_JOB_NAME",
    "IN_PROGRESS_RUN_STATUSES",
    "AssetCheckExecutionRecordStatus",
    "DagsterExecutionInterruptedError",
    "ReconstructableJob",
    "ReconstructableRepository",
    "UnresolvedAssetJobDefinition",
]
