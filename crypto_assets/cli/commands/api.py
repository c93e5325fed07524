"""`api`: the HTTP API alone; `up` runs it too."""

from __future__ import annotations

import click

from crypto_assets.cli.console import out


@click.command()
@click.option("--port", default=3001, show_default=True, help="Port of the API on 127.0.0.1.")
def api(port: int) -> None:
    """Run the HTTP API until Ctrl-C.

    Programs ask it what is stored, missing and running; it can also pause and resume.
    """
    from crypto_assets.api.server import serve
    from crypto_assets.machine.ports import require_free

    require_free(port, "--port")
    out.print(f"API  http://127.0.0.1:{port}/v1")
    serve(port)


SECTION = "Run"
COMMANDS = (api,)
