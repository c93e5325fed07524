"""The route to a host: through the proxy in the environment, and never through one to this machine."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse

from crypto_assets.errors import ConfigError, HostRefused, HostUnreachable
from crypto_assets.transport.client import Client
from crypto_assets.transport.proxies import proxy_for, shown_proxy
from crypto_assets_tests.transport.answers import ARCHIVE
from crypto_assets_tests.transport.proxy_servers import http_proxy, socks_proxy

NOBODY = "http://127.0.0.1:9"


async def _path(request):
    return PlainTextResponse(f"{request.headers['host']}{request.url.path}")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """An environment without proxies."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def target(serve):
    """The host:port of a server that answers with the requested host and path."""
    return urlsplit(serve(_path).url).netloc


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_host_is_asked_through_the_proxy_of_the_environment(target, monkeypatch, variable, guard):
    with http_proxy(target) as proxy, Client(guard) as client:
        monkeypatch.setenv(variable, f"http://{proxy.address}")
        assert client.at(ARCHIVE).get("http://archive.example/data/x.zip").text == "archive.example/data/x.zip"
        assert proxy.asked == ["archive.example"]


def test_a_proxy_without_a_scheme_is_one_that_speaks_http(target, monkeypatch, guard):
    with http_proxy(target) as proxy, Client(guard) as client:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        assert client.at(ARCHIVE).get("http://archive.example/x").text == "archive.example/x"


def test_https_is_asked_through_a_tunnel(target, monkeypatch, guard):
    with http_proxy(target) as proxy, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        # The server behind the tunnel has no TLS: the tunnel is made, the handshake fails.
        with pytest.raises(HostUnreachable, match=rf"archive\.example: .* through the proxy http://{proxy.address}"):
            client.at(ARCHIVE).get("https://archive.example/x")
        assert proxy.asked == ["archive.example:443"]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_host_is_asked_through_a_socks_proxy_which_resolves_its_name(target, monkeypatch, scheme, guard):
    with socks_proxy(target) as proxy, Client(guard) as client:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{proxy.address}")
        assert client.at(ARCHIVE).get("http://archive.example/x").text == "archive.example/x"
        assert proxy.asked == ["archive.example:80"]


def test_an_ipv6_address_goes_through_an_http_proxy_in_brackets(target, monkeypatch, guard):
    with http_proxy(target) as proxy, Client(guard, attempts=1) as client:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, f"http://{proxy.address}")
        assert client.at(ARCHIVE).get("http://[2001:db8::1]:81/x").text == "[2001:db8::1]:81/x"
        assert client.at(ARCHIVE).get("http://[2001:db8::1]/x").text == "[2001:db8::1]/x"
        with pytest.raises(HostUnreachable):  # the server behind the tunnel has no TLS
            client.at(ARCHIVE).get("https://[2001:db8::1]/x")
        assert proxy.asked == ["[2001:db8::1]:81", "[2001:db8::1]", "[2001:db8::1]:443"]


def test_an_ipv6_address_goes_through_a_socks_proxy_as_an_address(target, monkeypatch, guard):
    with socks_proxy(target) as proxy, Client(guard) as client:
        monkeypatch.setenv("ALL_PROXY", f"SOCKS5://{proxy.address}")
        assert client.at(ARCHIVE).get("http://[2001:db8::1]:81/x").text == "[2001:db8::1]:81/x"
        assert proxy.asked == ["20010db8000000000000000000000001:81"]


def test_this_machine_is_asked_straight_whatever_the_environment_says(target, monkeypatch, guard):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, NOBODY)
    with Client(guard, attempts=1) as client:
        assert client.at(ARCHIVE).get(f"http://{target}/x").text == f"{target}/x"
        port = target.partition(":")[2]
        assert client.at(ARCHIVE).get(f"http://localhost:{port}/x").text == f"localhost:{port}/x"


@pytest.mark.parametrize(
    ("url", "without", "straight"),
    [
        ("http://127.4.5.6/x", "", True),
        ("http://[::1]:80/x", "", True),
        ("http://localhost:9000/x", "", True),
        ("http://archive.example/x", "", False),
        ("http://archive.example/x", "archive.example", True),
        ("http://archive.example/x", ".example", True),
        ("http://archive.example:81/x", "archive.example:82", False),
        ("http://10.1.2.3/x", "10.0.0.0/8", True),
        ("http://11.1.2.3/x", "10.0.0.0/8", False),
        ("http://[2001:db8::1]/x", "[2001:db8::1]", True),
        ("http://[2001:db8::1]:81/x", "a.example, [2001:DB8:0::1]", True),
        ("http://[2001:db8::1]:81/x", "[2001:db8::1]:81", True),
        ("http://[2001:db8::1]:81/x", "[2001:db8::1]:82", False),
        ("http://[2001:db8::1]:81/x", "2001:db8::1", True),
        ("http://[2001:db8::1]/x", "2001:db8::/32", True),
        ("http://[2001:db8::1]/x", "[2001:db8::2]", False),
        ("http://archive.example/x", "*", True),
        ("https://archive.example/x", "", True),
    ],
)
def test_hosts_that_are_asked_straight(monkeypatch, url, without, straight):
    monkeypatch.setenv("http_proxy", NOBODY)
    monkeypatch.setenv("no_proxy", without)
    assert proxy_for(url) == (None if straight else NOBODY)


def test_user_and_password_go_to_the_proxy_and_into_no_message(target, monkeypatch, guard):
    with http_proxy(target, password="s3cret") as proxy, Client(guard, attempts=1) as client:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:s3cret@{proxy.address}")
        assert client.at(ARCHIVE).get("http://archive.example/x").text == "archive.example/x"
        monkeypatch.setenv("HTTP_PROXY", f"http://user:wr0ng@{proxy.address}")
        with pytest.raises(
            HostRefused, match=rf"407 .* through the proxy http://{proxy.address}; .*password"
        ) as caught:
            client.at(ARCHIVE).get("http://archive.example/x")
        assert "wr0ng" not in str(caught.value) + repr(caught.value.evidence)
        assert proxy.users[0] == "user:s3cret"


def test_a_proxy_that_nobody_runs_is_named_without_its_password(monkeypatch, guard):
    monkeypatch.setenv("HTTP_PROXY", "http://user:s3cret@127.0.0.1:9")
    with (
        Client(guard, attempts=1) as client,
        pytest.raises(HostUnreachable, match=r"proxy 127\.0\.0\.1:9 refuses .* archive\.example") as caught,
    ):
        client.at(ARCHIVE).get("http://archive.example/x")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("http://proxy:port", r"HTTP_PROXY: expected a URL such as http://proxy:8080, found 'http://proxy:port'"),
        ("http://", "HTTP_PROXY: expected a URL"),
        ("http://me:s3cret@:80", "HTTP_PROXY: expected a URL"),
        ("socks4://proxy:1080", "HTTP_PROXY: expected a proxy that starts with http://, https://, socks5://"),
        ("ftp://proxy", "HTTP_PROXY: expected a proxy that starts with"),
        (f"socks5://{'u' * 300}:s3cret@proxy", "HTTP_PROXY: expected a user and a password of at most 255 bytes each"),
        (
            f"socks5h://me:s3cret{'%C3%A9' * 128}@proxy",
            "HTTP_PROXY: expected a user and a password of at most 255 bytes",
        ),
    ],
)
def test_an_invalid_proxy_is_refused_with_its_variable_once_it_is_needed(target, monkeypatch, value, message, guard):
    monkeypatch.setenv("HTTP_PROXY", value)
    with Client(guard) as client:
        assert client.at(ARCHIVE).get(f"http://{target}/x").text == f"{target}/x"
        with pytest.raises(ConfigError, match=message) as caught:
            client.at(ARCHIVE).get("http://archive.example/x")
        assert "s3cret" not in str(caught.value)


def test_certificates_that_are_not_there_are_refused_by_their_variable(monkeypatch, tmp_path, guard):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE: expected a file with certificates, found that .*none\.pem"):
        Client(guard)
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="SSL_CERT_FILE: expected certificates in PEM"):
        Client(guard)


def test_a_proxy_is_shown_by_scheme_host_and_port():
    assert shown_proxy("http://me:secret@[::1]:8080/x") == "http://[::1]:8080"
    assert shown_proxy("socks5://proxy") == "socks5://proxy"


def test_a_request_in_flight_through_a_proxy_ends_with_the_run(monkeypatch, guard):
    """The proxy takes the connection and says nothing."""
    import threading

    from crypto_assets.errors import Stopped

    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent, Client(guard, stop=stop, timeout_s=60) as client:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        threading.Thread(target=lambda: (silent.accept(), stop.set()), daemon=True).start()
        with pytest.raises(Stopped):
            client.at(ARCHIVE).get("http://archive.example/x")
