"""Connections to hosts, kept for the next request to the same host through the same proxy.

httpx sends a request through any `httpx.BaseTransport`. Ours passes it to httpcore, whose connections take a
`network_backend`: sockets that end when the run is stopped (`network.py`). All of these are public interfaces.

Each connection is kept by itself. httpcore's pool looks at all of its connections at each request and at its end, and asks
the system about each idle one, under one lock: with eight connections that is a fifth of the CPU of a download, with one 7 %.
So only a way through a proxy has a pool, of one connection: httpcore has no other public form of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpcore
import httpx

from crypto_assets.config.environment import check_certificates
from crypto_assets.errors import ConfigError
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.transport.network import Network
from crypto_assets.transport.proxies import proxy_for, shown_proxy

_IDLE_S = 5.0
"""How long an idle connection is kept for the next request; httpx's default."""

_LONGEST_NAME, _LONGEST_LABEL = 253, 63

# httpcore and httpx use the same names for their failures.
_FAILURES: dict[type[Exception], type[httpx.TransportError]] = {
    getattr(httpcore, kind.__name__): kind
    for kind in (
        httpx.ConnectTimeout,
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        httpx.PoolTimeout,
        httpx.ConnectError,
        httpx.ReadError,
        httpx.WriteError,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.LocalProtocolError,
        httpx.RemoteProtocolError,
    )
}


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a connection leads, and through which proxy."""

    proxy: str | None
    scheme: bytes
    host: bytes
    port: int | None


class _Direct:
    """A connection to one host without a proxy, opened again if it has ended; for one request at a time."""

    def __init__(self, context: ssl.SSLContext, network: Network) -> None:
        self._ssl = context
        self._network = network
        self._connection: httpcore.HTTPConnection | None = None

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        if self._connection is not None and (self._connection.is_closed() or self._connection.has_expired()):
            self.close()
        if self._connection is None:
            self._connection = httpcore.HTTPConnection(
                request.url.origin,
                ssl_context=self._ssl,
                keepalive_expiry=_IDLE_S,
                network_backend=self._network,
            )
        return self._connection.handle_request(request)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_Line = _Direct | httpcore.ConnectionPool
"""One connection on a way."""


@dataclass(frozen=True, slots=True)
class _Idle:
    """A connection that waits for the next request; `since` is of `time.monotonic`."""

    line: _Line
    since: float


class Routes(httpx.BaseTransport):
    """Sends each request directly or through its proxy, over a connection of an earlier request if one is idle."""

    def __init__(self, network: Network, idle: int) -> None:
        """Prepare; no connection is opened yet.

        Args:
            network: opens the connections.
            idle: the most idle connections kept to one host through one proxy; connections in use have no bound here.

        Raises:
            ConfigError: SSL_CERT_FILE or SSL_CERT_DIR names a path that does not exist or has no certificates.
        """
        check_certificates()
        self._network = network
        self._most_idle = idle
        self._lock = threading.Lock()
        self._idle: dict[_Way, list[_Idle]] = {}
        self._used: set[_Line] = set()
        try:
            self._ssl = httpx.create_ssl_context()
        except (ssl.SSLError, OSError) as error:
            raise_if_ours(error, "the certificates")
            raise ConfigError(
                f"environment variable SSL_CERT_FILE: expected certificates in PEM, found an unreadable file ({error}); "
                "correct or unset it"
            ) from None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the head of an answer; its body is read later.

        Raises:
            httpx.TransportError: no answer.
            httpx.InvalidURL: a host name that no resolver can have.
            ConfigError: the variable that names the proxy has an invalid value.
        """
        url = request.url
        proxy = proxy_for(str(url))
        host = _checked_host(url)
        if proxy is not None and proxy.startswith("http") and b":" in host:
            # For an HTTP proxy httpcore writes the host as it is into `GET http://…` and CONNECT, where it needs brackets.
            host = b"[" + host + b"]"
        way = _Way(proxy, url.raw_scheme, host, url.port)
        line = self._taken(way)
        try:
            with _failures():
                response = line.handle_request(
                    httpcore.Request(
                        request.method,
                        httpcore.URL(scheme=way.scheme, host=host, port=way.port, target=url.raw_path),
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
        except BaseException:
            self._give_back(way, line)
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Pieces(response, lambda: self._give_back(way, line)),
            extensions=response.extensions,
        )

    def close(self) -> None:
        with self._lock:
            lines = [*self._used, *(one.line for idle in self._idle.values() for one in idle)]
            self._used.clear()
            self._idle.clear()
        for line in lines:
            line.close()

    def _taken(self, way: _Way) -> _Line:
        """Return the connection that was used last on a way, or a new one."""
        with self._lock:
            idle = self._idle.get(way)
            line = idle.pop().line if idle else self._new(way.proxy)
            self._used.add(line)
            return line

    def _give_back(self, way: _Way, line: _Line) -> None:
        """Keep a connection for the next request; close those that are too many or have been idle for too long."""
        now = time.monotonic()
        with self._lock:
            if line not in self._used:  # all were closed meanwhile
                return
            self._used.remove(line)
            idle = self._idle.setdefault(way, [])
            idle.append(_Idle(line, now))
            too_many = len(idle) - self._most_idle
            surplus = [one for place, one in enumerate(idle) if place < too_many or one.since < now - _IDLE_S]
            del idle[: len(surplus)]  # the oldest are first
        for one in surplus:
            one.line.close()

    def _new(self, proxy: str | None) -> _Line:
        if proxy is None:
            return _Direct(self._ssl, self._network)
        return httpcore.ConnectionPool(
            ssl_context=self._ssl,
            proxy=_proxy(proxy, self._ssl),
            max_connections=1,
            keepalive_expiry=_IDLE_S,
            network_backend=self._network,
        )


def _proxy(url: str, context: ssl.SSLContext) -> httpcore.Proxy:
    """Return a proxy in httpcore's form, with user and password beside its URL; `context` is for a proxy with an https URL.

    Raises:
        ConfigError: a SOCKS proxy, but the package for SOCKS is not installed.
    """
    if url.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigError(
            f"proxy {shown_proxy(url)}: expected the package socksio, found none; pip install httpx[socks]"
        )
    known = httpx.Proxy(url)
    place = httpcore.URL(scheme=known.url.raw_scheme, host=known.url.raw_host, port=known.url.port, target="/")
    return httpcore.Proxy(place, auth=known.raw_auth, ssl_context=context if known.url.scheme == "https" else None)


def _checked_host(url: httpx.URL) -> bytes:
    """Return the host of a URL; raises httpx.InvalidURL for a name that DNS and SOCKS cannot carry (RFC 1035, 2.3.4)."""
    host = url.raw_host
    if len(host) > _LONGEST_NAME or any(
        not 0 < len(label) <= _LONGEST_LABEL for label in host.rstrip(b".").split(b".")
    ):
        raise httpx.InvalidURL(
            f"expected a host name of at most {_LONGEST_NAME} letters, with 1 to {_LONGEST_LABEL} between two dots"
        )
    return host


class _Pieces(httpx.SyncByteStream):
    """The body of an answer as it arrives; `closed` is called when the connection can be used again."""

    def __init__(self, response: httpcore.Response, closed: Callable[[], None]) -> None:
        self._response = response
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        with _failures():
            yield from self._response.iter_stream()

    def close(self) -> None:
        try:
            self._response.close()
        finally:
            self._closed()


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn httpcore's failures into httpx's."""
    try:
        yield
    except _socks_failures() as error:
        raise httpx.ProxyError(f"its answer is not SOCKS ({error})") from error
    except tuple(_FAILURES) as error:
        kind = next(ours for theirs, ours in _FAILURES.items() if isinstance(error, theirs))
        raise kind(str(error)) from error


def _socks_failures() -> tuple[type[Exception], ...]:
    """Return socksio's own failures, which httpcore passes on as they are; empty if no SOCKS proxy was used."""
    socks = sys.modules.get("socksio.exceptions")
    return (socks.SOCKSError,) if socks else ()
