"""Proxies on loopback: one that speaks HTTP (whole URLs and CONNECT), one that speaks SOCKS5.

Both answer for host names that do not exist: every request goes to one address, so that `archive.example` can be read.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """A running proxy: `address` is host:port, `asked` the host:port of every request, `heads` their first lines."""

    address: str
    asked: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)


@contextlib.contextmanager
def http_proxy(target: str, password: str | None = None) -> Iterator[Proxy]:
    """Run an HTTP proxy that sends everything to `target` (host:port); with a password it wants `user:password`."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self._head():
                method, url, _ = head[0].split(" ", 2)
                headers = {
                    name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
                }
                user = base64.b64decode(headers.get("proxy-authorization", "Basic ").split(" ")[1]).decode()
                proxy.users.append(user)
                if password is not None and user != f"user:{password}":
                    self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                    continue
                if method == "CONNECT":
                    proxy.asked.append(url)
                    with connect(target) as far:
                        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        relay(self.connection, far)
                    return
                host, _, path = url.removeprefix("http://").partition("/")
                proxy.asked.append(host)
                lines = [f"{method} /{path} HTTP/1.1", *head[1:], "Connection: close", "", ""]
                with connect(target) as far:
                    far.sendall("\r\n".join(lines).encode())
                    while piece := far.recv(65_536):
                        self.wfile.write(piece)
                return

        def _head(self) -> list[str]:
            lines = []
            while line := self.rfile.readline().decode().rstrip("\r\n"):
                lines.append(line)
            return lines

    with _running(Handler) as proxy:
        yield proxy


@contextlib.contextmanager
def socks_proxy(target: str) -> Iterator[Proxy]:
    """Run a SOCKS5 proxy that sends everything to `target` (host:port); it resolves no names."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            _, count = self.rfile.read(2)
            self.rfile.read(count)
            self.wfile.write(b"\x05\x00")
            kind = self.rfile.read(4)[3]
            size = self.rfile.read(1)[0] if kind == 3 else 4 if kind == 1 else 16
            name = self.rfile.read(size)
            (port,) = struct.unpack("!H", self.rfile.read(2))
            proxy.asked.append(f"{name.decode() if kind == 3 else name.hex()}:{port}")
            with connect(target) as far:
                self.wfile.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
                relay(self.connection, far)

    with _running(Handler) as proxy:
        yield proxy


@contextlib.contextmanager
def _running(handler: type[socketserver.BaseRequestHandler]) -> Iterator[Proxy]:
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield Proxy(f"127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def connect(target: str) -> socket.socket:
    host, _, port = target.partition(":")
    return socket.create_connection((host, int(port)))


def relay(near: socket.socket, far: socket.socket) -> None:
    while True:
        for ready in select.select([near, far], [], [])[0]:
            with contextlib.suppress(ConnectionError):
                piece = ready.recv(65_536)
                (far if ready is near else near).sendall(piece)
                if piece:
                    continue
            return
