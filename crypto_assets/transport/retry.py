"""Decides what to do about a failure, by its cause: one table for statuses, exceptions and ccxt's errors.

| answer or error                                     | decision                                          |
|-----------------------------------------------------|---------------------------------------------------|
| no connection, cut, no answer in time               | try again, with backoff                           |
| 408, 425, 5xx of a moment                           | try again; after the time that the host names     |
| words that mean an error that passes                | try again, whatever the status                    |
| 429; 418, 403 and words where they mean a ban       | wait, all processes together                      |
| 403 whose text refuses the country of our address   | permanent: a person chooses another way or source |
| 404, connection attempts that vanish, open circuit  | later, in another run                             |
| wrong bytes or rows                                 | quarantine, later again                           |
| the rest: 400, 401, 410, 451, bad URL, bad config   | permanent: only a person can help, or nobody      |

Pure functions: nothing here waits or sends. Sources of the ccxt part: ccxt 4.5 `base/errors.py`, `Exchange.httpExceptions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from crypto_assets import sources
from crypto_assets.errors import (
    ChecksumMismatch,
    CircuitOpen,
    CryptoAssetsError,
    HostRefused,
    HostUnreachable,
    InvalidRows,
    MalformedFile,
    NotPublished,
    PermanentError,
    TransientError,
)
from crypto_assets.sources.limits import FIRST_BAN_S


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again now, a little later each time (`backoff`)."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """No requests for `seconds`; None: the exchange did not say how long. `ban` is more than a slow-down: it holds for every
    budget that has the host, and lasts `first_s` the first time where the exchange does not say how long.
    """

    seconds: float | None
    ban: bool = False
    first_s: float = FIRST_BAN_S


@dataclass(frozen=True, slots=True)
class Later:
    """Not in this run: another attempt now gives the same result, a later one may not."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Keep the bytes for people to see, store nothing; later the file may be right."""


@dataclass(frozen=True, slots=True)
class Permanent:
    """Another attempt gives the same result."""


Decision = Retry | WaitUntil | Later | Quarantine | Permanent

# RFC 9110 (10.2.3) has digits only; some hosts add decimals. `float` alone reads `1_000`, `1e3` and other scripts' digits.
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")

_LONGEST_ASKED_S = 259_200.0
"""No exchange asks for more than three days (Binance's longest ban); a longer time is a mistake."""

_BANNED_UNTIL = re.compile(r"banned until ([0-9]{13})\b")

_COUNTRY_WORDS = ("configured to block access from your country", "banned the country or region", "error code: 1009")

# 520–527 and 530 are Cloudflare's statuses for a failing server behind it.
_PASSING = frozenset({408, 425, 500, 502, 503, 504, 507, 509, *range(520, 528), 529, 530, 598, 599})

# ccxt's classes by name, because ccxt is imported late. The nearest ancestor in this table decides.
_CCXT: dict[str, Decision] = {
    "RateLimitExceeded": WaitUntil(None),
    "DDoSProtection": WaitUntil(None),
    "OnMaintenance": Retry(),
    "ExchangeNotAvailable": Retry(),
    "RequestTimeout": Retry(),
    "ChecksumError": Retry(),
    "InvalidNonce": Retry(),
    "NetworkError": Retry(),
    "NullResponse": Retry(),
    "BadResponse": Retry(),
    "CancelPending": Permanent(),
    "OperationFailed": Retry(),
    "RestrictedLocation": Permanent(),
    "ExchangeError": Permanent(),
    "UnsubscribeError": Permanent(),
    "BaseError": Permanent(),
}
# `binance GET https://… 404 Not Found {…}`: ccxt's message for a status.
_CCXT_STATUS = re.compile(r"https?://\S+ ([1-5]\d\d) ")


def decide(
    failure: int | str | BaseException,
    *,
    exchange: str = "",
    rest: bool = False,
    retry_after_s: float | None = None,
    body: str = "",
) -> Decision:
    """Return the decision for a status, an exception (ours, httpx's or ccxt's) or the name of a ccxt class.

    Args:
        exchange: some exchanges give a status their own meaning.
        rest: whether it is the exchange's API; there a 403 can be a ban, while most archives refuse single files with it.
        retry_after_s: the wait that the answer asked for; 0 is read as None: it did not say how long.
        body: the beginning of the text of a refusal; an error of ours brings its own.
    """
    retry_after_s = retry_after_s or None
    if isinstance(failure, int):
        return _of_status(failure, exchange, rest, retry_after_s, body)
    if isinstance(failure, str):
        return _CCXT.get(failure, Permanent())
    if isinstance(failure, CryptoAssetsError):
        return _of_ours(failure, exchange, rest, retry_after_s)
    if isinstance(failure, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError):
        return _of_httpx(failure)
    names = [kind.__name__ for kind in type(failure).__mro__]
    if type(failure).__module__.startswith("ccxt"):
        return _of_ccxt(names, str(failure), exchange, retry_after_s)
    return Permanent()


def asked_wait_s(response: httpx.Response, body: str = "") -> float | None:
    """Return the seconds that an answer asks to wait; three days at most; None if it does not say how long.

    A Retry-After header, given as seconds or as an HTTP date, is kept as it is, also where it is shorter than usual: Binance
    gives the rest of a ban with it (rest-api.md, "IP Limits"). 0, or an instant that is over, says nothing. Without one, the
    end of a ban may be in the text (`IP banned until 1660090423228`, ccxt/ccxt#14639).
    """
    text = response.headers.get("retry-after", "")
    if _SECONDS.fullmatch(text.strip()):
        seconds = float(text)
    else:
        try:
            seconds = _until(parsedate_to_datetime(text), response)
        except (ValueError, TypeError):  # TypeError: only one of the two dates has a time zone
            seconds = 0.0
    if seconds <= 0 and (found := _BANNED_UNTIL.search(body)):
        try:
            seconds = _until(datetime.fromtimestamp(int(found[1]) / 1000, UTC), response)
        except (ValueError, TypeError):  # a Date that is none
            seconds = 0.0
    return min(seconds, _LONGEST_ASKED_S) if seconds > 0 else None


def _until(at: datetime, response: httpx.Response) -> float:
    """Return the seconds until an instant, by the host's own clock if its answer has one, because ours may be wrong."""
    told = response.headers.get("date")
    return (at - (parsedate_to_datetime(told) if told else datetime.now(UTC))).total_seconds()


def refuses_country(status: int, body: str) -> bool:
    """Return whether an answer of 403 says that the host does not serve the country of our address, which no wait changes.

    The words are those of the networks in front of hosts, whatever the exchange: Amazon CloudFront's and Cloudflare's 1009.
    """
    shown = " ".join(body.split()).lower()
    return status == 403 and any(words in shown for words in _COUNTRY_WORDS)


def _of_status(status: int, exchange: str, rest: bool, retry_after_s: float | None, body: str = "") -> Decision:
    if refuses_country(status, body):
        return Permanent()
    if not rest and status in _withheld(exchange):
        return Later()
    # 418 means a ban from any host: nobody else uses it.
    if status == 418 or status in (_bans(exchange) if rest else _archive_bans(exchange)):
        return _ban(exchange, retry_after_s)
    if status == 429:
        return _ban(exchange, retry_after_s) if _BANNED_UNTIL.search(body) else WaitUntil(retry_after_s)
    if status in _PASSING:
        return Retry() if retry_after_s is None else WaitUntil(retry_after_s)
    # 403 from an archive: one file is refused for now, or an edge server limits us; do not try again at once.
    return Later() if status in (403, 404) else Permanent()


def _bans(exchange: str) -> frozenset[int]:
    """Return the statuses of an API that mean a ban: each exchange gives 403 its own meaning."""
    return sources.get(exchange).bans if exchange in sources.names() else frozenset()


def _archive_bans(exchange: str) -> frozenset[int]:
    """Return the statuses of an archive that mean a ban."""
    return sources.get(exchange).archive_bans if exchange in sources.names() else frozenset()


def _withheld(exchange: str) -> frozenset[int]:
    """Return the statuses of an archive that mean "no such file", besides 404."""
    return sources.get(exchange).withheld if exchange in sources.names() else frozenset()


def _of_ours(error: CryptoAssetsError, exchange: str, rest: bool, retry_after_s: float | None) -> Decision:
    match error:
        case HostRefused():
            asked = error.retry_after_s if retry_after_s is None else retry_after_s
            return _of_status(error.status, exchange, rest, asked or None, str(error.evidence.get("body", "")))
        case HostUnreachable():
            cause = error.__cause__
            return _of_httpx(cause) if isinstance(cause, httpx.HTTPError) else Retry()
        case ChecksumMismatch() | MalformedFile() | InvalidRows():
            return Quarantine()
        case CircuitOpen() | NotPublished():
            return Later()
        case PermanentError():
            return Permanent()
        case TransientError():  # Postgres, and transient errors added later
            return Retry()
        case _:  # also Stopped and ConfigError: trying again would be wrong
            return Permanent()


def _of_httpx(error: Exception) -> Decision:
    match error:
        # TCP itself has tried to connect several times by then: a host that drops packets is not tried again now.
        case httpx.ConnectTimeout() | httpx.TooManyRedirects():
            return Later()
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError() | httpx.InvalidURL() | httpx.StreamError():
            return Permanent()
        case httpx.HTTPStatusError():
            return _of_status(error.response.status_code, "", False, None)
        case _:
            return Retry()


def _of_ccxt(names: list[str], message: str, exchange: str, retry_after_s: float | None) -> Decision:
    """Return the decision for a ccxt error.

    ccxt also raises ExchangeNotAvailable for 400, 403, 404, 451 and OKX's 429, so a status in the message takes precedence.
    """
    found = next((_CCXT[name] for name in names if name in _CCXT), Permanent())
    status = _CCXT_STATUS.search(message)
    if "ExchangeNotAvailable" in names and "OnMaintenance" not in names and status:
        return _of_status(int(status[1]), exchange, True, retry_after_s)
    if isinstance(found, WaitUntil):
        banned = status is not None and int(status[1]) in (*_bans(exchange), 418)
        return _ban(exchange, retry_after_s) if banned else WaitUntil(retry_after_s)
    return found


def banned_in_words(exchange: str, body: str) -> WaitUntil | None:
    """Return the ban that the text of an error announces, whatever its status; None if it announces none."""
    shown = "".join(body.split())
    words = sources.get(exchange).ban_words
    return _ban(exchange, None) if any("".join(one.split()) in shown for one in words) else None


def passes_in_words(exchange: str, body: str) -> Retry | None:
    """Return the decision for an error whose text says that it passes, whatever its status; None for any other text."""
    shown = "".join(body.split())
    words = ("".join(one.split()) for one in sources.get(exchange).passing_words)
    # A code is not the beginning of a longer one.
    return Retry() if any(re.search(rf"{re.escape(one)}(?!\d)", shown) for one in words) else None


def _ban(exchange: str, retry_after_s: float | None) -> WaitUntil:
    first_s = sources.get(exchange).first_ban_s if exchange in sources.names() else FIRST_BAN_S
    return WaitUntil(retry_after_s, ban=True, first_s=first_s)
