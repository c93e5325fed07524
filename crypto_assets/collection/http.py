"""Asking an exchange's hosts: one pooled client, retries by cause, and no hammering of a host that is down.

httpx's sync client over HTTP/1.1 keep-alive, called from threads: its AsyncClient costs three to four times the CPU for
small files, and http2=True in threads fails (httpx issue 3566).
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from urllib.parse import urlsplit

import httpx
import stamina

from crypto_assets.errors import CryptoAssetsError, HostRefused, HostUnreachable, NotPublished, PermanentError
from crypto_assets.version import __version__

_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_ATTEMPTS = 4
_UNREACHABLE_IN_A_ROW = 3
_LONGEST_WAIT_S = 60.0
_CONNECT_TIMEOUT_S = 5.0

# Its hook would log every retry to standard output where structlog is installed; what is lost is said once, in the reason.
stamina.instrumentation.set_on_retry_hooks([])


class Client:
    """A pooled HTTP client for one run; safe to use from many threads.

    After some requests in a row that reached no host at all, further requests to that host fail at once with the same
    message, so that 900 days of a host that is down take seconds.
    """

    def __init__(self, connections: int = 8, timeout_s: float = 30.0, attempts: int = _ATTEMPTS) -> None:
        self._attempts = attempts
        self._client = httpx.Client(
            # Some archives answer 403 to requests without a User-Agent.
            headers={"user-agent": f"crypto-assets/{__version__}", "accept-encoding": "identity"},
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=True,
        )
        self._lock = threading.Lock()
        self._unreachable: dict[str, tuple[int, str]] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, url: str, params: dict[str, str] | None = None) -> httpx.Response:
        """Return a whole answer with status 200.

        Raises:
            NotPublished: 404.
            HostRefused: another status than 200; those that can pass were tried four times.
            HostUnreachable: no connection, no answer in time, or a cut connection, four times.
        """
        try:
            host = urlsplit(url).netloc
        except ValueError as error:
            raise PermanentError(f"{url}: not a URL ({error}); check collection.yaml") from None
        with self._lock:
            failures, message = self._unreachable.get(host, (0, ""))
        if failures >= _UNREACHABLE_IN_A_ROW:
            raise HostUnreachable(message, host=host)
        attempts = 1 if failures else self._attempts
        try:
            for attempt in stamina.retry_context(
                on=_wait_before_retry, attempts=attempts, timeout=None, wait_initial=0.2, wait_max=5.0, wait_jitter=0.3
            ):
                with attempt:
                    response = self._once(url, params)
        except HostUnreachable as error:
            # An answer that was cut came from a host that is there: one bad file must not close it for the others.
            if not isinstance(error.__cause__, httpx.RemoteProtocolError | httpx.ReadError):
                with self._lock:
                    self._unreachable[host] = (self._unreachable.get(host, (0, ""))[0] + 1, str(error))
            raise
        except CryptoAssetsError:
            self._reached(host)
            raise
        self._reached(host)
        return response

    def _reached(self, host: str) -> None:
        with self._lock:
            self._unreachable.pop(host, None)

    def _once(self, url: str, params: dict[str, str] | None) -> httpx.Response:
        host = urlsplit(url).netloc
        try:
            response = self._client.get(url, params=params)
        except httpx.RequestError as error:  # too many redirects and broken encodings too
            reason = str(error) or type(error).__name__
            raise HostUnreachable(
                f"{host}: expected an answer, found {reason}; check the network and the URLs in collection.yaml, "
                "then `crypto-assets fill`",
                host=host,
            ) from error
        except httpx.InvalidURL as error:
            raise PermanentError(f"{url}: not a URL ({error}); check collection.yaml") from None
        if response.status_code == 200:
            return response
        if response.status_code == 404:
            raise NotPublished(f"{url}: 404, not published; it may appear later", url=url)
        raise HostRefused(
            f"{url}: expected 200, found {response.status_code} {response.reason_phrase}; "
            "the host refuses for now, try again later",
            status=response.status_code,
            retry_after_s=_retry_after(response),
            url=url,
        )


def _wait_before_retry(error: Exception) -> bool | float:
    """Return whether to try again, or after how many seconds where the exchange said so."""
    if isinstance(error, HostUnreachable):
        # TCP itself has tried to connect several times until then: a host that drops packets is not asked again.
        return not isinstance(error.__cause__, httpx.ConnectTimeout)
    if isinstance(error, HostRefused) and error.status in _RETRIED_STATUSES:
        if error.retry_after_s is None:
            return True
        return error.retry_after_s if error.retry_after_s <= _LONGEST_WAIT_S else False
    return False


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of a Retry-After header, given as seconds or as an HTTP date."""
    text = response.headers.get("retry-after")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
        # By the host's own clock where it tells it, for ours may be wrong.
        told = response.headers.get("date")
        now = parsedate_to_datetime(told) if told else datetime.now(UTC)
        return max(0.0, (at - now).total_seconds())
    except (ValueError, TypeError):  # TypeError: only one of the two names its zone
        return None
