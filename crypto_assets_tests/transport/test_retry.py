"""The table of decisions: every status, every exception, every class of ccxt; and how long to wait between attempts."""

from __future__ import annotations

import inspect
import itertools

import ccxt
import httpx
import pytest

import crypto_assets.errors
from crypto_assets import sources
from crypto_assets.errors import (
    BadContainer,
    BadContent,
    ChecksumMismatch,
    CircuitOpen,
    ConfigError,
    CryptoAssetsError,
    HostRefused,
    HostUnreachable,
    IncompleteData,
    InvalidRows,
    LakeUnavailable,
    ListingError,
    MalformedFile,
    NoRows,
    NothingCollected,
    NotPublished,
    OtherVersion,
    OutOfResources,
    PermanentError,
    PostgresUnavailable,
    SourceFault,
    Stopped,
    StoredDataError,
    StoreUnavailable,
    TransientError,
    UnknownSymbol,
    UnsafePath,
)
from crypto_assets.machine.backoff import backoff_s
from crypto_assets.transport.retry import Later, Permanent, Quarantine, Retry, WaitUntil, asked_wait_s, decide

STATUSES = {
    **dict.fromkeys([400, 401, 402, 405, 406, 409, 410, 411, 413, 414, 415, 416, 422, 451, 501, 505, 511], Permanent()),
    **dict.fromkeys([403, 404], Later()),
    **dict.fromkeys([408, 425, 500, 502, 503, 504, 507, 509, *range(520, 528), 529, 530, 598, 599], Retry()),
    418: WaitUntil(None, ban=True),
    429: WaitUntil(None),
}


def descendants(kind: type) -> set[type]:
    return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize(("status", "decision"), STATUSES.items())
def test_each_status_has_its_decision_by_itself_and_inside_our_error(status, decision):
    assert decide(status) == decision
    assert decide(HostRefused("no", status=status)) == decision


@pytest.mark.parametrize(("status", "decision"), STATUSES.items())
def test_a_wait_that_the_host_asks_for_is_kept_where_trying_again_can_help_and_nowhere_else(status, decision):
    if isinstance(decision, WaitUntil):
        expected = WaitUntil(7.0, ban=decision.ban)
    else:
        expected = WaitUntil(7.0) if isinstance(decision, Retry) else decision
    assert decide(status, retry_after_s=7.0) == expected
    assert decide(HostRefused("no", status=status, retry_after_s=7.0)) == expected


@pytest.mark.parametrize(
    ("exchange", "rest", "status", "decision"),
    [
        ("binance", True, 403, WaitUntil(None, ban=True)),  # the firewall's limit
        ("binance", False, 403, Later()),  # one file of the archive
        ("binance", True, 418, WaitUntil(None, ban=True)),
        ("binance", True, 429, WaitUntil(None)),
        ("binance", True, 451, Permanent()),
        ("bybit", True, 403, WaitUntil(None, ban=True, first_s=600)),
        ("bybit", False, 403, WaitUntil(None, ban=True, first_s=600)),  # its archive refuses addresses, not files
        ("okx", True, 403, WaitUntil(None, ban=True)),
        ("okx", False, 403, WaitUntil(None, ban=True)),  # a missing file is 404
        ("kraken", True, 403, WaitUntil(None, ban=True, first_s=900)),
        ("okx", True, 429, WaitUntil(None)),
        ("coinbase", True, 403, Later()),
        ("", True, 403, Later()),
    ],
)
def test_some_exchanges_give_a_status_a_meaning_of_their_own(exchange, rest, status, decision):
    assert decide(status, exchange=exchange, rest=rest) == decision
    assert decide(HostRefused("no", status=status), exchange=exchange, rest=rest) == decision


def test_a_source_says_which_status_of_its_archive_means_that_a_file_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert decide(401, exchange="binance") == Permanent()
    monkeypatch.setattr(type(sources.get("binance")), "withheld", frozenset({401}))
    assert decide(401, exchange="binance") == Later()
    assert decide(401, exchange="binance", rest=True) == Permanent()


OURS = {
    Stopped: Permanent(),
    ConfigError: Permanent(),
    UnknownSymbol: Permanent(),
    OtherVersion: Permanent(),
    NothingCollected: Permanent(),
    NoRows: Quarantine(),
    TransientError: Retry(),
    HostUnreachable: Retry(),
    OutOfResources: Retry(),
    CircuitOpen: Later(),
    NotPublished: Later(),
    ChecksumMismatch: Quarantine(),
    PostgresUnavailable: Retry(),
    StoreUnavailable: Retry(),
    LakeUnavailable: Retry(),
    PermanentError: Permanent(),
    ListingError: Permanent(),
    MalformedFile: Quarantine(),
    BadContainer: Quarantine(),
    BadContent: Quarantine(),
    SourceFault: Quarantine(),
    InvalidRows: Quarantine(),
    StoredDataError: Permanent(),
    UnsafePath: Permanent(),
    CryptoAssetsError: Permanent(),
}


@pytest.mark.parametrize(("kind", "decision"), OURS.items())
def test_each_error_of_ours_has_its_decision(kind, decision):
    assert decide(kind("what happened")) == decision


def test_no_error_of_ours_is_without_a_decision():
    ours = {kind for _, kind in inspect.getmembers(crypto_assets.errors, inspect.isclass)}
    ours = {kind for kind in ours if issubclass(kind, CryptoAssetsError)}
    assert ours == {*OURS, HostRefused, IncompleteData}  # these two want more than a message
    assert decide(IncompleteData("what is missing", [])) == Permanent()


HTTPX = {
    httpx.ConnectError: Retry(),
    httpx.ConnectTimeout: Later(),  # TCP itself has tried several times
    httpx.ReadError: Retry(),
    httpx.ReadTimeout: Retry(),
    httpx.WriteError: Retry(),
    httpx.WriteTimeout: Retry(),
    httpx.PoolTimeout: Retry(),
    httpx.CloseError: Retry(),
    httpx.RemoteProtocolError: Retry(),
    httpx.ProxyError: Retry(),
    httpx.DecodingError: Retry(),
    httpx.LocalProtocolError: Permanent(),
    httpx.UnsupportedProtocol: Permanent(),
    httpx.TooManyRedirects: Later(),
    httpx.InvalidURL: Permanent(),
    httpx.StreamError: Permanent(),
    httpx.StreamConsumed: Permanent(),
    httpx.StreamClosed: Permanent(),
    httpx.ResponseNotRead: Permanent(),
    httpx.RequestNotRead: Permanent(),
}
NAMELESS = (httpx.StreamConsumed, httpx.StreamClosed, httpx.ResponseNotRead, httpx.RequestNotRead)


@pytest.mark.parametrize(("kind", "decision"), HTTPX.items())
def test_each_error_of_httpx_has_its_decision_by_itself_and_as_the_cause_of_ours(kind, decision):
    error = kind() if kind in NAMELESS else kind("what happened")
    assert decide(error) == decision
    if isinstance(error, httpx.HTTPError):
        ours = HostUnreachable("host: expected an answer")
        ours.__cause__ = error
        assert decide(ours) == decision


def test_no_error_of_httpx_is_without_a_decision():
    abstract = {
        httpx.HTTPError,
        httpx.RequestError,
        httpx.TransportError,
        httpx.TimeoutException,
        httpx.NetworkError,
        httpx.ProtocolError,
        httpx.HTTPStatusError,  # by its status
    }
    found = {
        kind
        for root in (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
        for kind in descendants(root)
        if kind.__module__.startswith("httpx")
    }
    assert found - abstract == set(HTTPX)


@pytest.mark.parametrize(("status", "decision"), [(503, Retry()), (410, Permanent()), (429, WaitUntil(None))])
def test_the_status_error_of_httpx_is_decided_by_its_status(status, decision):
    request = httpx.Request("GET", "http://host/a")
    error = httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))
    assert decide(error) == decision


CCXT_AGAIN = {
    "OperationFailed",
    "NetworkError",
    "ExchangeNotAvailable",
    "OnMaintenance",
    "InvalidNonce",
    "ChecksumError",
    "RequestTimeout",
    "BadResponse",
    "NullResponse",
}
CCXT_WAIT = {"RateLimitExceeded", "DDoSProtection"}


def ccxt_class(name: str) -> type[Exception]:
    return getattr(ccxt, name)


@pytest.mark.parametrize("kind", sorted(descendants(ccxt.BaseError), key=lambda kind: kind.__name__))
def test_each_class_of_ccxt_has_its_decision(kind):
    passing = dict.fromkeys(CCXT_AGAIN, Retry()) | dict.fromkeys(CCXT_WAIT, WaitUntil(None))
    assert decide(kind("binance what it says")) == passing.get(kind.__name__, Permanent())


@pytest.mark.parametrize("name", sorted(CCXT_AGAIN | CCXT_WAIT | {"RestrictedLocation", "ExchangeError", "BaseError"}))
def test_a_class_of_ccxt_is_known_by_its_name_too(name):
    assert decide(name) == decide(ccxt_class(name)("what happened"))


def test_a_class_that_ccxt_does_not_have_yet_is_decided_by_its_ancestor():
    kind = type("BridgeIsDown", (ccxt.ExchangeNotAvailable,), {"__module__": "ccxt.base.errors"})
    assert decide(kind("okx")) == Retry()
    kind = type("NotForYou", (ccxt.PermissionDenied,), {"__module__": "ccxt.base.errors"})
    assert decide(kind("okx")) == Permanent()


def of_status(exchange: str, status: int) -> Exception:
    """Return the error that ccxt itself raises for a status."""
    instance = getattr(ccxt, exchange)()
    url = f"https://api.{exchange}.com/v1/klines?symbol=X"
    with pytest.raises(ccxt.BaseError) as caught:
        instance.handle_http_status_code(status, "Reason", url, "GET", '{"code":1}')
    return caught.value


@pytest.mark.parametrize(
    ("status", "decision"),
    [
        *((status, Permanent()) for status in (400, 401, 405, 407, 409, 410, 422, 451, 501, 511)),
        *((status, Later()) for status in (403, 404)),
        *((status, Retry()) for status in (408, 500, 502, 503, 504, 520, 521, 522, 525, 526, 530)),
        (418, WaitUntil(None, ban=True)),
        (429, WaitUntil(None)),
    ],
)
def test_what_ccxt_makes_of_a_status_is_decided_by_the_status(status, decision):
    """It raises ExchangeNotAvailable, which could be tried again, also for 400, 403, 404, 405, 409, 410 and 451."""
    assert decide(of_status("coinbase", status), exchange="coinbase") == decision


@pytest.mark.parametrize(
    ("exchange", "error", "decision"),
    [
        # OKX maps 50011, but a bare 429 becomes ExchangeNotAvailable.
        ("okx", ccxt.ExchangeNotAvailable("okx GET https://www.okx.com/api 429 Too Many Requests "), WaitUntil(9.0)),
        ("okx", ccxt.RateLimitExceeded('okx {"code":"50011"}'), WaitUntil(9.0)),
        ("okx", ccxt.RestrictedLocation('okx {"code":"51155"}'), Permanent()),
        # Binance: 418 and 429 both become DDoSProtection.
        ("binance", ccxt.DDoSProtection("binance GET https://api.binance.com/a 429 Too Many {}"), WaitUntil(9.0)),
        (
            "binance",
            ccxt.DDoSProtection("binance GET https://api.binance.com/a 418 Teapot {}"),
            WaitUntil(9.0, ban=True),
        ),
        ("binance", ccxt.ExchangeNotAvailable("binance GET https://x/a 403 Forbidden "), WaitUntil(9.0, ban=True)),
        # Bybit: 403 is its limit by address, and becomes RateLimitExceeded.
        ("bybit", ccxt.RateLimitExceeded("bybit GET https://x/a 403 Forbidden "), WaitUntil(9.0, True, 600)),
        ("bybit", ccxt.RateLimitExceeded('bybit {"retCode":10006}'), WaitUntil(9.0)),
        ("kraken", ccxt.DDoSProtection("kraken EGeneral:Too many requests"), WaitUntil(9.0)),
        ("kraken", ccxt.ExchangeNotAvailable("kraken EService:Unavailable"), Retry()),  # no status in it
        ("kraken", ccxt.OnMaintenance("kraken GET https://x/a 400 Bad Request maintenance"), Retry()),
        ("gate", ccxt.BadSymbol("gate GET https://x/a 503 Unavailable"), Permanent()),
    ],
)
def test_the_peculiarities_of_ccxt_do_not_mislead(exchange, error, decision):
    assert decide(error, exchange=exchange, rest=True, retry_after_s=9.0) == decision


def test_an_exception_that_nobody_knows_and_a_name_that_ccxt_does_not_have_are_permanent():
    assert decide(KeyError("a mistake of ours")) == Permanent()
    assert decide("NoSuchClass") == Permanent()


@pytest.mark.parametrize("exchange", ["binance", "okx", ""])
def test_a_wrong_checksum_is_never_tried_again_at_once(exchange):
    decision = decide(ChecksumMismatch("expected a, found b"), exchange=exchange, retry_after_s=0.0)
    assert decision == Quarantine()
    assert not isinstance(decision, Retry | WaitUntil)


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 0.4), (2, 0.8), (3, 1.6), (4, 3.2), (5, 5.0), (6, 5.0), (60, 5.0)]
)
def test_a_backoff_is_anything_from_nothing_to_a_span_that_doubles_up_to_five_seconds(attempt, longest):
    waits = [backoff_s(attempt) for _ in range(400)]
    assert 0 <= min(waits) < longest / 4
    assert longest * 3 / 4 < max(waits) <= longest
    assert abs(sum(waits) / 400 - longest / 2) < longest / 8


def test_those_who_failed_together_do_not_try_again_together():
    waits = sorted(backoff_s(3) for _ in range(8))
    assert len({round(wait, 6) for wait in waits}) == 8
    assert max(b - a for a, b in itertools.pairwise(waits)) > 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("inf", None),
        ("nan", None),
        ("-inf", None),
        ("9" * 400, 259_200.0),
        ("Fri, 01 Jan 2094 00:00:00 GMT", 259_200.0),
    ],
)
def test_a_wait_that_no_exchange_can_mean_is_not_kept(header, seconds):
    assert asked_wait_s(httpx.Response(429, headers={"retry-after": header})) == seconds


@pytest.mark.parametrize("header", ["1_000", "1e3", "١٠٠", "１００", "+5", "-5", "0x10", "5,5", ".5", "5.", "5 s", ""])
def test_seconds_to_wait_are_digits_and_nothing_else(header):
    assert asked_wait_s(httpx.Response(429, headers={"retry-after": header.encode()})) is None


@pytest.mark.parametrize(
    ("header", "seconds"), [("0", None), ("0.0", None), ("120", 120.0), (" 7 ", 7.0), ("1.5", 1.5)]
)
def test_seconds_to_wait_are_read_as_they_are_written(header, seconds):
    assert asked_wait_s(httpx.Response(429, headers={"retry-after": header})) == seconds
