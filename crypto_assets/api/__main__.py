"""`python -m crypto_assets.api --port 3001`: run the API in the foreground."""

from __future__ import annotations

import argparse

from crypto_assets.api.server import serve
from crypto_assets.machine.ports import HOST, HOSTS


def main() -> None:
    """Read port and host from the command line and serve."""
    words = argparse.ArgumentParser("crypto_assets.api", description=__doc__)
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--host", choices=HOSTS, default=HOST)
    given = words.parse_args()
    serve(given.port, given.host)


if __name__ == "__main__":
    main()
