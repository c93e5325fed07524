"""A Dagster code server that forks its run workers from a process with all imports done.

    python -m crypto_assets.instance.code_server api grpc --socket /…/code-server -m crypto_assets.definitions

takes the arguments of `dagster`. The stock server starts every worker with `spawn`: 2.6–4.4 s of CPU before the first
line of user code, for imports. Here a `forkserver` does the imports once (then 0.33 s a run). If that is impossible (the
platform has no forkserver, or Dagster no longer asks for `spawn` where expected), it runs as the stock server.

The preloaded modules must not open sockets, threads or connections at import. New code needs a new server.
"""

from __future__ import annotations

import importlib.util
import inspect
import multiprocessing
import os
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from crypto_assets.instance.child import obey_signals

_PRELOADED = (
    "dagster._grpc.impl",
    "dagster._grpc.server",
    "dagster._core.executor.in_process",
    "dagster._core.execution.api",
    "crypto_assets.instance.events",
    "crypto_assets.instance.storage",
    # Needed for checking rows: 0.7 CPU seconds to load; a forked run worker has it from the beginning.
    "pandas",
    "pandera.pandas",
)


def use_forkserver(modules: Sequence[str]) -> bool:
    """Make this process's code server fork its run workers, with `modules` imported; return whether it will."""
    problem = unsupported()
    if problem is not None:
        warnings.warn(f"run workers are started the slow, stock way: {problem}", stacklevel=2)
        return False
    forking = multiprocessing.get_context("forkserver")
    # A missing module would silently cost the preload (the forkserver ignores import errors).
    forking.set_forkserver_preload([name for name in (*modules, *_PRELOADED) if _exists(name)])
    stock = multiprocessing.get_context

    def get_context(method: str | None = None) -> Any:
        return forking if method == "spawn" else stock(method)

    multiprocessing.get_context = get_context
    return True


def unsupported() -> str | None:
    """Return why workers cannot be forked here, or None."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "this platform has no forkserver"
    from dagster._grpc import server

    if 'multiprocessing.get_context("spawn")' not in inspect.getsource(server):
        return "this Dagster does not start its workers with multiprocessing.get_context('spawn')"
    return None


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _modules(arguments: Sequence[str]) -> list[str]:
    """Return the code location's module, from `-m`."""
    return [value for option, value in pairwise(arguments) if option in ("-m", "--module-name")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `dagster` with these arguments in this process; fork run workers if possible."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Dagster ends on SIGTERM as on SIGINT: not at all if a shell's `&` made it ignore SIGINT.
    obey_signals()
    use_forkserver(_modules(arguments))
    # The forkserver inherits the working directory and the path; `dagster` puts the working directory first in the path.
    if os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    from dagster._cli import cli

    sys.argv = ["dagster", *arguments]
    cli(auto_envvar_prefix="DAGSTER_CLI")


if __name__ == "__main__":
    main()
