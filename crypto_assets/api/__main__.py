"""`python -m crypto_assets.api --port 3001`: run the API in the foreground."""

from __future__ import annotations

import argparse

from crypto_assets.api.server import serve


def main() -> None:
    """Read the port from the command line and serve."""
    words = argparse.ArgumentParser("crypto_assets.api", description=__doc__)
    words.add_argument("--port", type=int, required=True)
    serve(words.parse_args().port)


if __name__ == "__main__":
    main()
