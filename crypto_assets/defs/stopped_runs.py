"""Ends a stopped Dagster run as CANCELED, however it was stopped.

A run that a person cancels is not repeated. A run that ends because its process was asked to end, as when `up` stops, hands
its discoveries back: `new_files` requests them again after the next start. Dagster itself repeats only runs that failed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

from crypto_assets.config.error_log import last_line
from crypto_assets.defs.resources import PostgresResource
from crypto_assets.errors import ConfigError, CryptoAssetsError, OutOfResources, Stopped, StoreUnavailable
from crypto_assets.instance.private_names import DagsterExecutionInterruptedError
from crypto_assets.ledger.discoveries import hand_back
from crypto_assets.machine.error_words import is_explained
from crypto_assets.machine.shortage import raise_if_ours, shortage

WHY_TAG = "crypto_assets/why"
COMMAND_LINE = "command line"
_RUN_KEY_TAG = "dagster/run_key"


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
def cancelled_if_stopped(context: Any, postgres: PostgresResource) -> Iterator[None]:
    """End a run as CANCELED if its block was interrupted or raised Stopped.

    Dagster does so only if somebody had asked for it in the UI before (job_execution_iterator in
    dagster/_core/execution/api.py); after a SIGTERM, a Ctrl-C or our own cancel it would be a FAILURE. If the process ran out
    of a resource, one line says which. Discoveries of a run that nobody has cancelled are handed back.
    """
    try:
        yield
    except (Stopped, KeyboardInterrupt, DagsterExecutionInterruptedError) as stopped:
        run = context.instance.get_run_by_id(context.run.run_id)
        if run is not None and run.status not in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED):
            with suppress(Exception):  # the run ends anyway
                # A signal that nobody announced; `crypto-assets cancel` raises Stopped, or Dagster is canceling already.
                again = not isinstance(stopped, Stopped) and _hand_back(run, postgres)
                context.instance.report_run_canceling(run, message=str(stopped) or _ASKED_TO_END[again])
        if isinstance(stopped, Stopped):
            raise DagsterExecutionInterruptedError(str(stopped)) from stopped
        raise
    except Exception as error:
        raise_if_ours(error)
        raise


_ASKED_TO_END = {
    False: "The process was asked to end.",
    True: "The process was asked to end. `new_files` requests these days again.",
}


def _hand_back(run: dg.DagsterRun, postgres: PostgresResource) -> bool:
    """Hand back the discoveries that a run was requested for; return whether there are any. Never raises."""
    key = run.tags.get(_RUN_KEY_TAG)
    if key is None or "dagster/sensor_name" not in run.tags:
        return False
    with suppress(Exception):  # without the database the days stay gaps, and `fill_gaps` finds them
        return hand_back(postgres.resolved_url(make=False), key, run.run_id) > 0
    return False
