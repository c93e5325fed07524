"""Whatever a proxy answers, the request ends with a known failure, and its connection is closed."""

from __future__ import annotations

import contextlib
import gc
import itertools
import socketserver
import threading
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crypto_assets.errors import HostUnreachable, PermanentError
from crypto_assets.transport.client import Client
from crypto_assets.transport.connections import Routes
from crypto_assets.transport.network import Network
from crypto_assets_tests.transport.answers import ARCHIVE

PIECES = st.binary(max_size=30) | st.sampled_from(
    [
        b"\x05\x00",
        b"\x05\x02",
        b"\x05\xff",
        b"\x01\x00",
        b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00",
        b"\x05\x00\x00\x03\x02\xff\xff\x00\x00",
        b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 407 \xff\r\n\r\n",
        b"HTTP/1.1 099 No\r\n",
        b"HTTP/9.9 200\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x03\x00\x02\x00\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
    ]
)


class Answers:
    """A server that answers each piece it receives with the next of `pieces`, and then closes the connection."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.address = ""


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    made = Answers()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(0.05)  # a client that waits for more than it gets says nothing
            with contextlib.suppress(OSError):
                for piece in made.pieces:
                    self.request.recv(65_536)
                    self.request.sendall(piece)
                self.request.recv(65_536)

    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        made.address = f"127.0.0.1:{server.server_address[1]}"
        yield made
        server.shutdown()


@pytest.fixture
def proxy(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> Answers:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return answers


@pytest.mark.parametrize(
    ("proxy_url", "url"),
    [
        (f"{kind}://{user}", f"{scheme}://archive.example/x")
        for kind, user, scheme in itertools.product(("socks5", "http", "https"), ("", "me:secret@"), ("http", "https"))
    ],
)
def test_any_reply_of_a_proxy_is_an_answer_or_a_known_failure(
    proxy: Answers, monkeypatch: pytest.MonkeyPatch, proxy_url: str, url: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy_url + proxy.address)
    network = Network()
    with httpx.Client(transport=Routes(network, idle=0), timeout=10, trust_env=False) as client:

        @settings(deadline=None, max_examples=25)
        @given(st.lists(PIECES, max_size=4))
        @example([])
        @example([b""])
        @example([b"\x05"])
        @example([b"\x05\x00", b"\x05"])
        @example([b"\x05\x00", b"\x05\x00\x00\x03\x02\xff\xff\x00\x00"])
        @example([b"\x05\x02", b"\x01"])
        @example([b"garbage\r\n\r\n"])
        def ask(pieces: list[bytes]) -> None:
            proxy.pieces = pieces
            with contextlib.suppress(httpx.TransportError):
                assert client.get(url).status_code in range(100, 1000)

        ask()
        gc.collect()
        assert list(network._sockets) == [], "connections were left open"


@pytest.mark.parametrize("pieces", [[], [b"\x05"], [b"garbage"], [b"\x05\x00", b"\x05\x00"]])
def test_a_socks_proxy_that_does_not_speak_socks_is_named(
    proxy: Answers, monkeypatch: pytest.MonkeyPatch, guard, pieces: list[bytes]
) -> None:
    proxy.pieces = pieces
    monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
    expected = (
        rf"^proxy {proxy.address} does not let us reach archive\.example: its answer is not SOCKS \(Malformed reply\)"
    )
    with Client(guard, attempts=1) as client, pytest.raises(HostUnreachable, match=expected):
        client.at(ARCHIVE).get("http://archive.example/x")


@pytest.mark.parametrize("name", ["a" * 64, "a..example", f"{'abc.' * 63}example"])
@pytest.mark.parametrize("proxied", [False, True])
def test_a_text_that_cannot_be_a_host_name_is_no_url(
    proxy: Answers, monkeypatch: pytest.MonkeyPatch, guard, name: str, proxied: bool
) -> None:
    if proxied:
        monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
    with (
        Client(guard, attempts=1) as client,
        pytest.raises(PermanentError, match=r"not a URL .*host name of at most 253"),
    ):
        client.at(ARCHIVE).get(f"http://{name}/x")
