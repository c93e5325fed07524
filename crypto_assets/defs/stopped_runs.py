"""Ending a Dagster run that was stopped: the run is CANCELED, by whatever way it was asked to end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

from crypto_assets.config.error_log import last_line
from crypto_assets.errors import ConfigError, CryptoAssetsError, OutOfResources, Stopped, StoreUnavailable
from crypto_assets.instance.private_names import DagsterExecutionInterruptedError
from crypto_assets.machine.error_words import is_explained
from crypto_assets.machine.shortage import raise_if_ours, shortage

WHY_TAG = "crypto_assets/why"
COMMAND_LINE = "command line"


def asked_by(tags: Mapping[str, str]) -> str:
    """Return who asked for a run, by its tags."""
    for tag in (WHY_TAG, "dagster/sensor_name", "dagster/schedule_name"):
        if tag in tags:
            return tags[tag]
    return "backfill" if "dagster/backfill" in tags else "dagster"


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """Let a run that fails say one line in Dagster, as a command does; what led to it is in the log of the home.

    Dagster shows and stores the whole chain of causes, SQL and parameters included.
    """
    try:
        yield
    except (dg.Failure, Stopped, DagsterExecutionInterruptedError):
        raise
    except Exception as error:
        if is_explained(error):
            raise
        kind = type(shortage(error) or error)
        if not issubclass(kind, StoreUnavailable | OutOfResources | ConfigError):
            kind = CryptoAssetsError
        raise kind(last_line(error).splitlines()) from None


@contextmanager
def cancelled_if_stopped(context: Any) -> Iterator[None]:
    """Let a run whose block was interrupted or raised Stopped end CANCELED.

    Dagster makes it CANCELED only where somebody had asked for that in the UI before (job_execution_iterator in
    dagster/_core/execution/api.py); a SIGTERM, a Ctrl-C or our own cancel would be a FAILURE. What the process is out of is
    said in one line.
    """
    try:
        yield
    except (Stopped, KeyboardInterrupt, DagsterExecutionInterruptedError) as stopped:
        run = context.instance.get_run_by_id(context.run.run_id)
        if run is not None and run.status not in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED):
            with suppress(Exception):  # the run ends all the same
                context.instance.report_run_canceling(run, message=str(stopped) or "The process was asked to end.")
        if isinstance(stopped, Stopped):
            raise DagsterExecutionInterruptedError(str(stopped)) from stopped
        raise
    except Exception as error:
        raise_if_ours(error)
        raise
