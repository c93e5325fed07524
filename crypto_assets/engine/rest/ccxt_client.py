"""Calls an exchange's REST API with ccxt's addresses, endpoints and error names, but through our own client.

ccxt also reads the errors that an exchange puts into an answer with status 200 (in `retCode` or `error`).
A call with a path of its own is sent as it is, without ccxt.

ccxt is imported here, on the first call. Its throttle, retries and pagination are not used: its throttle counts Binance's
history at less than half the real weight, its retries bypass the throttle, and its pagination ends silently. Every request
goes through `Client`, and so through the limits, the cool-down and the breaker that all processes share.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol
from urllib.parse import urlencode

from crypto_assets import sources
from crypto_assets.errors import BadContainer, BadContent, HostRefused, NotPublished, PermanentError
from crypto_assets.sources import Call
from crypto_assets.transport.bounds import REST
from crypto_assets.transport.client import ATTEMPTS, Client
from crypto_assets.transport.retry import (
    Decision,
    Permanent,
    Retry,
    WaitUntil,
    banned_in_words,
    decide,
    passes_in_words,
)

_MOST_GROUPS, _MOST_VALUES = 200_000, 1_000_000
"""The most values of one answer: 1,000 bars have 1,001 lists and 12,000 values. `[],` takes 64 bytes or more when parsed."""


class Api(Protocol):
    """What is needed to know of a feed, or of a question for instruments."""

    @property
    def ccxt_id(self) -> str: ...
    @property
    def key_advice(self) -> str: ...
    def urls(self, rest_url: str) -> Mapping[str, Any]: ...


class RestApi:
    """The REST API of one exchange at one of its hosts; safe to use from many threads."""

    def __init__(self, client: Client, feed: Api, rest_url: str | None, api_key: str | None = None) -> None:
        """Prepare; nothing is imported or requested yet.

        Args:
            rest_url: one host for every path; None: the exchange's own hosts.
            api_key: sent to endpoints that need one according to ccxt.
        """
        self._client = client
        self._feed = feed
        self._rest_url = rest_url
        self._api_key = api_key
        self._local = threading.local()

    def ask(self, call: Call) -> Any:
        """Return the JSON of an answer, numbers with a fraction exactly as written; the text of one that is not JSON.

        Raises:
            HostUnreachable, HostRefused, CircuitOpen: the exchange may answer later.
            PermanentError: the exchange says that it cannot serve this request (an unknown symbol, a missing key).
            BadContent: the answer is not JSON.
        """
        if not call.method:
            return self._plain(call)
        if not hasattr(self._local, "ccxt"):
            # One instance per thread: it keeps the last request and the last headers. Creating one takes 7 ms.
            self._local.ccxt = _exchange_class(self._feed.ccxt_id)(self)
        self._local.call = call
        return getattr(self._local.ccxt, call.method)(dict(call.params))

    def fetch(self, url: str, headers: Mapping[str, str] | None) -> Any:
        """Send the request that ccxt has built."""
        call: Call = self._local.call
        wanted = {"accept-encoding": "gzip", **call.headers}
        if self._api_key:  # without a key the request is sent anyway, and the exchange decides
            wanted |= headers or {}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                text = self._text(call, url, wanted)
            except HostRefused as error:
                explained = self._explained(call, url, error)
                if explained is not None or attempt == ATTEMPTS:
                    raise explained or error from None
                self._client.at(call.endpoint).back_off(attempt)
                continue
            answer = read_json(url, text)
            if not isinstance(answer, dict) or not self._is_to_ask_again(call, url, text, answer, attempt):
                break
        return answer

    def _plain(self, call: Call) -> Any:
        base = self._rest_url or sources.get(call.endpoint.exchange).rest_url
        url = f"{base.rstrip('/')}/{call.path.lstrip('/')}"
        if call.path.startswith("https://"):  # `rest_url` is one host for the paths of all hosts
            url = f"{base.rstrip('/')}/{call.path.removeprefix('https://')}" if self._rest_url else call.path
        if call.params:
            url += f"?{urlencode(call.params)}"
        text = self._text(call, url, {"accept-encoding": "gzip", **call.headers})
        return read_json(url, text) if call.json else text

    def _text(self, call: Call, url: str, headers: Mapping[str, str]) -> str:
        try:
            return self._client.at(call.endpoint).get(url, headers=headers, bound=REST).text
        except BadContainer as error:
            raise BadContent(f"{error}; try again later or check rest_url") from None
        except NotPublished:
            raise PermanentError(f"{url}: expected an answer, found 404; check rest_url in collection.yaml") from None

    def _is_to_ask_again(self, call: Call, url: str, text: str, answer: Mapping[str, Any], attempt: int) -> bool:
        """Raise the error inside an answer with status 200, as ccxt reads it; return whether it passes, or asks to wait.

        The next attempt waits until the pause ends. If the pause is long, it fails and names the end.
        """
        found = self._read_error(200, url, text, answer)
        if found is None:
            return False
        said = f"found an error in the answer: {' '.join(text.split())[:200]}"
        shown = f"{url.partition('?')[0]}: expected rows, {said}"
        match found.decision:
            case WaitUntil() as wait:
                self._client.at(call.endpoint).asked_to_wait(wait, 200, f"of {said.removeprefix('found ')}")
                if attempt < ATTEMPTS:
                    return True
                raise HostRefused(f"{shown}; `crypto-assets fill` tries it again", status=429, url=url)
            case Permanent():
                raise PermanentError(shown + found.advice, url=url, unknown_symbol=found.unknown_symbol)
            case Retry() if attempt < ATTEMPTS:
                self._client.at(call.endpoint).back_off(attempt)
                return True
            case _:
                raise HostRefused(f"{shown}; `crypto-assets fill` tries it again", status=503, url=url)

    def _explained(self, call: Call, url: str, error: HostRefused) -> HostRefused | PermanentError | None:
        """Return the error of a refused request, permanent if another attempt will not change it, by ccxt's reading.

        The text of an answer may say that its status is a ban. None: it says that the error passes, and its status did not,
        so that no other attempt was made.
        """
        if error.status < 400:  # a redirect or an encoding, not an answer of the exchange
            return error
        body = str(error.evidence.get("body", ""))
        if (ban := banned_in_words(call.endpoint.exchange, body)) is not None:
            said = f"of an error in the answer: {' '.join(body.split())[:200]}"
            self._client.at(call.endpoint).asked_to_wait(ban, error.status, said)
            return error
        try:
            answer = json.loads(body, parse_float=str)
        except (ValueError, RecursionError):
            answer = None
        found = self._read_error(error.status, url, body, answer)
        of_status = decide(error.status, exchange=self._feed.ccxt_id, rest=True)
        decision = found.decision if found else of_status
        if not isinstance(decision, Permanent):
            return None if isinstance(decision, Retry) and not isinstance(of_status, Retry | WaitUntil) else error
        return PermanentError(
            f"{url.partition('?')[0]}: expected rows, found {error.status} {' '.join(body.split())[:200]}"
            f"{found.advice if found else ''}",
            status=error.status,
            url=url,
            unknown_symbol=found is not None and found.unknown_symbol,
        )

    def _read_error(self, status: int, url: str, body: str, answer: Any) -> _Reading | None:
        """Return ccxt's reading of an answer; None if it finds no error in it.

        Words of the source that mean a ban, or an error that passes, take precedence. ccxt raises a bare ExchangeError for
        every text that it does not know: that says nothing, so a status that passes decides then.
        """
        from ccxt.base.errors import AuthenticationError, BadSymbol, BaseError, ExchangeError

        exchange = self._local.call.endpoint.exchange
        words = sources.get(exchange).unknown_symbol_words
        try:
            self._local.ccxt.handle_errors(status, "", url, "GET", {}, body, answer, {}, None)
        except BaseError as error:
            unknown_symbol = isinstance(error, BadSymbol) or any(word in body for word in words)
            decision = decide(error, exchange=self._feed.ccxt_id, rest=True)
            if type(error) is ExchangeError and status >= 400 and not unknown_symbol:
                decision = decide(status, exchange=self._feed.ccxt_id, rest=True)
            return _Reading(
                banned_in_words(exchange, body) or passes_in_words(exchange, body) or decision,
                unknown_symbol,
                f"; {self._feed.key_advice}" if isinstance(error, AuthenticationError) else "",
            )
        return None


@dataclass(frozen=True, slots=True)
class _Reading:
    """What an error of an exchange means."""

    decision: Decision
    unknown_symbol: bool
    advice: str


def read_json(url: str, text: str) -> Any:
    """Return JSON in which every number with a fraction is its text: nothing passes through a float.

    Raises:
        BadContent: not JSON (such as the page of a proxy), endless nesting, or far more values than rows have.
    """
    if text.count("[") + text.count("{") > _MOST_GROUPS or text.count(",") > _MOST_VALUES:
        raise BadContent(
            f"{url}: expected at most {_MOST_VALUES} values in {_MOST_GROUPS} lists and mappings, found more; check rest_url"
        )
    try:
        return json.loads(text, parse_float=str)
    except (ValueError, RecursionError):
        raise BadContent(f"{url}: expected JSON, found {text[:80]!r}; try again later or check rest_url") from None


@cache
def _exchange_class(name: str) -> Any:
    """Return ccxt's class of an exchange, changed to send its requests through a RestApi."""
    import ccxt

    base: Any = getattr(ccxt, name)

    class Exchange(base):
        def __init__(self, api: RestApi) -> None:
            # ccxt refuses some endpoints without a key; the exchange decides whether one is needed.
            super().__init__({"enableRateLimit": False, "apiKey": api._api_key or "none"})
            self._api = api
            if api._rest_url:
                self.urls["api"] = {**self.urls["api"], **api._feed.urls(api._rest_url)}

        def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:  # noqa: ARG002
            return self._api.fetch(url, headers)

    return Exchange
