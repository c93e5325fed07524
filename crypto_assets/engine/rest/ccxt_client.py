"""Calls an exchange's REST API with ccxt's addresses, endpoints and error names, but through our own client.

ccxt is imported here, on the first call. Its throttle, retries and pagination are not used: its throttle counts Binance's
history at less than half the real weight, its retries bypass the throttle, and its pagination ends silently. Every request
goes through `Client`, and so through the limits, the cool-down and the breaker that all processes share.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

from crypto_assets.errors import BadContainer, BadContent, HostRefused, NotPublished, PermanentError
from crypto_assets.sources import Call, Rest
from crypto_assets.transport.bounds import REST
from crypto_assets.transport.client import Client
from crypto_assets.transport.retry import Permanent, decide

_MOST_GROUPS, _MOST_VALUES = 200_000, 1_000_000
"""The most values of one answer: 1,000 bars have 1,001 lists and 12,000 values. `[],` takes 64 bytes or more when parsed."""


class RestApi:
    """The REST API of one exchange at one of its hosts; safe to use from many threads."""

    def __init__(self, client: Client, rest: Rest, rest_url: str | None, api_key: str | None = None) -> None:
        """Prepare; nothing is imported or requested yet.

        Args:
            rest_url: one host for every path; None: the exchange's own hosts.
            api_key: sent to endpoints that need one according to ccxt.
        """
        self._client = client
        self._rest = rest
        self._rest_url = rest_url
        self._api_key = api_key
        self._local = threading.local()

    def ask(self, call: Call) -> Any:
        """Return the JSON of an answer, numbers exactly as written.

        Raises:
            HostUnreachable, HostRefused, CircuitOpen: the exchange may answer later.
            PermanentError: the exchange says that it cannot serve this request (an unknown symbol, a missing key).
            BadContent: the answer is not JSON.
        """
        if not hasattr(self._local, "ccxt"):
            # One instance per thread: it keeps the last request and the last headers. Creating one takes 7 ms.
            self._local.ccxt = _exchange_class(self._rest.ccxt_id)(self)
        self._local.call = call
        return getattr(self._local.ccxt, call.method)(dict(call.params))

    def fetch(self, url: str, headers: Mapping[str, str] | None) -> Any:
        """Send the request that ccxt has built."""
        call: Call = self._local.call
        wanted = {"accept-encoding": "gzip", **call.headers}
        if self._api_key:  # without a key the request is sent anyway, and the exchange decides
            wanted |= headers or {}
        try:
            response = self._client.at(call.endpoint).get(url, headers=wanted, bound=REST)
        except BadContainer as error:
            raise BadContent(f"{error}; try again later or check rest_url") from None
        except HostRefused as error:
            raise self._explained(url, error) or error from None
        except NotPublished:
            raise PermanentError(f"{url}: expected an answer, found 404; check rest_url in collection.yaml") from None
        return read_json(url, response.text)

    def _explained(self, url: str, error: HostRefused) -> PermanentError | None:
        """Return the error for an answer that another attempt will not change, by ccxt's reading; else None."""
        if error.status < 400:  # a redirect or an encoding, not an answer of the exchange
            return None
        from ccxt.base.errors import AuthenticationError, BadSymbol, BaseError

        body = str(error.evidence.get("body", ""))
        try:
            answer = json.loads(body, parse_float=str)
        except (ValueError, RecursionError):
            answer = None
        advice, unknown = "", False
        decision = decide(error.status, exchange=self._rest.ccxt_id, rest=True)
        try:
            self._local.ccxt.handle_errors(error.status, "", url, "GET", {}, body, answer, {}, None)
        except BaseError as reading:
            decision = decide(reading, exchange=self._rest.ccxt_id, rest=True)
            unknown = isinstance(reading, BadSymbol)
            if isinstance(reading, AuthenticationError):
                advice = f"; {self._rest.key_advice}"
        if not isinstance(decision, Permanent):
            return None
        return PermanentError(
            f"{url.partition('?')[0]}: expected rows, found {error.status} {' '.join(body.split())[:200]}{advice}",
            status=error.status,
            url=url,
            unknown_symbol=unknown,
        )


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
                self.urls["api"] = {**self.urls["api"], **api._rest.urls(api._rest_url)}

        def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:  # noqa: ARG002
            return self._api.fetch(url, headers)

    return Exchange
