"""Run the API under uvicorn."""

from __future__ import annotations

import uvicorn

from crypto_assets.access.callers import require_host
from crypto_assets.api.app import create_app
from crypto_assets.api.bounds import Impatient
from crypto_assets.config.environment import settings_at_start
from crypto_assets.config.loopback import keep_loopback_direct
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.symbol_rules import load_known_collection
from crypto_assets.machine.ports import HOST, require_free
from crypto_assets.storage import postgres_url
from crypto_assets.storage.migrations import migrate


def serve(port: int, host: str = HOST) -> None:
    """Serve on a port of this machine until interrupted.

    Raises:
        ConfigError: the collection cannot be read, the port is in use, or the host is open to other machines
            while the settings are not.
        PostgresUnavailable: Postgres does not answer.
    """
    keep_loopback_direct()
    now = settings_at_start()
    require_host(host, now.ui_users)
    require_free(port, "--port", host)
    load_known_collection(now.config)  # report a mistake in it now; later it is the answer of the routes that need it
    url = postgres_url(now, make=False)
    migrate(url)
    config = uvicorn.Config(
        create_app(url, now.config),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="on",
        http=Impatient,
        server_header=False,
        proxy_headers=False,  # with them a header could change the caller's address
        timeout_graceful_shutdown=2,
    )
    try:
        socket = config.bind_socket()
    except SystemExit:  # uvicorn logged the reason
        raise ConfigError(f"port {port}: expected it to be free; choose another with --port") from None
    uvicorn.Server(config).run([socket])
