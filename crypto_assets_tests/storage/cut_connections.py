"""Proxies that cut connections to Postgres."""

from __future__ import annotations

import select
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict


def end_connections(url: str) -> None:
    """End every other connection, and wait until they have ended."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}")


class LosesAnAnswer:
    """A proxy to Postgres that passes on a commit, chosen by `lose`, and cuts the connection before the answer returns."""

    def __init__(self, url: str) -> None:
        self._socket = f"{parse_qs(urlsplit(url).query)['host'][0]}/.s.PGSQL.{conninfo_to_dict(url).get('port', 5432)}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._words, self._left = b"COMMIT", 0
        self.lost = 0
        port = self._listener.getsockname()[1]
        user, name = (conninfo_to_dict(url)[key] for key in ("user", "dbname"))
        self.url = f"postgresql://{user}@127.0.0.1:{port}/{name}?sslmode=disable&gssencmode=disable"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._listener.close()

    def lose(self, number: int = 1, *, of: bytes = b"COMMIT") -> None:
        """Lose the answer to the n-th commit from now on, or to the n-th statement that contains some words."""
        self._words, self._left = of, number

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._socket)
            losing = False
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        losing = self._is_the_one(data)
                        server.sendall(data)
                    elif losing:  # committed, but the client gets no answer
                        self.lost += 1
                        return
                    else:
                        client.sendall(data)

    def _is_the_one(self, data: bytes) -> bool:
        if self._words not in data or not self._left:
            return False
        self._left -= 1
        return self._left == 0
