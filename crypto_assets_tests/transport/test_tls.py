"""TLS: certificates named by SSL_CERT_FILE are accepted, directly and through each kind of proxy, and no others."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.responses import PlainTextResponse

from crypto_assets.errors import HostUnreachable, Stopped
from crypto_assets.transport.client import Client
from crypto_assets_tests.transport.answers import ARCHIVE
from crypto_assets_tests.transport.proxy_servers import connect, http_proxy, relay, socks_proxy

NAMES, ADDRESSES = ("archive.example", "localhost"), ("127.0.0.1", "2001:db8::1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for NAMES and ADDRESSES, with its key, in a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    places = [*map(x509.DNSName, NAMES), *(x509.IPAddress(ipaddress.ip_address(one)) for one in ADDRESSES)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The certificate is accepted, and no proxy is named."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


@contextlib.contextmanager
def behind_tls(target: str, certificate: Path) -> Iterator[str]:
    """Run a TLS front for `target`; yields its host:port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as near,
                connect(target) as far,
            ):
                relay(near, far)

    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def target(serve, certificate: Path) -> Iterator[str]:
    """The host:port of a TLS server that answers with the requested host and path."""

    async def answer(request):
        return PlainTextResponse(f"{request.headers['host']}{request.url.path}" + "x" * 50_000)

    with behind_tls(urlsplit(serve(answer).url).netloc, certificate) as place:
        yield place


def asked(client: Client, url: str) -> str:
    return client.at(ARCHIVE).get(url).text.rstrip("x")


def test_a_host_is_asked_over_tls(target, trusted, guard):
    with Client(guard, attempts=1) as client:
        assert asked(client, f"https://{target}/a") == f"{target}/a"
        assert asked(client, f"https://{target}/b") == f"{target}/b"


def test_a_certificate_that_nobody_named_is_not_accepted(target, trusted, guard, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    named = pytest.raises(HostUnreachable, match=r"its TLS certificate is not accepted .*SSL_CERT_FILE")
    with Client(guard, attempts=1) as client, named:
        asked(client, f"https://{target}/a")


def test_a_certificate_of_another_name_is_not_accepted(target, trusted, guard, monkeypatch):
    with http_proxy(target) as proxy, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with pytest.raises(HostUnreachable, match="its TLS certificate is not accepted"):
            asked(client, "https://other.example/a")


def test_tls_goes_through_the_tunnel_of_an_http_proxy(target, trusted, guard, monkeypatch):
    with http_proxy(target, password="s3cret") as proxy, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret@{proxy.address}")
        assert asked(client, "https://archive.example/a") == "archive.example/a"
        assert proxy.asked == ["archive.example:443"]
        assert proxy.users == ["user:s3cret"]


def test_tls_goes_through_a_proxy_that_is_asked_over_tls_itself(target, trusted, guard, monkeypatch):
    with http_proxy(target) as proxy, behind_tls(proxy.address, trusted) as front, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{front}")
        assert asked(client, "https://archive.example/a") == "archive.example/a"
        assert proxy.asked == ["archive.example:443"]


def test_tls_goes_through_a_socks_proxy(target, trusted, guard, monkeypatch):
    with socks_proxy(target) as proxy, Client(guard, attempts=1) as client:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
        assert asked(client, "https://archive.example/a") == "archive.example/a"
        assert proxy.asked == ["archive.example:443"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_certificate_of_an_ipv6_address_counts_through_a_tunnel(target, trusted, guard, monkeypatch, scheme):
    with http_proxy(target) as proxy, behind_tls(proxy.address, trusted) as front, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{front if scheme == 'https' else proxy.address}")
        assert asked(client, "https://[2001:db8::1]/a") == "[2001:db8::1]/a"
        assert proxy.asked == ["[2001:db8::1]:443"]


# ---- a proxy with an https URL: TLS inside TLS --------------------------------------------------------------------------


def test_a_connection_inside_tls_is_kept_for_the_next_request(target, trusted, guard, monkeypatch):
    with http_proxy(target) as proxy, behind_tls(proxy.address, trusted) as front, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{front}")
        bodies = [client.at(ARCHIVE).get(f"https://archive.example/{name}").text for name in "abc"]
        assert bodies == [f"archive.example/{name}" + "x" * 50_000 for name in "abc"]
        assert proxy.asked == ["archive.example:443"]


def test_a_certificate_of_another_name_inside_tls_is_not_accepted(target, trusted, guard, monkeypatch):
    with http_proxy(target) as proxy, behind_tls(proxy.address, trusted) as front, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{front}")
        with pytest.raises(HostUnreachable, match="its TLS certificate is not accepted"):
            asked(client, "https://other.example/a")


@contextlib.contextmanager
def https_proxy(stack: contextlib.ExitStack, far: str, certificate: Path, silent: str) -> Iterator[str]:
    """Yield the host:port of a proxy over TLS before the server `far`; which part of the way is `silent` differs."""
    if silent == "proxy":
        yield far
        return
    target = far if silent == "handshake" else stack.enter_context(behind_tls(far, certificate))
    yield stack.enter_context(behind_tls(stack.enter_context(http_proxy(target)).address, certificate))


@pytest.mark.parametrize("silent", ["proxy", "handshake", "head"])
def test_a_stop_ends_a_request_through_a_proxy_that_is_asked_over_tls(trusted, guard, monkeypatch, silent):
    stop = threading.Event()
    with contextlib.ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as far:
        front = stack.enter_context(https_proxy(stack, f"127.0.0.1:{far.getsockname()[1]}", trusted, silent))
        monkeypatch.setenv("HTTPS_PROXY", f"https://{front}")
        kept = []
        threading.Thread(target=lambda: (kept.append(far.accept()), stop.set()), daemon=True).start()
        monkeypatch.setattr("crypto_assets.transport.client._CONNECT_TIMEOUT_S", 60.0)
        with Client(guard, stop=stop, timeout_s=60, attempts=1) as client:
            began = time.monotonic()
            with pytest.raises(Stopped):
                client.at(ARCHIVE).get("https://archive.example/x")
            assert time.monotonic() - began < 20


def test_a_head_that_drips_through_a_proxy_over_tls_is_given_up_in_time(trusted, guard, monkeypatch):
    """Each byte comes well within the timeout, and the head never ends."""

    class Dripping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                self.request.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                for _ in range(400):  # 20 s: where the bound fails, the test ends too
                    time.sleep(0.05)
                    self.request.sendall(b"y")

    with contextlib.ExitStack() as stack, socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as far:
        threading.Thread(target=far.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        front = stack.enter_context(https_proxy(stack, f"127.0.0.1:{far.server_address[1]}", trusted, ""))
        monkeypatch.setenv("HTTPS_PROXY", f"https://{front}")
        with (
            Client(guard, timeout_s=1, attempts=1) as client,
            pytest.raises(HostUnreachable, match="no answer within 1 s"),
        ):
            client.at(ARCHIVE).get("https://archive.example/x")
        far.shutdown()
