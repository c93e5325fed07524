"""Decides which redirects are followed: to the same host, or over https to another host that the exchange's module names.

A redirect is text from a host that may be hostile. If it were followed blindly, the host could send requests in our name to
this machine's own ports and the network behind it, send an API key to any host, and drop TLS.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import httpx

from crypto_assets import sources
from crypto_assets.text.urls import host_of
from crypto_assets.transport.request import RequestState

MOST = 5
"""The most redirects that are followed for one request."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

# Any other header of a caller may be a key, such as X-MBX-APIKEY or OK-ACCESS-KEY.
_NO_SECRETS = frozenset({"accept", "accept-encoding", "if-none-match", "if-range", "range", "user-agent"})


class NotFollowed(Exception):
    """A redirect that is not followed; `status` is that of the redirect."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def send(client: httpx.Client, request: httpx.Request, asked: RequestState) -> httpx.Response:
    """Return the final answer to a request after its redirects; the body is not read yet.

    Raises:
        NotFollowed: a redirect that is not allowed.
        httpx.RequestError: no answer.
    """
    named = _hosts(asked.endpoint.exchange)
    keyed = has_key(asked.headers)
    for _ in range(MOST + 1):
        asked.at = str(request.url)
        response = client.send(request, stream=True)
        following = response.next_request
        if following is None:
            return response
        response.close()  # its body has no use and may have no end
        if why := refusal(request.url, following.url, named=named, keyed=keyed):
            raise NotFollowed(f"a redirect to {place(following.url)}, {why}; not followed", response.status_code)
        request = following
    raise httpx.TooManyRedirects("too many redirects", request=request)


def _hosts(exchange: str) -> Collection[str]:
    """Return the hosts that an exchange's module names; empty for an unknown exchange."""
    return sources.get(exchange).hosts if exchange in sources.names() else ()


def has_key(headers: Mapping[str, str] | None) -> bool:
    """Return whether the headers of a request may have a key."""
    return any(name.lower() not in _NO_SECRETS for name in headers or ())


def refusal(asked: httpx.URL, target: httpx.URL, *, named: Collection[str], keyed: bool) -> str:
    """Return why a redirect from `asked` to `target` is not followed, "" if it is.

    Args:
        named: the hosts of the exchange. One of them may redirect to another; a mirror in collection.yaml may not, because
            its rows must not be mixed with the exchange's own.
        keyed: whether the request has an API key.
    """
    if keyed:
        return "and the request has an API key"
    if target.scheme not in _DEFAULT_PORTS:
        return "which is neither http nor https"
    if target.userinfo:
        return "with a user or password in it"
    if target.host == asked.host and (target.scheme, _port(target)) == (asked.scheme, _port(asked)):
        return ""
    if target.scheme != "https":
        return "another host without https" if target.host != asked.host else "without the same port or https"
    if target.host == asked.host:
        return "" if (_port(asked), _port(target)) == (80, 443) else "another port"
    if asked.host not in named or target.host not in named or _port(target) != 443:
        return "another host, which the exchange's module does not name"
    return "" if asked.scheme == "https" else "another host, and it was asked without https"


def place(url: httpx.URL) -> str:
    """Return scheme, host and port of a URL, for messages. Path and query may have secrets."""
    return f"{url.scheme}://{host_of(str(url))}" if url.host else f"{url.scheme}:…"


def _port(url: httpx.URL) -> int:
    return url.port or _DEFAULT_PORTS.get(url.scheme, 0)
