"""Ask one part whether it works, as a container's health check does; exit code 0: it answers, 1: it does not.

    python -m crypto_assets.instance.healthcheck daemon

`api` is healthy if the API, Postgres and the lake answer, and the code server and daemon of the same home, if they run.
"""

from __future__ import annotations

import argparse
import sys

import psycopg

from crypto_assets.config.environment import Settings, settings
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.instance.liveness import HEARTBEAT_S, answers_grpc, answers_http, last_heartbeat
from crypto_assets.instance.parts import CODE_SERVER, DAEMON, PARTS, WEBSERVER, code_socket
from crypto_assets.machine.ports import HOST
from crypto_assets.storage import postgres_url

API = "api"
PORTS = {WEBSERVER: 3000, API: 3001}
"""The ports that `up` and `api` listen on unless told otherwise."""


def answers(part: str, port: int | None = None) -> bool:
    """Return whether a part of this home answers.

    Args:
        part: one of PARTS, or API.
        port: of the webserver or the API; default: the usual one.
    """
    now = settings()
    if part == CODE_SERVER:
        return answers_grpc(code_socket(now.home))
    if part == DAEMON:
        return _beats(now)
    path = "server_info" if part == WEBSERVER else "healthz"
    return answers_http(f"http://{HOST}:{port or PORTS[part]}/{path}")


def _beats(now: Settings) -> bool:
    with psycopg.connect(postgres_url(now, make=False), connect_timeout=5, autocommit=True) as connection:
        found = last_heartbeat(connection)
    return found is not None and found.age_s <= HEARTBEAT_S


def main() -> None:
    """Read the part from the command line, ask it and exit."""
    words = argparse.ArgumentParser("crypto_assets.instance.healthcheck", description=__doc__)
    words.add_argument("part", choices=(*PARTS, API))
    words.add_argument("--port", type=int)
    given = words.parse_args()
    try:
        well, found = answers(given.part, given.port), "no answer"
    except (CryptoAssetsError, psycopg.Error) as error:
        well, found = False, str(error)
    if not well:
        sys.exit(f"{given.part}: expected an answer, found {found}")


if __name__ == "__main__":
    main()
