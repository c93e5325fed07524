"""The route to a host: direct, or through the proxy in the environment. This machine itself is always reached directly.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case, as in curl and requests; also socks5:// and socks5h://.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from crypto_assets.errors import ConfigError
from crypto_assets.text.urls import is_loopback, masked

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection

_SCHEMES = ("http", "https", "socks5", "socks5h")

_SOCKS_MOST = 255
"""The most bytes of a user or password for SOCKS (RFC 1929)."""


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy for a URL, None if the host is reached directly.

    Raises:
        ConfigError: the variable that names the proxy has an invalid value; the message has its name.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    found = getproxies()
    for scheme in (parts.scheme, "all"):
        if named := found.get(scheme):
            return None if _is_bypassed(host, parts.port, found.get("no", "")) else _checked(named, scheme)
    return None


def _is_bypassed(host: str, port: int | None, without: str) -> bool:
    """Return whether NO_PROXY names a host: by name, by the end of its name, or by a network such as 10.0.0.0/8."""
    name = f"[{host}]" if ":" in host else host
    if proxy_bypass(f"{name}:{port}" if port else name):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        for part in without.split(","):
            with suppress(ValueError):
                text = part.strip()
                if text.startswith("[") and text.endswith("]"):
                    text = text[1:-1]
                if address in ipaddress.ip_network(text, strict=False):
                    return True
    return False


def _checked(text: str, scheme: str) -> str:
    url = text if "://" in text else f"http://{text}"
    variable = f"{scheme.upper()}_PROXY"
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:  # a port that is not a number
        good = False
    if not good:
        raise ConfigError(
            f"environment variable {variable}: expected a URL such as http://proxy:8080, found {masked(url)!r}; "
            "correct or unset it"
        )
    if parts.scheme not in _SCHEMES:
        raise ConfigError(
            f"environment variable {variable}: expected a proxy that starts with {', '.join(f'{s}://' for s in _SCHEMES)}, "
            f"found {masked(url)!r}"
        )
    if parts.scheme.startswith("socks") and any(
        len(unquote(text).encode()) > _SOCKS_MOST for text in (parts.username or "", parts.password or "")
    ):
        raise ConfigError(
            f"environment variable {variable}: expected a user and a password of at most {_SOCKS_MOST} bytes each for SOCKS, "
            f"found a longer one in {masked(url)[:80]!r}; correct or unset it"
        )
    return parts.scheme + url[len(parts.scheme) :]  # in lower case, as urlsplit has it


def shown_proxy(url: str) -> str:
    """Return scheme, host and port of a proxy, for messages."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def require_proxies(collection: Collection) -> None:
    """Raise ConfigError if a host of a collection's exchanges has a proxy that is not valid.

    Called once at the start: otherwise it would be the reason of every day.
    """
    from crypto_assets import sources

    for name in dict.fromkeys(entry.exchange for entry in collection.series):
        urls, known = collection.urls(name), sources.get(name)
        asked = [urls.archive_url or known.archive_url, urls.listing_url or known.listing_url]
        if any(collection.asks_rest(entry) for entry in collection.series if entry.exchange == name):
            asked.append(urls.rest_url or "https://rest.example")
        for url in asked:
            proxy_for(url)


def proxy_of(url: str) -> str | None:
    """Return the proxy for a URL, without its password; None if the host is reached directly."""
    proxy = proxy_for(url)
    return shown_proxy(proxy) if proxy else None


def way_to(url: str) -> str:
    """Return the route to a URL if it is not direct: ` through the proxy http://proxy:8080`."""
    proxy = proxy_of(url)
    return f" through the proxy {proxy}" if proxy else ""


WANTS_PASSWORD = "the proxy wants user and password: write them into its URL, before an @"  # noqa: S105
