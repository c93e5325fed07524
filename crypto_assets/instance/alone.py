"""`crypto-assets up --only`: one part in the foreground, for a container; whoever runs the containers restarts it."""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

from crypto_assets.access.callers import require_host
from crypto_assets.config.dagster_home import use_dagster_home
from crypto_assets.config.environment import settings
from crypto_assets.config.home_folders import require_places
from crypto_assets.errors import ConfigError
from crypto_assets.instance.child import listens, obey_signals
from crypto_assets.instance.parts import CODE_SERVER, DAEMON, WEBSERVER, environment_of_parts, make_places, only_one
from crypto_assets.machine.ports import HOST, require_free
from crypto_assets.storage import postgres_url
from crypto_assets.storage.migrations import migrate

_POLL_S = 0.2


def run_alone(part: str, say: Callable[[str], None], ready: Callable[[], None], port: int, host: str = HOST) -> None:
    """Run a part until it is interrupted; the webserver and the daemon first wait for the code server.

    Args:
        part: one of `parts.PARTS`.
        say: called with a line about what it waits for.
        ready: called just before the part itself runs.
        port: of the webserver.
        host: of the webserver.

    Raises:
        ConfigError: the same part already runs in this home, the port is in use, or dagster.yaml is missing.
        PostgresUnavailable: Postgres does not answer.
    """
    use_dagster_home()
    now = settings()
    require_places(now)
    if part == WEBSERVER:
        require_host(host, now.ui_users)
        require_free(port, "--port", host)
    places = make_places(now.home)
    migrate(postgres_url(now))
    os.environ.update(environment_of_parts())
    obey_signals()
    with only_one(now.home, "the daemon") if part == DAEMON else nullcontext():
        if part == CODE_SERVER:
            if listens(places.socket):
                raise ConfigError(f"{places.socket}: a code server runs in this home already; end that one first")
            places.socket.unlink(missing_ok=True)  # left by one that was killed
        elif not listens(places.socket):
            say(f"waiting for the code server at {places.socket}; `crypto-assets up --only {CODE_SERVER}` starts it")
            while not listens(places.socket):
                time.sleep(_POLL_S)
        ready()
        sys.argv = list(places.command(part, port, host))
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
