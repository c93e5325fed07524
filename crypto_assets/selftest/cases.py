"""What goes wrong in the selftest, and what the engine has promised to do about it. One line each; nothing else decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from crypto_assets.model import State

DAYS = (date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3))
BAD = DAYS[1]
"""The day that a fault of one file concerns."""

DATASETS = ("ohlcv_1m", "trades")

AVAILABLE, PROVISIONAL, DEGRADED = State.AVAILABLE, State.PROVISIONAL, State.DEGRADED
MISSING, PENDING, CORRECTED = State.MISSING, State.PENDING, State.CORRECTED


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong.

    Args:
        faults: as `crypto-assets sandbox --fault` takes them.
        states: the right ones for the days concerned; all other days must be `available`.
        says: one of these words must be in the reason of a day that is not `available`, or was not renewed.
        first: the first day concerned; `None` means BAD alone.
        stored: the days are collected before anything goes wrong.
        publishes: the fault that makes what the exchange truly publishes meanwhile; a stored day that is not renewed from
            it has to say why.
        down: the host itself refuses connections.
        rates: limits that the exchange keeps meanwhile, as `--limit` takes them.
        rest: the REST API may be asked for what the archive lacks.
    """

    name: str
    faults: tuple[str, ...]
    states: frozenset[State]
    says: tuple[str, ...] = ()
    first: date | None = None
    stored: bool = False
    publishes: str = ""
    down: bool = False
    rates: tuple[str, ...] = ()
    rest: bool = False
    datasets: tuple[str, ...] = DATASETS

    def concerns(self, dataset: str, day: date) -> bool:
        return dataset in self.datasets and (day == BAD if self.first is None else day >= self.first)

    @property
    def fault_names(self) -> set[str]:
        return {fault.partition(":")[0] for fault in self.faults} | ({"limit"} if self.rates else set())

    @property
    def slow(self) -> bool:
        return self.rest or not self.fault_names.isdisjoint(("hang", "drip", "http-418", "http-429", "http-429-date"))


def _one_of(*states: State) -> frozenset[State]:
    return frozenset(states)


FILE = f"*-{BAD}.zip"
ONCE = f"{FILE}:1:each=true:kinds=object+checksum"
OBJECT = f"{FILE}:kinds=object"
LISTING = "*:kinds=listing"

_FILES = (
    # The host refuses one file, for as long as the run lasts.
    Case("http-403", (f"http-403:{OBJECT}",), _one_of(MISSING), ("403",)),
    Case("http-404", (f"http-404:{OBJECT}",), _one_of(MISSING, PENDING), ("404", "not published")),
    Case("http-418", (f"http-418:{OBJECT}",), _one_of(MISSING), ("418",)),
    Case("http-429", (f"http-429:{OBJECT}",), _one_of(MISSING), ("429",)),
    Case("http-429-date", (f"http-429-date:{OBJECT}",), _one_of(MISSING), ("429",)),
    Case("http-500", (f"http-500:{OBJECT}",), _one_of(MISSING), ("500",)),
    Case("http-503", (f"http-503:{OBJECT}",), _one_of(MISSING), ("503",)),
    # The connection fails; where bytes come, asking for the rest of them may well succeed.
    Case("truncated", (f"truncated:{FILE}",), _one_of(MISSING, AVAILABLE), ("the connection was cut",)),
    Case("truncated-silently", (f"truncated-silently:{FILE}",), _one_of(MISSING), ("sha256", "bytes")),
    Case("cut", (f"cut:{FILE}",), _one_of(MISSING, AVAILABLE), ("the connection was cut",)),
    Case("reset", (f"reset:{OBJECT}",), _one_of(MISSING), ("the connection was cut",)),
    Case("drip", (f"drip:{FILE}",), _one_of(MISSING, AVAILABLE), ("no whole answer",)),
    Case("hang", (f"hang:{OBJECT}",), _one_of(MISSING), ("no answer within",)),
    # The same, once: the run itself must get over it.
    *(
        Case(f"{name}, once", (f"{name}:{ONCE}",), _one_of(AVAILABLE))
        for name in ("http-429", "http-429-date", "http-500", "http-503", "truncated", "cut", "reset", "drip", "hang")
    ),
    Case("http-418, once", (f"http-418:{ONCE}",), _one_of(AVAILABLE, MISSING), ("418",)),
    Case("limit 8/s", (), _one_of(AVAILABLE), rates=("8/s",)),
    # Bytes that are not what they should be.
    Case("html for a file", (f"html:{OBJECT}",), _one_of(MISSING), ("sha256", "zip")),
    Case("html for a checksum", (f"html:{FILE}:kinds=checksum",), _one_of(MISSING), ("sha256",)),
    Case("no checksum", (f"http-404:{FILE}:kinds=checksum",), _one_of(MISSING, PENDING), ("checksum",)),
    Case("wrong-bytes", (f"wrong-bytes:{FILE}",), _one_of(MISSING), ("sha256",)),
    Case("wrong-bytes, once", (f"wrong-bytes:{FILE}:1:each=true",), _one_of(MISSING, AVAILABLE), ("sha256",)),
    Case("wrong-checksum", (f"wrong-checksum:{FILE}",), _one_of(MISSING), ("sha256",)),
    Case("empty", (f"empty:{FILE}",), _one_of(MISSING), ("empty",)),
    Case("zip-bomb", (f"zip-bomb:{FILE}",), _one_of(MISSING), ("not unpacked",)),
    Case("path-traversal", (f"path-traversal:{FILE}",), _one_of(MISSING), ("expected one member",)),
    # Rows. Wrong ones are stored nowhere; where some lack, the others are stored and the day says so.
    Case(
        "missing-minutes",
        (f"missing-minutes:*klines*-{BAD}.zip",),
        _one_of(DEGRADED),
        ("3 of 1,440 bars are missing",),
        publishes="missing-minutes",
        datasets=("ohlcv_1m",),
    ),
    Case(
        "missing-minutes, trades",  # their ids run on, so a hole is a loss
        (f"missing-minutes:*trades*-{BAD}.zip",),
        _one_of(DEGRADED),
        ("ids",),
        publishes="missing-minutes",
        datasets=("trades",),
    ),
    # Keys prove that a double says nothing new, and how rows follow each other: these days are stored as if nothing were.
    Case("duplicate-rows", (f"duplicate-rows:{FILE}",), _one_of(AVAILABLE)),
    Case("descending-rows", (f"descending-rows:{FILE}",), _one_of(AVAILABLE)),
    Case(
        "inconsistent-values",
        (f"inconsistent-values:{FILE}",),
        _one_of(MISSING),
        ("outside low and high", "not allowed"),
    ),
)

_AGAIN = (
    # Days that are stored, and then something happens.
    Case("republished", (f"republished:{FILE}",), _one_of(AVAILABLE), stored=True, publishes="republished"),
    Case(
        "republished-stale-checksum",
        (f"republished-stale-checksum:{FILE}",),
        _one_of(CORRECTED),
        ("sha256",),
        stored=True,
    ),
    Case("republished, empty", (f"empty:{FILE}",), _one_of(CORRECTED), ("empty",), stored=True),
    Case(
        "republished, http-503",
        (f"republished:{FILE}", f"http-503:{OBJECT}"),
        _one_of(AVAILABLE, CORRECTED),
        ("503",),
        stored=True,
    ),
    Case("stored, then gone", (f"late:{FILE}",), _one_of(AVAILABLE), ("does not list", "expected"), stored=True),
    Case("stored, then http-503", (f"http-503:{LISTING}",), _one_of(AVAILABLE), ("503",), DAYS[0], stored=True),
)

_LISTINGS = (
    *(
        Case(f"{name}, listing", (f"{name}:{LISTING}",), _one_of(MISSING), (says,), DAYS[0])
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
    Case("http-503, listing, once", (f"http-503:{LISTING}:1:each=true",), _one_of(AVAILABLE), first=DAYS[0]),
    Case("late", (f"late:{FILE}",), _one_of(MISSING, PENDING), ("does not list", "not published")),
    # Missing is honest; a probe of the checksum would find the files.
    Case(
        "stale-listing",
        ("stale-listing:at=2024-01-02T12",),
        _one_of(AVAILABLE),
        (),
        DAYS[1],
    ),
    Case("host down", (), _one_of(MISSING), ("refuses connections",), DAYS[0], down=True),
    Case(
        "outage",
        ("outage:start=2024-01-02T08:end=2024-01-02T11",),
        _one_of(AVAILABLE),
        publishes="outage",
    ),
)

_LATE = f"late:{FILE}"


def _rest(name: str, fault: str, says: str, *states: State) -> Case:
    faults = (_LATE, fault) if fault else (_LATE,)
    return Case(f"{name}, REST", faults, _one_of(*states), (says,), rest=True)


_REST = (
    _rest("late", "", "REST", PROVISIONAL),
    _rest("http-418", "http-418:*:kinds=rest", "418", MISSING, PENDING),
    _rest("http-429", "http-429:*:kinds=rest", "429", MISSING, PENDING),
    _rest("http-500", "http-500:*:kinds=rest", "500", MISSING, PENDING),
    _rest("html", "html:*:kinds=rest", "expected", MISSING, PENDING),
    _rest("truncated-silently", "truncated-silently:*:kinds=rest", "expected", MISSING, PENDING),
    _rest("cut", "cut:*:kinds=rest", "the connection was cut", MISSING, PENDING),
    _rest("hang", "hang:*:kinds=rest", "no answer within", MISSING, PENDING),
    _rest("http-503, once", "http-503:*:1:each=true:kinds=rest", "REST", PROVISIONAL),
    Case(
        "outage, REST",
        (_LATE, "outage:start=2024-01-02T08:end=2024-01-02T11"),
        _one_of(PROVISIONAL),
        ("REST",),
        publishes="outage",
        rest=True,
    ),
)

CASES: Sequence[Case] = (Case("nothing", (), _one_of(AVAILABLE)), *_FILES, *_AGAIN, *_LISTINGS, *_REST)
