"""Cancels a run from outside: through Dagster, and through Postgres where Dagster cannot reach it."""

from __future__ import annotations

from crypto_assets.ledger.pauses import Controls
from crypto_assets.ledger.progress import Progress
from crypto_assets.storage.database import Database


def cancel(database: Database, progress: Progress, who: str, reason: str = "") -> bool:
    """Ask a run to end; it ends within a second if its process lives. Return False if it has already ended.

    The run reads the request from Postgres, wherever it runs. Dagster is asked too: it ends a run that waits in the queue,
    and learns that a run whose process is dead is not wanted any more.
    """
    run_id = progress.run_id
    Controls(database).cancel(run_id, who, reason)
    # Dagster costs 1.5 CPU seconds to import; only a cancel needs it.

    from crypto_assets.config.dagster_home import use_dagster_home
    from crypto_assets.defs.recovery import end_as_in_dagster
    from crypto_assets.instance.dagster_instance import opened_instance

    use_dagster_home()
    with opened_instance() as instance:
        if end_as_in_dagster(instance, database, progress):
            Controls(database).forget(run_id)
            return False
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.run_coordinator.cancel_run(run_id)
    return True
