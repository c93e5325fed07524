"""`api`: the HTTP API alone; `up` runs it too."""

from __future__ import annotations

import click

from crypto_assets.cli.console import out
from crypto_assets.cli.options import HOST_OPTION


@click.command()
@click.option("--port", default=3001, show_default=True, help="Port of the API.")
@HOST_OPTION
def api(port: int, host: str) -> None:
    """Run the HTTP API until Ctrl-C.

    Programs ask it what is stored, missing and running; it can also pause and resume.
    """
    from crypto_assets.access.callers import require_host
    from crypto_assets.api.server import serve
    from crypto_assets.config.environment import settings
    from crypto_assets.machine.ports import require_free

    require_host(host, settings().ui_users)
    require_free(port, "--port", host)
    out.print(f"API  http://127.0.0.1:{port}/v1")
    serve(port, host)


SECTION = "Run"
COMMANDS = (api,)
