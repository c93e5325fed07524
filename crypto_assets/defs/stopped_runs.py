"""Ends a stopped Dagster run as CANCELED, however it was stopped."""

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
    """Return who requested a run, from its tags."""
    for tag in (WHY_TAG, "dagster/sensor_name", "dagster/schedule_name"):
        if tag in tags:
            return tags[tag]
    return "backfill" if "dagster/backfill" in tags else "dagster"


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """Reduce a run's failure in Dagster to one line, as in a command; the full error is in the log of the home.

    Dagster would show and store the whole chain of causes, with SQL and parameters.
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
    """End a run as CANCELED if its block was interrupted or raised Stopped.

    Dagster does so only if somebody had asked for it in the UI before (job_execution_iterator in
    dagster/_core/execution/api.py); after a SIGTERM, a Ctrl-C or our own cancel it would be a FAILURE. If the process ran out
    of a resource, one line says which.
    """
    try:
        yield
    except (Stopped, KeyboardInterrupt, DagsterExecutionInterruptedError) as stopped:
        run = context.instance.get_run_by_id(context.run.run_id)
        if run is not None and run.status not in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED):
            with suppress(Exception):  # the run ends anyway
                context.instance.report_run_canceling(run, message=str(stopped) or "The process was asked to end.")
        if isinstance(stopped, Stopped):
            raise DagsterExecutionInterruptedError(str(stopped)) from stopped
        raise
    except Exception as error:
        raise_if_ours(error)
        raise
