"""Explains why a host could not be reached: DNS, no connection, a proxy, TLS, no answer in time, a cut answer."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from crypto_assets.transport.body import BrokenRange, TooSlow

_NUMBER = re.compile(r"\[Errno -?\d+\] ")
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}


def failure_text(host: str, error: BaseException, proxy: str | None = None, timeout_s: float | None = None) -> str:
    """Return why `host` gave no complete answer, as one clause that names it.

    Args:
        host: as in the URL, with its port if any.
        error: the error from httpx; its causes are searched.
        proxy: the proxy that was used, if any, without its password; a failed connection is then the proxy's.
        timeout_s: how long the head of an answer was waited for.
    """
    causes = list(_causes(error))
    place = proxy.rpartition("://")[2] if proxy else "(unknown)"
    asked = f"proxy {place}" if proxy else host
    behind = f"; it is the way to {host}" if proxy else ""
    through = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, httpx.ProxyError):
        return f"proxy {place} does not let us reach {host}: {_short(error)}"
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            f"{host}: its TLS certificate is not accepted ({tls.verify_message}); where a proxy or a private authority "
            "issues it, name that authority's file in SSL_CERT_FILE"
        )
    if tls is not None:
        return f"{host}: no TLS connection{through} ({_reason(tls)}); is it a host for https?"
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "was not resolved in time" in str(error):
        return f"cannot resolve {_name(asked)} (no DNS or no network){behind}"
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if errno.ECONNREFUSED in numbers:
        return f"{asked} refuses connections (nothing listens on that port){behind}"
    if numbers & _NO_WAY:
        return f"{asked}: unreachable (no network or no route){behind}"
    if isinstance(error, httpx.ConnectTimeout):
        return f"{asked}: no connection in time (it is down, or something on the way drops packets){behind}"
    if isinstance(error, httpx.ConnectError):
        return f"{asked}: no connection ({_short(error)}){behind}"
    return f"{host}: {_broken(error, timeout_s)}{through}"


def _broken(error: BaseException, timeout_s: float | None) -> str:
    """Return what was wrong with the answer of a host that accepted a connection."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer" + (f" within {timeout_s:g} s" if timeout_s else " in time")
    if isinstance(error, httpx.TooManyRedirects):
        return "it redirects without end"
    if isinstance(error, httpx.DecodingError):
        return f"the answer is not what its content-encoding says ({_short(error)})"
    if isinstance(error, TooSlow | BrokenRange):
        return f"no whole answer: {_short(error)}"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        return f"the connection was cut before the end of the answer ({_short(error)})"
    return f"no answer ({_short(error)})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _name(asked: str) -> str:
    """Return a host without its port, which no resolver asks for."""
    kind, space, host = asked.rpartition(" ")
    return f"{kind}{space}{urlsplit(f'//{host}').hostname or host}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _short(error: BaseException) -> str:
    text = " ".join((str(error) or type(error).__name__).split())[:200]
    return _NUMBER.sub("", text).rstrip(".").lower() if _NUMBER.search(text) else text.rstrip(".")
