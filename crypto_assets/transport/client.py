"""The HTTP client for exchange hosts: one connection pool, retries by cause, no hammering of a host that is down.

httpx's sync client over HTTP/1.1 keep-alive, called from threads: its AsyncClient costs three to four times the CPU for
small files, and http2=True in threads fails (httpx issue 3566). `retry.py` decides what to do about a failure. Every request
goes through a `Guard`, which keeps the state that all processes share: limits, cool-downs, circuit breakers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import httpx

from crypto_assets.errors import (
    CHECK_NETWORK,
    CircuitOpen,
    ConfigError,
    CryptoAssetsError,
    HostRefused,
    HostUnreachable,
    NotPublished,
    PermanentError,
    Stopped,
)
from crypto_assets.machine.backoff import backoff_s
from crypto_assets.machine.shortage import named_shortage, raise_if_ours, shortage
from crypto_assets.model.content import Content
from crypto_assets.sources.limits import Endpoint
from crypto_assets.text.urls import host_of
from crypto_assets.transport import redirects
from crypto_assets.transport.body import Body, BrokenRange, Pace, TooSlow, UnaskedCoding, beginning_of
from crypto_assets.transport.bounds import HEAD, JSON, Bound
from crypto_assets.transport.concurrency import Slots
from crypto_assets.transport.connections import Routes
from crypto_assets.transport.network import Network
from crypto_assets.transport.proxies import WANTS_PASSWORD, proxy_of, way_to
from crypto_assets.transport.request import RequestState
from crypto_assets.transport.retry import Retry, WaitUntil, asked_wait_s, refuses_country
from crypto_assets.transport.unreachable import failure_text
from crypto_assets.version import __version__

if TYPE_CHECKING:
    from crypto_assets.transport.guard import Guard, Permit

TIMEOUT_S = 30.0
"""Timeout for the head of an answer, and for silence in its body."""

ATTEMPTS = 4
"""Attempts for one request."""

_CONNECT_TIMEOUT_S = 5.0

_ON_DISK = "crypto_assets.on_disk"
"""The name of bytes on disk among the extensions of an answer, which has no content then."""


class _NoCookies(httpx.Cookies):
    """Ignores the cookies of every answer."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


class _WithoutCookies(httpx.Client):
    """An HTTP client without cookies, which a host could make grow; not even looking for them saves 3 % of a small file."""

    @property  # type: ignore[misc]  # nobody sets them
    def cookies(self) -> httpx.Cookies:
        return _NoCookies()


class Client:
    """A pooled HTTP client for one run; safe to use from many threads. Send requests through `at`."""

    def __init__(
        self,
        guard: Guard,
        connections: int = 8,
        *,
        timeout_s: float = TIMEOUT_S,
        attempts: int = ATTEMPTS,
        stop: threading.Event | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Prepare; no connection is opened yet.

        Args:
            guard: keeps limits, cool-downs and circuit breakers; it decides when a request may be sent.
            connections: the most requests in flight to one host.
            timeout_s, attempts: see TIMEOUT_S and ATTEMPTS.
            stop: once set, every request that waits or is in flight ends with `Stopped`.
            pace: the lowest speed of a body.
        """
        self._connections = connections
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._guard = guard
        self._stop = stop
        self._pace = pace or Pace()
        self._network = Network()
        self._client = _WithoutCookies(
            # Some archives answer 403 to requests without a User-Agent.
            headers={"user-agent": f"crypto-assets/{__version__}", "accept-encoding": "identity"},
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S),
            # Slots bound each host by itself; with one bound over all, a hanging host would use up the others' share.
            transport=Routes(self._network, idle=2 * connections),
            follow_redirects=False,  # `redirects.py` decides
        )
        self._lock = threading.Lock()
        self._slots: dict[str, Slots] = {}
        self._closed = threading.Event()
        if stop is not None:
            with named_shortage():
                threading.Thread(target=self._watch, args=(stop,), name="stop", daemon=True).start()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._client.close()

    def at(self, endpoint: Endpoint) -> View:
        """Return the client for one kind of request: the budget it counts against, and its circuit breaker."""
        return View(self, endpoint)

    def _request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        bound: Bound,
        endpoint: Endpoint,
        *,
        to_disk: bool = False,
    ) -> httpx.Response:
        try:
            host = host_of(url)
        except ValueError as error:
            raise PermanentError(f"{url}: not a URL ({error}); check collection.yaml") from None
        body = Body(url, self._pace, bound, (headers or {}).get("accept-encoding", "identity"), to_disk)
        asked = RequestState(method, url, host, params, headers, endpoint, body, self._attempts)
        try:
            return self._attempts_of(asked)
        except HostRefused as error:
            # An answer of 500 may concern one file only, so it counts as a failure after all attempts.
            if error.status >= 500 and asked.permit is not None:
                self._guard.failed(asked.permit, str(error), arrived=False)
            raise
        finally:
            body.drop()  # its bytes, and its file, would stay until the garbage is searched: an error refers to its request
            asked.error = None

    def _attempts_of(self, asked: RequestState) -> httpx.Response:
        """Return the answer to the first successful attempt; raise the error of the last one."""
        attempt = 1
        while True:
            try:
                return self._attempt(asked)
            except CryptoAssetsError as error:
                wait_s = asked.wait_s(error, attempt)
                if wait_s is None:
                    raise
            self._sleep(wait_s)
            attempt += 1

    def _attempt(self, asked: RequestState) -> httpx.Response:
        if self._stopping():
            raise Stopped(f"{asked.url}: not requested, because the run stops")
        slots = self._slots_of(asked.host)
        entered = slots.enter(self._stop)
        good: bool | None = None
        answered_s: float | None = None
        began: float | None = None
        try:
            permit = self._admit(asked)
            began = time.monotonic()
            response, headed = self._ask(asked, permit)
            answered_s = headed - began
            good = True
            return response
        except (HostRefused, HostUnreachable) as error:
            # A request that was not sent says nothing about the host.
            passes = isinstance(error, HostUnreachable) or isinstance(asked.decision(error), Retry | WaitUntil)
            good = False if passes and began is not None else None
            asked.error = error
            raise
        finally:
            slots.leave(entered, good=good, answered_s=answered_s)

    def _admit(self, asked: RequestState) -> Permit:
        try:
            permit = self._guard.admit(asked.endpoint, asked.host, self._stop)
        except CircuitOpen:
            if asked.error is not None:  # the breaker opened between our attempts; our own failure says more
                asked.is_last_attempt = True
                raise asked.error from asked.error.__cause__
            raise
        except HostRefused:  # the cool-down is longer than our patience, so another attempt would end the same way
            asked.is_last_attempt = True
            raise
        if permit.probe:
            asked.is_last_attempt = True
        asked.permit = permit
        return permit

    def _ask(self, asked: RequestState, permit: Permit) -> tuple[httpx.Response, float]:
        """Return the answer to one attempt and when it began; report the result to the guard."""
        headed: float | None = None
        try:
            headers = {**(asked.headers or {}), **asked.body.range_headers()}
            request = self._client.build_request(asked.method, asked.url, params=asked.params, headers=headers or None)
            with self._network.within(self._timeout_s):
                response = redirects.send(self._client, request, asked)
            headed = time.monotonic()
            with contextlib.closing(response):
                # What these mean depends on their text.
                refused = response.status_code in (403, 418, 429)
                said = beginning_of(response, asked.body.asked_coding) if refused else {}
                text = said.get("body", "")
                self._guard.answered(
                    permit,
                    response.status_code,
                    response.headers,
                    at=headed,
                    retry_after_s=asked_wait_s(response, text),
                    body=text,
                )
                return self._read(asked, response, said), headed
        except (redirects.NotFollowed, UnaskedCoding) as error:
            if headed is None:
                self._guard.abandoned(permit)
            raise HostRefused(
                f"{asked.shown}: expected an answer, found {error}{way_to(asked.at)}; check the URLs in collection.yaml",
                status=error.status,
                url=asked.url,
            ) from None
        except (httpx.RequestError, TooSlow, BrokenRange) as error:  # includes too many redirects and broken encodings
            if self._stopping():
                self._guard.abandoned(permit)
                raise Stopped(f"{asked.url}: given up, because the run stops") from error
            if (ours := shortage(error, asked.shown)) is not None:  # our machine's fault, not the host's
                self._guard.abandoned(permit)
                raise ours from error
            raise self._unreachable(asked, permit, error, answered=headed is not None) from error
        except httpx.InvalidURL as error:
            self._guard.abandoned(permit)
            raise PermanentError(f"{asked.url}: not a URL ({error}); check collection.yaml") from None
        except ConfigError:  # of the proxy
            self._guard.abandoned(permit)
            raise
        except (MemoryError, OSError, RuntimeError) as error:  # for example no thread to resolve a name
            self._guard.abandoned(permit)
            raise_if_ours(error, asked.shown)
            raise

    def _read(self, asked: RequestState, response: httpx.Response, said: Mapping[str, str]) -> httpx.Response:
        """Return a good answer with its whole body; `said` is the beginning of a body that was read already."""
        if response.status_code == 200 and asked.method == "HEAD":
            return response
        if response.status_code == 200 or (response.status_code == 206 and asked.body.size):
            with contextlib.closing(asked.body) as body:
                body.begin(response)
                for chunk in response.iter_raw():
                    body.add(chunk)
                headers = body.headers
                if headers is not None and "content-encoding" in headers:
                    headers = httpx.Headers([(k, v) for k, v in headers.items() if k != "content-encoding"])
                content = body.whole()
                if isinstance(content, bytes):
                    return httpx.Response(200, headers=headers, content=content, request=response.request)
                return httpx.Response(200, headers=headers, request=response.request, extensions={_ON_DISK: content})
        if response.status_code == 416 and asked.body.size:
            asked.body.drop()
            raise BrokenRange("the file is shorter than the bytes already received")
        if response.status_code == 404:
            host = host_of(asked.at)
            elsewhere = {} if host == asked.host else {"redirected_to": host}
            raise NotPublished(f"{asked.shown}: 404, not published; it may appear later", url=asked.url, **elsewhere)
        if refuses_country(response.status_code, said.get("body", "")):
            raise PermanentError(
                f"{asked.shown}: expected 200, found 403: the host does not serve the country of our address; set HTTPS_PROXY"
                f" to a proxy elsewhere, where that is allowed, or leave {asked.endpoint.exchange} out of collection.yaml",
                url=asked.url,
                status=403,
                **said,
            )
        reason = "".join(letter for letter in response.reason_phrase[:60] if letter.isprintable())
        raise HostRefused(
            f"{asked.shown}: expected 200, found {response.status_code} {reason}{way_to(asked.at)}; "
            + ("the host refuses for now, try again later" if response.status_code != 407 else WANTS_PASSWORD),
            status=response.status_code,
            retry_after_s=asked_wait_s(response, said.get("body", "")),
            url=asked.url,
            **(said or beginning_of(response, asked.body.asked_coding)),
        )

    def _unreachable(self, asked: RequestState, permit: Permit, error: Exception, *, answered: bool) -> HostUnreachable:
        host = host_of(asked.at or asked.url)
        failure = failure_text(host, error, proxy_of(asked.at or asked.url), self._timeout_s)
        if answered:
            self._guard.abandoned(permit)
        else:
            arrived = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
            self._guard.failed(permit, failure, arrived=arrived)
        return HostUnreachable(f"{failure}; {CHECK_NETWORK}", host=host, failure=failure)

    def _sleep(self, seconds: float) -> None:
        """Wait, but end at once when the run stops."""
        if self._stop is None:
            time.sleep(seconds)
        else:
            self._stop.wait(seconds)

    def _stopping(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _slots_of(self, host: str) -> Slots:
        with self._lock:
            return self._slots.setdefault(host, Slots(self._connections))

    def _watch(self, stop: threading.Event) -> None:
        """End the requests in flight once `stop` is set."""
        while not self._closed.is_set():
            if stop.wait(0.2):
                self._network.shut()
                return


@dataclass(frozen=True, slots=True)
class View:
    """The client for one kind of request; creating one costs no more than a call."""

    client: Client
    endpoint: Endpoint

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        bound: Bound = JSON,
    ) -> httpx.Response:
        """Return a whole answer with status 200.

        Raises:
            NotPublished: 404.
            HostRefused: a status other than 200 (after four attempts if it can pass); a redirect that is not followed; an
                encoding that was not requested; an exchange that asks for a long pause.
            HostUnreachable: no connection, no answer in time, or a cut connection, four times.
            CircuitOpen: the host fails; no process sends it requests for now.
            BadContainer: a body larger than its bound.
            Stopped: the client's `stop` is set.
        """
        return self.client._request("GET", url, params, headers, bound, self.endpoint)

    def download(self, url: str, *, bound: Bound) -> tuple[Content, httpx.Headers]:
        """Return the bytes of a file, large ones on disk, and the headers of the answer; raises as `get`."""
        answer = self.client._request("GET", url, None, None, bound, self.endpoint, to_disk=True)
        return answer.extensions.get(_ON_DISK, answer.content), answer.headers

    def asked_to_wait(self, decision: WaitUntil, status: int, reason: str) -> None:
        """Make all processes pause, because the text of an answer asks for it (an error in an answer with status 200)."""
        self.client._guard.asked_to_wait(self.endpoint, decision, status, reason)

    def back_off(self, attempt: int) -> None:
        """Wait between a failed attempt (from 1) and the next one; ends at once when the run stops."""
        self.client._sleep(backoff_s(attempt))

    def head(self, url: str) -> httpx.Response:
        """Return the head of the answer that `get` would return; raises the same errors."""
        return self.client._request("HEAD", url, None, None, HEAD, self.endpoint)
