"""TLS: certificates named by SSL_CERT_FILE are accepted, directly and through each kind of proxy, and no others."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.responses import PlainTextResponse

from crypto_assets.errors import HostUnreachable
from crypto_assets.transport.client import Client
from crypto_assets_tests.transport.answers import ARCHIVE
from crypto_assets_tests.transport.proxy_servers import connect, http_proxy, relay, socks_proxy

NAMES = ("archive.example", "localhost")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for NAMES and 127.0.0.1, with its key, in a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    places = [*map(x509.DNSName, NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
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
