"""Sockets that another thread can end: a request in flight ends when its run does.

httpcore's own backend blocks in connect and recv until their timeouts. This backend knows its sockets, so `shut` ends every
wait on them. It also bounds the time for the head of an answer: a timeout alone starts anew with each byte.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  every name is looked up with it, and its file would be opened only then
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import httpcore

from crypto_assets.machine.shortage import no_files_left

_LOOK_S = 0.05

_RECORD = 16_384
"""The most bytes of a TLS record (RFC 8446, 5.1)."""

_Result = TypeVar("_Result")

Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Network(httpcore.NetworkBackend):
    """Opens the connections of one client."""

    def __init__(self) -> None:
        # Weak: httpcore drops a connection to a SOCKS proxy that refuses, without closing it (`Stream.__del__`).
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._shut = False
        self._local = threading.local()

    def shut(self) -> None:
        """End every connection; threads that wait on one get an error, and no new connection is opened."""
        with self._lock:
            self._shut = True
            found = list(self._sockets)
        for sock in found:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: it takes the TLS state away from the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bound the total time that this thread waits here."""
        self._local.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._local.deadline = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore.NetworkStream:
        error: OSError | None = None
        deadline = None if timeout is None else time.monotonic() + timeout
        for family, kind, protocol, _, address in self._resolve(host, port, deadline):
            sock = socket.socket(family, kind, protocol)
            try:
                self.register(sock)
                for option in socket_options or ():
                    sock.setsockopt(*option)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if local_address is not None:
                    sock.bind((local_address, 0))
                sock.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
                sock.connect(address)
                if self._shut:  # shut during connect; the connection may still look established
                    raise OSError("stopped")
                return Stream(sock, self)
            except OSError as failure:
                error = failure
                self.forget(sock)
                sock.close()
        if isinstance(error, TimeoutError):
            raise httpcore.ConnectTimeout("timed out") from error
        raise _because(error or OSError("no address"))

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def register(self, sock: socket.socket) -> None:
        """Register a socket; raises OSError if `shut` was called."""
        with self._lock:
            if self._shut:
                raise OSError("stopped")
            self._sockets.add(sock)

    def forget(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(sock)

    def remaining(self, timeout: float | None) -> float | None:
        """Return the timeout, or the rest of this thread's bound if that is less; raises TimeoutError when it is over."""
        deadline = getattr(self._local, "deadline", None)
        if deadline is None:
            return timeout
        left: float = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left if timeout is None else min(timeout, left)

    def _resolve(self, host: str, port: int, deadline: float | None) -> list[Any]:
        with contextlib.suppress(OSError):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        # A resolver cannot be interrupted, so it runs in another thread; an answer that is too late is dropped.
        found: list[Any] = []
        failures: list[OSError] = []
        done = threading.Event()

        def ask() -> None:
            try:
                found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except OSError as error:
                failures.append(error)
            except ValueError as error:  # a text that cannot be a host name
                failures.append(socket.gaierror(socket.EAI_NONAME, str(error)))
            finally:
                done.set()

        threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
        while not done.wait(_LOOK_S):
            if self._shut:
                raise httpcore.ConnectError("stopped")
            if deadline is not None and time.monotonic() > deadline:
                raise httpcore.ConnectTimeout(f"{host}: the name was not resolved in time")
        if failures:
            # The C library also reports "no name" if it could not open its own files.
            raise no_files_left(host) or _because(failures[0])
        return found


def _because(error: OSError) -> httpcore.ConnectError:
    """Return httpcore's error for a system error; httpcore drops the cause on the way, but not the context."""
    found = httpcore.ConnectError(str(error))
    found.__context__ = error
    return found


class Stream(httpcore.NetworkStream):
    """One connection."""

    def __init__(self, sock: socket.socket, network: Network) -> None:
        self._sock = sock
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._sock.settimeout(self._network.remaining(timeout))
            return self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            if buffer:
                self._sock.settimeout(self._network.remaining(timeout))
                self._sock.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._network.forget(self._sock)
        self._sock.close()

    def __del__(self) -> None:
        self.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        if server_hostname is not None:
            server_hostname = server_hostname.strip("[]")  # of an IPv6 address, which a certificate has without them
        if isinstance(self._sock, ssl.SSLSocket):
            return _TlsInTls(self, ssl_context, server_hostname, timeout)
        # Wrapping takes over the descriptor, so the new socket is registered before the handshake, which can block.
        plain = self._sock
        try:
            plain.settimeout(self._network.remaining(timeout))
            secure = ssl_context.wrap_socket(plain, server_hostname=server_hostname, do_handshake_on_connect=False)
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        self._network.forget(plain)
        try:
            self._network.register(secure)
            secure.do_handshake()
        except OSError as error:
            self._network.forget(secure)
            secure.close()
            kind = httpcore.ConnectTimeout if isinstance(error, TimeoutError) else httpcore.ConnectError
            raise kind(str(error)) from error
        return Stream(secure, self._network)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object" if isinstance(self._sock, ssl.SSLSocket):
                return self._sock
            case "client_addr":
                return self._sock.getsockname()
            case "server_addr":
                return self._sock.getpeername()
            case "socket":
                return self._sock
            case "is_readable":
                return self._readable()
            case _:
                return None

    def _readable(self) -> bool:
        """Return whether a read would not block; on an idle connection that means it has ended."""
        if self._sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))


class _TlsInTls(Stream):
    """One TLS connection inside the one to a proxy with an https URL. An SSLSocket cannot wrap an SSLSocket.

    It waits on the socket of the outer connection only, so a stop and the bound of a head end it like any other.
    """

    def __init__(self, outer: Stream, context: ssl.SSLContext, hostname: str | None, timeout: float | None) -> None:
        """Shake hands; raises httpcore.ConnectError or ConnectTimeout, and then the outer connection is closed."""
        super().__init__(outer._sock, outer._network)
        self._outer = outer  # it would close the socket once nobody knows it
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
            self._carry(self._tls.do_handshake, timeout)
        except OSError as error:
            self.close()
            kind = httpcore.ConnectTimeout if isinstance(error, TimeoutError) else httpcore.ConnectError
            raise kind(str(error)) from error

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._carry(lambda: self._tls.read(max_bytes), timeout)
        except ssl.SSLEOFError:
            return b""  # cut without a farewell, as `SSLSocket.recv` reports it
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            left = memoryview(buffer)
            while left:
                chunk = left
                left = left[self._carry(lambda: self._tls.write(chunk), timeout) :]  # noqa: B023  called at once
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        return self._tls if info == "ssl_object" else super().get_extra_info(info)

    def _carry(self, step: Callable[[], _Result], timeout: float | None) -> _Result:
        """Return the result of a step of the inner TLS, carrying bytes between it and the socket until it needs no more."""
        while True:
            try:
                result, done = step(), True
            except ssl.SSLWantReadError:
                done = False
            if self._outgoing.pending:
                self._sock.settimeout(self._network.remaining(timeout))
                self._sock.sendall(self._outgoing.read())
            if done:
                return result
            self._sock.settimeout(self._network.remaining(timeout))
            if received := self._sock.recv(_RECORD):
                self._incoming.write(received)
            else:
                self._incoming.write_eof()
