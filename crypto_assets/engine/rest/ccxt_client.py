"""Asking an exchange's REST API through ccxt: its addresses, its endpoints and its words for errors, our requests.

ccxt is imported here and only when the first call is made. Its throttle, retries and pagination are not used: it charges
Binance's history too little by half and more, retries without asking its throttle again, and ends pages silently. Every
request goes through `Client`, and so through the limits, the cool-down and the breaker that all processes share.
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
"""In one answer: 1,000 bars have 1,001 lists and 12,000 values. `[],` takes 64 bytes and more when it is parsed."""


class RestApi:
    """The REST API of one exchange, by one of its hosts; safe to use from many threads."""

    def __init__(self, client: Client, rest: Rest, rest_url: str | None, api_key: str | None = None) -> None:
        """Prepare; nothing is imported or asked yet.

        Args:
            rest_url: one host for every path; the exchange's own hosts where None.
            api_key: sent where ccxt knows that an endpoint wants one.
        """
        self._client = client
        self._rest = rest
        self._rest_url = rest_url
        self._api_key = api_key
        self._local = threading.local()

    def ask(self, call: Call) -> Any:
        """Return the JSON of an answer, numbers as they are written.

        Raises:
            HostUnreachable, HostRefused, CircuitOpen: it may answer later.
            PermanentError: the exchange says that this request cannot be served (an unknown symbol, a missing key).
            BadContent: the answer is not JSON.
        """
        if not hasattr(self._local, "ccxt"):
            # One for each thread: an instance keeps the last request and the last headers. It takes 7 ms.
            self._local.ccxt = _exchange_class(self._rest.ccxt_id)(self)
        self._local.call = call
        return getattr(self._local.ccxt, call.method)(dict(call.params))

    def fetch(self, url: str, headers: Mapping[str, str] | None) -> Any:
        """Make the request that ccxt has put together."""
        call: Call = self._local.call
        wanted = {"accept-encoding": "gzip", **call.headers}
        if self._api_key:  # without one the request is made all the same, and the exchange says what it thinks
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
        """Return the error for an answer that trying again will not change, by ccxt's reading of it; else None."""
        if error.status < 400:  # a redirect or a coding, and no word of the exchange's
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
    """Return JSON with every number that has a fraction as its text: nothing passes through a float.

    Raises:
        BadContent: not JSON, such as a page of a proxy, or JSON that is nested without end or holds far more than rows.
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
    """Return ccxt's class of an exchange whose requests are made by a RestApi."""
    import ccxt

    base: Any = getattr(ccxt, name)

    class Exchange(base):
        def __init__(self, api: RestApi) -> None:
            # ccxt refuses some endpoints without a key; whether one is needed is for the exchange to say.
            super().__init__({"enableRateLimit": False, "apiKey": api._api_key or "none"})
            self._api = api
            if api._rest_url:
                self.urls["api"] = {**self.urls["api"], **api._rest.urls(api._rest_url)}

        def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:  # noqa: ARG002
            return self._api.fetch(url, headers)

    return Exchange
