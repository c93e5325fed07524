"""The cases of the selftest: faults, and what the engine promises. One line each; nothing else decides."""

from __future__ import annotations

from collections.abc import Sequence

from crypto_assets.model import State
from crypto_assets.sandbox.selftest.case import (
    AVAILABLE,
    BAD,
    CORRECTED,
    FILE,
    MISSING,
    PENDING,
    PROVISIONAL,
    Case,
    one_of,
)
from crypto_assets.sandbox.selftest.life_cases import LIFE
from crypto_assets.sandbox.selftest.row_cases import ROWS
from crypto_assets.sandbox.selftest.scenes import THREE_DAYS
from crypto_assets.sandbox.selftest.store_cases import STORES

ONCE = f"{FILE}:1:each=true:kinds=object+checksum"
OBJECT = f"{FILE}:kinds=object"
LISTING = "*:kinds=listing"

_FILES = (
    # The host refuses one file during the whole run.
    Case("http-403", (f"http-403:{OBJECT}",), one_of(MISSING), ("403",)),
    Case("http-404", (f"http-404:{OBJECT}",), one_of(MISSING, PENDING), ("404", "not published")),
    Case("http-418", (f"http-418:{OBJECT}",), one_of(MISSING), ("418",)),
    Case("http-429", (f"http-429:{OBJECT}",), one_of(MISSING), ("429",)),
    Case("http-429-date", (f"http-429-date:{OBJECT}",), one_of(MISSING), ("429",)),
    Case("http-500", (f"http-500:{OBJECT}",), one_of(MISSING), ("500",)),
    Case("http-503", (f"http-503:{OBJECT}",), one_of(MISSING), ("503",)),
    # The connection fails; if some bytes arrive, asking for the rest may succeed.
    Case("truncated", (f"truncated:{FILE}",), one_of(MISSING, AVAILABLE), ("the connection was cut",)),
    Case("truncated-silently", (f"truncated-silently:{FILE}",), one_of(MISSING), ("sha256", "bytes")),
    Case("cut", (f"cut:{FILE}",), one_of(MISSING, AVAILABLE), ("the connection was cut",)),
    Case("reset", (f"reset:{OBJECT}",), one_of(MISSING), ("the connection was cut",)),
    Case("drip", (f"drip:{FILE}",), one_of(MISSING, AVAILABLE), ("no whole answer",)),
    Case("hang", (f"hang:{OBJECT}",), one_of(MISSING), ("no answer within",)),
    # The same, once: the run itself must recover.
    *(
        Case(f"{name}, once", (f"{name}:{ONCE}",), one_of(AVAILABLE))
        for name in ("http-429", "http-429-date", "http-500", "http-503", "truncated", "cut", "reset", "drip", "hang")
    ),
    Case("http-418, once", (f"http-418:{ONCE}",), one_of(AVAILABLE, MISSING), ("418",)),
    Case("limit 8/s", (), one_of(AVAILABLE), rates=("8/s",)),
    # Wrong bytes.
    Case("html for a file", (f"html:{OBJECT}",), one_of(MISSING), ("sha256", "zip")),
    Case("html for a checksum", (f"html:{FILE}:kinds=checksum",), one_of(MISSING), ("sha256",)),
    Case("no checksum", (f"http-404:{FILE}:kinds=checksum",), one_of(MISSING, PENDING), ("checksum",)),
    Case("wrong-bytes", (f"wrong-bytes:{FILE}",), one_of(MISSING), ("sha256",)),
    Case("wrong-bytes, once", (f"wrong-bytes:{FILE}:1:each=true",), one_of(MISSING, AVAILABLE), ("sha256",)),
    Case("wrong-checksum", (f"wrong-checksum:{FILE}",), one_of(MISSING), ("sha256",)),
    Case("empty", (f"empty:{FILE}",), one_of(MISSING), ("empty",)),
    Case("zip-bomb", (f"zip-bomb:{FILE}",), one_of(MISSING), ("not unpacked",)),
    Case("path-traversal", (f"path-traversal:{FILE}",), one_of(MISSING), ("expected one member",)),
)

_NOT_FOLLOWED = ("redirect-host", "redirect-loopback", "redirect-http")
_UNASKED, _NOT_READ = "which was not requested", "expected at most"

_HOSTILE = (
    # Malicious answers: none is read, unpacked or followed beyond its limit.
    Case("gzip-bomb", (f"gzip-bomb:{OBJECT}",), one_of(MISSING), (_UNASKED,)),
    Case("gzip-bomb, checksum", (f"gzip-bomb:{FILE}:kinds=checksum",), one_of(MISSING), (_UNASKED,)),
    Case("gzip-bomb, listing", (f"gzip-bomb:{LISTING}",), one_of(MISSING), (_UNASKED,), THREE_DAYS.first),
    Case("endless", (f"endless:{OBJECT}",), one_of(MISSING), (_NOT_READ,)),
    Case("endless, checksum", (f"endless:{FILE}:kinds=checksum",), one_of(MISSING), ("sha256",)),
    Case("endless, listing", (f"endless:{LISTING}",), one_of(MISSING), ("a page of at most",), THREE_DAYS.first),
    Case("endless-pages", (f"endless-pages:{LISTING}",), one_of(MISSING), ("and no end",), THREE_DAYS.first),
    Case("deep-xml", (f"deep-xml:{LISTING}",), one_of(MISSING), ("expected S3 XML",), THREE_DAYS.first),
    Case("terminal-codes", (f"terminal-codes:{LISTING}",), one_of(MISSING), (r"\x9d0;owned",), THREE_DAYS.first),
    Case("redirect-loop", (f"redirect-loop:{OBJECT}",), one_of(MISSING), ("redirects without end",)),
    *(Case(name, (f"{name}:{OBJECT}",), one_of(MISSING), ("not followed",)) for name in _NOT_FOLLOWED),
    *(
        Case(f"{name}, listing", (f"{name}:{LISTING}",), one_of(MISSING), ("not followed",), THREE_DAYS.first)
        for name in _NOT_FOLLOWED
    ),
)

_AGAIN = (
    # Days are stored before the fault.
    Case("republished", (f"republished:{FILE}",), one_of(AVAILABLE), stored=True, publishes="republished"),
    Case(
        "republished-stale-checksum",
        (f"republished-stale-checksum:{FILE}",),
        one_of(CORRECTED),
        ("sha256",),
        stored=True,
    ),
    Case("republished, empty", (f"empty:{FILE}",), one_of(CORRECTED), ("empty",), stored=True),
    Case(
        "republished, http-503",
        (f"republished:{FILE}", f"http-503:{OBJECT}"),
        one_of(AVAILABLE, CORRECTED),
        ("503",),
        stored=True,
    ),
    Case("stored, then gone", (f"late:{FILE}",), one_of(AVAILABLE), ("does not list", "expected"), stored=True),
    Case("stored, then http-503", (f"http-503:{LISTING}",), one_of(AVAILABLE), ("503",), THREE_DAYS.first, stored=True),
)

_LISTINGS = (
    *(
        Case(f"{name}, listing", (f"{name}:{LISTING}",), one_of(MISSING), (says,), THREE_DAYS.first)
        for name, says in (
            ("http-403", "403"),
            ("http-429", "429"),
            ("http-503", "503"),
            ("html", "expected S3 XML"),
            ("cut-xml", "expected S3 XML"),
            ("reset", "the connection was cut"),
            ("hang", "no answer within"),
        )
    ),
    Case("http-503, listing, once", (f"http-503:{LISTING}:1:each=true",), one_of(AVAILABLE), first=THREE_DAYS.first),
    Case("late", (f"late:{FILE}",), one_of(MISSING, PENDING), ("does not list", "not published")),
    # Missing is correct; a probe of the checksum would find the files.
    Case(
        "stale-listing",
        ("stale-listing:at=2024-01-02T12",),
        one_of(AVAILABLE),
        (),
        BAD,
    ),
    Case("host down", (), one_of(MISSING), ("refuses connections",), THREE_DAYS.first, down=True),
    Case(
        "outage",
        ("outage:start=2024-01-02T08:end=2024-01-02T11",),
        one_of(AVAILABLE),
        publishes="outage",
    ),
)

_LATE = f"late:{FILE}"


def _rest(name: str, fault: str, says: str, *states: State) -> Case:
    faults = (_LATE, fault) if fault else (_LATE,)
    return Case(f"{name}, REST", faults, one_of(*states), (says,), rest=True)


_REST = (
    _rest("late", "", "REST", PROVISIONAL),
    _rest("http-418", "http-418:*:kinds=rest", "418", MISSING, PENDING),
    _rest("http-429", "http-429:*:kinds=rest", "429", MISSING, PENDING),
    _rest("http-500", "http-500:*:kinds=rest", "500", MISSING, PENDING),
    _rest("html", "html:*:kinds=rest", "expected", MISSING, PENDING),
    _rest("truncated-silently", "truncated-silently:*:kinds=rest", "expected", MISSING, PENDING),
    _rest("cut", "cut:*:kinds=rest", "the connection was cut", MISSING, PENDING),
    _rest("hang", "hang:*:kinds=rest", "no answer within", MISSING, PENDING),
    _rest("gzip-bomb", "gzip-bomb:*:kinds=rest", _NOT_READ, MISSING, PENDING),
    _rest("endless", "endless:*:kinds=rest", _NOT_READ, MISSING, PENDING),
    _rest("redirect-host", "redirect-host:*:kinds=rest", "not followed", MISSING, PENDING),
    _rest("http-503, once", "http-503:*:1:each=true:kinds=rest", "REST", PROVISIONAL),
    Case(
        "outage, REST",
        (_LATE, "outage:start=2024-01-02T08:end=2024-01-02T11"),
        one_of(PROVISIONAL),
        ("REST",),
        publishes="outage",
        rest=True,
    ),
)

CASES: Sequence[Case] = (
    Case("nothing", (), one_of(AVAILABLE)),
    *_FILES,
    *_HOSTILE,
    *ROWS,
    *_AGAIN,
    *_LISTINGS,
    *_REST,
    *LIFE,
    *STORES,
)
