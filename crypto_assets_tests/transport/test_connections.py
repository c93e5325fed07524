"""Connections: kept for the next request, and every failure of httpcore becomes one of httpx."""

from __future__ import annotations

import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor

import httpcore
import httpx
import pytest

from crypto_assets.transport.connections import Routes, _failures
from crypto_assets.transport.network import Network


def _kinds() -> list[type[Exception]]:
    """Return httpcore's failures that a caller can see, the most specific ones only."""
    public = [getattr(httpcore, name) for name in httpcore.__all__]
    failures = [kind for kind in public if isinstance(kind, type) and issubclass(kind, Exception)]
    special = [
        kind for kind in failures if not any(kind is not other and issubclass(other, kind) for other in failures)
    ]
    return [kind for kind in special if kind is not httpcore.ConnectionNotAvailable]  # internal to the pool


@pytest.mark.parametrize("kind", _kinds(), ids=lambda kind: kind.__name__)
def test_a_failure_of_httpcore_becomes_the_one_of_httpx_by_its_name(kind):
    with pytest.raises(httpx.TransportError, match="some words") as caught, _failures():
        raise kind("some words")
    assert type(caught.value) is getattr(httpx, kind.__name__)
    assert type(caught.value.__cause__) is kind


def test_a_connection_is_kept_for_the_next_request_and_ends_when_the_run_does():
    connections: list[int] = []
    ended = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            connections.append(1)
            while self.rfile.readline():
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
            ended.set()

    network = Network()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/a"
        with httpx.Client(transport=Routes(network, idle=2)) as client:
            assert [client.get(url).text for _ in range(3)] == ["body"] * 3
            assert connections == [1]
            network.shut()
            assert ended.wait(10)
            with pytest.raises(httpx.ConnectError, match="stopped"):
                client.get(url)
        server.shutdown()
    assert connections == [1]


def test_of_the_idle_connections_the_oldest_are_closed():
    together = threading.Barrier(2)
    ended: list[str] = []
    one_ended = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            paths = []
            while line := self.rfile.readline():
                paths.append(line.decode().split()[1])
                while self.rfile.readline().strip():
                    pass
                if paths[-1] != "/third":
                    together.wait(10)
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
            ended.append(" ".join(paths))
            one_ended.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with httpx.Client(transport=Routes(Network(), idle=1)) as client, ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(client.get, [f"{url}/first", f"{url}/second"]))
            assert [answer.text for answer in answers] == ["body", "body"]
            assert one_ended.wait(10)
            assert ended in (["/first"], ["/second"])
            kept = "/second" if ended == ["/first"] else "/first"
            assert client.get(f"{url}/third").text == "body"
        server.shutdown()
    assert ended[1:] == [f"{kept} /third"]
