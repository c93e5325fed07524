"""The words for a host that does not answer, with real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from crypto_assets.errors import HostUnreachable
from crypto_assets.transport.client import Client
from crypto_assets.transport.guard import Guard
from crypto_assets.transport.unreachable import failure_text
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.transport.answers import ARCHIVE


def failure_of(guard: Guard, url: str) -> str:
    with Client(guard, timeout_s=0.3, attempts=1) as client, pytest.raises(HostUnreachable) as caught:
        client.at(ARCHIVE).get(url)
    assert "[Errno" not in str(caught.value)
    assert str(caught.value).endswith("; check the network and the URLs in collection.yaml, then `crypto-assets fill`")
    return str(caught.value.evidence["failure"])


@contextmanager
def answering(data: bytes) -> Iterator[int]:
    """A port that sends some bytes after each write, then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(65_536)
                connection.sendall(data)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_name_that_no_resolver_knows(guard: Guard) -> None:
    assert (
        failure_of(guard, "https://no-such-host.invalid:8443/a")
        == "cannot resolve no-such-host.invalid (no DNS or no network)"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_on_which_nothing_listens(host: str, guard: Guard) -> None:
    port = free_port()
    assert failure_of(guard, f"http://{host}:{port}/a") == (
        f"{host}:{port} refuses connections (nothing listens on that port)"
    )


def test_a_host_that_accepts_and_says_nothing(guard: Guard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert failure_of(guard, f"http://127.0.0.1:{port}/a") == f"127.0.0.1:{port}: no answer within 0.3 s"


def test_a_host_that_speaks_no_tls(guard: Guard) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        found = failure_of(guard, f"https://127.0.0.1:{port}/a")
    assert found.startswith(f"127.0.0.1:{port}: no TLS connection (")
    assert found.endswith("); is it a host for https?")


def test_a_certificate_that_is_not_accepted_names_what_can_be_done() -> None:
    error = httpx.ConnectError("certificate verify failed")
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error.__context__ = cause
    assert failure_text("example.com", error) == (
        "example.com: its TLS certificate is not accepted (self-signed certificate); where a proxy or a private authority "
        "issues it, name that authority's file in SSL_CERT_FILE"
    )


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_proxy_that_cannot_be_reached_is_named_and_its_password_is_not(
    proxied: pytest.MonkeyPatch, guard: Guard
) -> None:
    port = free_port()
    proxied.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")
    assert failure_of(guard, "https://example.com/a") == (
        f"proxy 127.0.0.1:{port} refuses connections (nothing listens on that port); it is the way to example.com"
    )
    proxied.setenv("HTTPS_PROXY", "http://me:secret@no-such-proxy.invalid:3128")
    assert failure_of(guard, "https://example.com/a") == (
        "cannot resolve proxy no-such-proxy.invalid (no DNS or no network); it is the way to example.com"
    )


def test_a_proxy_that_refuses_is_named(proxied: pytest.MonkeyPatch, guard: Guard) -> None:
    with answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as port:
        proxied.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")
        assert failure_of(guard, "https://example.com/a") == (
            f"proxy 127.0.0.1:{port} does not let us reach example.com: 407 Proxy Authentication Required"
        )
