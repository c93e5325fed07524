"""A pooler in transaction mode: it lends one of its Postgres sessions for a transaction, then to the next client.

It knows enough of the protocol for statements one after another; no COPY, no TLS, one user and database.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

_SSL, _GSS = 80877103, 80877104


def _exactly(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = sock.recv(count - len(found))
        if not piece:
            raise ConnectionError("closed")
        found += piece
    return found


def _message(sock: socket.socket) -> tuple[bytes, bytes]:
    """Return the kind of one message, and all of its bytes."""
    head = _exactly(sock, 5)
    return head[:1], head + _exactly(sock, struct.unpack("!I", head[1:])[0] - 4)


def _until_ready(sock: socket.socket) -> tuple[bytes, bytes]:
    """Return a server's messages up to ReadyForQuery, and the state of its transaction then."""
    said = b""
    while True:
        kind, content = _message(sock)
        said += content
        if kind == b"Z":
            return said, content[-1:]


class _Sessions:
    """The free sessions; the one that became free last is lent first, as pgbouncer does, or last."""

    def __init__(self, address: Path, first_in: bool) -> None:
        self._address = address
        self._first_in = first_in
        self._free: list[tuple[socket.socket, bytes]] = []
        self._lock = threading.Lock()

    def take(self, startup: bytes) -> tuple[socket.socket, bytes]:
        with self._lock:
            if self._free:
                return self._free.pop(0 if self._first_in else -1)
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(self._address))
        made.sendall(startup)
        return made, _until_ready(made)[0]

    def give(self, session: tuple[socket.socket, bytes]) -> None:
        with self._lock:
            self._free.append(session)

    def close(self) -> None:
        for sock, _ in self._free:
            sock.close()


@contextmanager
def transaction_pooler(url: str, *, first_in: bool = False, late: int = 0) -> Iterator[str]:
    """Yield the URL of a database behind a pooler.

    Args:
        first_in: sessions are lent in turn.
        late: so many sessions are given back only when the client has had time to ask again, as by another thread.
    """
    parts = conninfo_to_dict(url)
    sessions = _Sessions(Path(str(parts["host"])) / f".s.PGSQL.{parts.get('port') or 5432}", first_in)
    delays = iter([0.1] * late)

    class Client(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):
                self._serve(self.request)

        def _serve(self, client: socket.socket) -> None:
            while True:
                size, code = struct.unpack("!II", head := _exactly(client, 8))
                if code not in (_SSL, _GSS):
                    break
                client.sendall(b"N")
            startup = head + _exactly(client, size - 8)
            session = sessions.take(startup)
            client.sendall(session[1])
            sessions.give(session)
            while True:
                kind, content = _message(client)
                if kind == b"X":
                    return
                session = sessions.take(startup)
                while True:
                    session[0].sendall(content)
                    if kind in (b"Q", b"S"):
                        said, state = _until_ready(session[0])
                        if state == b"I":
                            break
                        client.sendall(said)
                    kind, content = _message(client)
                if delay := next(delays, 0):
                    client.sendall(said)
                    time.sleep(delay)
                    sessions.give(session)
                else:
                    sessions.give(session)
                    client.sendall(said)

    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Client) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"postgresql://{parts['user']}@127.0.0.1:{server.server_address[1]}/{parts['dbname']}"
        server.shutdown()
    sessions.close()
