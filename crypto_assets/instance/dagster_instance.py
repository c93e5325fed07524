"""Open the Dagster instance of a dagster.yaml; report any fault of the file or its storage in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._check import CheckError
from dagster._core.errors import DagsterError

from crypto_assets.errors import ConfigError, CryptoAssetsError, OtherVersion
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.storage.revisions import NO_WAY_BACK


@contextmanager
def opened_instance() -> Iterator[dg.DagsterInstance]:
    """Yield the instance of DAGSTER_HOME.

    Raises:
        OtherVersion: a newer dagster has migrated its tables.
        ConfigError: dagster.yaml names something missing, or something unknown to Dagster.
    """
    with _opened() as instance:
        yield instance


def _opened() -> dg.DagsterInstance:
    from alembic.util.exc import CommandError

    file = Path(os.environ.get("DAGSTER_HOME", ".")) / "dagster.yaml"
    try:
        instance = dg.DagsterInstance.get()
    except CommandError as error:  # of Dagster's own SQLite or Postgres storage; our storage reports it itself
        raise _newer(file, str(error)) from error
    except (DagsterError, CheckError, ImportError, AttributeError, ValueError, TypeError) as error:
        raise_if_ours(error)
        for one in (error, error.__cause__, error.__context__):
            if isinstance(one, CryptoAssetsError):
                raise one from error
        found = " ".join(str(error).split())[:300] or type(error).__name__
        problem = ConfigError(
            f"{file}: expected an instance that dagster {dg.__version__} can open, found: {found}; correct the file, or use "
            "the project's own again; if it is the project's own, please report it"
        )
        # Dagster names errors in the file; other errors may be our mistake.
        problem.explained = isinstance(error, DagsterError | CheckError | ImportError)
        raise problem from error
    _require_known(instance, file)
    return instance


def _require_known(instance: dg.DagsterInstance, file: Path) -> None:
    """Check the table versions of Dagster's own storages, which do not check them; ours does when it is opened."""
    from crypto_assets.instance.storage import InstanceStorage, knows_revision

    data = instance.get_ref().storage_data
    if data is not None and data.module_name == InstanceStorage.__module__:
        return
    for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
        version = storage.alembic_version() if storage is not None else None
        found = version[0] if version else None
        for revision in found if isinstance(found, tuple) else (found,):
            if revision and not knows_revision(str(revision)):
                raise _newer(file, f"revision {str(revision)[:40]!r}")


def _newer(file: Path, found: str) -> OtherVersion:
    return OtherVersion(
        f"Dagster's tables, as {file} names them: dagster {dg.__version__} does not know their version ({found}): "
        f"a newer one has migrated them. Update this installation; {NO_WAY_BACK}"
    )
