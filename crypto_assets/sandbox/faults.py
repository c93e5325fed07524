"""Faults of an exchange and its network on demand: the catalogue, the active faults, and the faults that a request meets.

Every fault concerns all exchanges, or one of them (`exchange`).

Switch a fault on with `POST /_sandbox/faults`, `crypto-assets sandbox --fault` or `app.state.faults.on()`. It can be limited
to kinds of request, keys (a glob), a number of requests and a time. `wire.py` changes answers, `shown.py` changes objects.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crypto_assets.sandbox.fault_catalogue import (
    ANSWERS,
    CATALOGUE,
    CHECKSUM,
    KINDS,
    MARKET,
    OBJECTS,
    WORLD,
    About,
    Kind,
)
from crypto_assets.sandbox.outage import Quiet, whole_days

__all__ = ["ANSWERS", "CATALOGUE", "CHECKSUM", "KINDS", "MARKET", "OBJECTS", "WORLD", "About", "Active", "Fault"]
__all__ += ["FaultError", "Faults", "FaultsOf", "Kind", "catalogue_text", "make_fault", "parse_fault"]


class FaultError(ValueError):
    """An invalid fault; the control path answers 400, the command exits with code 2."""


class Fault(BaseModel):
    """One fault and its scope.

    Args:
        pattern: glob over the key of an object, the prefix of a listing, path and query of a REST request; for a fault of
            the market over the exchange's symbols. Without `.CHECKSUM` at its end it also matches the object's checksum.
        exchange: only requests to this exchange; None: to any. The market is one: its faults concern all exchanges.
        times: at most this many requests of each kind; with `each`, of each kind and key.
        seconds: from when it was switched on.
        probability: the share of requests; for faults of objects the share of objects, always the same ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault: str
    pattern: str = "*"
    exchange: str | None = None
    kinds: tuple[Kind, ...] = ()
    times: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    probability: float = Field(default=1.0, gt=0, le=1)
    each: bool = False
    retry_after_s: int = Field(default=1, ge=0)
    chunk_bytes: int = Field(default=64, ge=1)
    pause_s: float = Field(default=0.1, ge=0)
    at: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None

    @model_validator(mode="after")
    def _known(self) -> Fault:
        if self.fault not in CATALOGUE:
            close = get_close_matches(self.fault, CATALOGUE, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "`crypto-assets sandbox --fault help` lists them"
            raise ValueError(f"fault {self.fault!r} is unknown; {hint}")
        if self.fault in MARKET:
            self._check_market()
        from crypto_assets.sandbox.dialects import known  # which reads the kinds of requests from here

        if self.exchange is not None and self.exchange not in known():
            raise ValueError(f"exchange {self.exchange!r}: expected one of the sandbox, {', '.join(known())}")
        return self

    def _check_market(self) -> None:
        name = {"outage": "an outage", "silence": "a silence"}.get(self.fault, self.fault)
        if self.fault in ("listed", "delisted"):
            if self.at is None or self.start or self.end:
                raise ValueError(f"{self.fault} needs `at` alone, such as at=2024-01-02T04")
        elif self.at or self.start is None or self.end is None or self.start >= self.end:
            raise ValueError(
                f"{name} needs `start` and a later `end`, such as start=2024-01-02T08 and end=2024-01-02T10"
            )
        if self.exchange:
            raise ValueError(f"{name} concerns the market, which is one for all exchanges: it takes no exchange")
        if self.times or self.seconds or self.probability < 1:
            raise ValueError(
                f"{name} concerns everything until it is switched off: it takes no times, seconds or probability"
            )
        if self.fault == "outage" and self.pattern != "*":
            raise ValueError(
                "an outage concerns every symbol: it takes `start` and `end` only; `silence` is for some symbols"
            )
        if self.fault == "outage" and whole_days(self._quiet):
            raise ValueError(
                f"an outage from {self.start} to {self.end} covers a whole UTC day; leave a part of each day"
            )

    @property
    def quiet(self) -> Quiet | None:
        """The effect of a fault of the market; None for other faults."""
        return self._quiet if self.fault in MARKET else None

    @property
    def _quiet(self) -> Quiet:
        match self.fault:
            case "listed":
                return Quiet(None, self.at, self.pattern, listed=False)
            case "delisted":
                return Quiet(self.at, None, self.pattern, listed=False)
        return Quiet(self.start, self.end, self.pattern, listed=self.fault != "relisted")

    @property
    def concerns(self) -> tuple[Kind, ...]:
        return self.kinds or CATALOGUE[self.fault].kinds

    def matches(self, key: str) -> bool:
        return fnmatchcase(key, self.pattern) or fnmatchcase(key.removesuffix(CHECKSUM), self.pattern)


def make_fault(**values: Any) -> Fault:
    """Return a fault from the values of JSON or of a command line; times without a zone are UTC.

    Raises:
        FaultError: an unknown name or option, or an invalid value.
    """
    for name in ("at", "start", "end"):
        if isinstance(values.get(name), str):
            try:
                values[name] = datetime.fromisoformat(values[name])
            except ValueError:
                raise FaultError(f"{name}: expected a time such as 2024-01-02T08, found {values[name]!r}") from None
        if isinstance(values.get(name), datetime) and values[name].tzinfo is None:
            values[name] = values[name].replace(tzinfo=UTC)
    try:
        return Fault.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FaultError(f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}") from None


def parse_fault(text: str) -> Fault:
    """Return the fault of `NAME[:PATTERN][:TIMES][:OPTION=VALUE]…`; raises FaultError."""
    name, *rest = text.split(":")
    values: dict[str, Any] = {"fault": name}
    for part in rest:
        option, equals, value = part.partition("=")
        if equals and option in Fault.model_fields:
            values[option] = tuple(value.split("+")) if option == "kinds" else value
        elif part.isdigit():
            values["times"] = part
        elif part:
            values["pattern"] = part
    return make_fault(**values)


def catalogue_text() -> str:
    """Return the list of `--fault help`."""
    lines = [
        f"  {name:<28}{about.text} [{', '.join(about.kinds) or 'everything'}]" for name, about in CATALOGUE.items()
    ]
    return "\n".join(
        [
            "NAME[:PATTERN][:TIMES][:OPTION=VALUE]…, for example http-503:*BTCUSDT*:3 or drip:pause_s=1",
            "Options: exchange, kinds (a+b), seconds, probability, each, retry_after_s, chunk_bytes, pause_s,",
            "         at, start, end.",
            "Faults, and in brackets the requests they concern:",
            *lines,
        ]
    )


@dataclass
class Active:
    """An active fault, with the counts of its requests."""

    id: int
    fault: Fault
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    hits: Counter[str] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        seconds = self.fault.seconds
        return seconds is not None and time.monotonic() - self.started >= seconds

    def spent(self, kind: Kind, key: str) -> bool:
        """Return whether it has reached its number of requests of this kind."""
        times = self.fault.times
        return times is not None and self.hits[self._counter(kind, key)] >= times

    def count(self, kind: Kind, key: str) -> None:
        self.hits[self._counter(kind, key)] += 1

    def _counter(self, kind: Kind, key: str) -> str:
        return f"{kind} {key}" if self.fault.each else kind


class Faults:
    """The active faults; may be read and changed from any thread.

    Args:
        change_market: called with the effects of all faults of the market when one is switched on or off; raises
            ValueError if there is no market.
    """

    def __init__(self, change_market: Callable[[Sequence[Quiet]], None], seed: int = 0) -> None:
        self._change_market = change_market
        self.random = random.Random(seed)
        self.lock = threading.RLock()
        self._on: dict[int, Active] = {}
        self._next = 1

    def on(self, fault: str | Fault, **options: Any) -> int:
        """Switch a fault on; return its number, for `off`. Raises FaultError."""
        made = fault if isinstance(fault, Fault) else make_fault(fault=fault, **options)
        with self.lock:
            active = Active(self._next, made)
            self._on[active.id] = active
            try:
                self._tell(made)
            except ValueError as error:
                del self._on[active.id]
                raise FaultError(str(error)) from None
            self._next += 1
        return active.id

    def off(self, which: int | str | None = None) -> int:
        """Switch off one fault by its number, all of one name, or all; return how many were on."""
        with self.lock:
            gone = [a for a in self._on.values() if which is None or which in (a.id, a.fault.fault)]
            for active in gone:
                del self._on[active.id]
            for active in gone:
                self._tell(active.fault)
        return len(gone)

    def _tell(self, changed: Fault) -> None:
        if changed.quiet:
            try:
                self._change_market([quiet for active in self._on.values() if (quiet := active.fault.quiet)])
            except ValueError as error:
                raise ValueError(f"{changed.fault}: {error}") from None

    def active(self) -> list[Active]:
        """Return the active faults in the order they were switched on."""
        with self.lock:
            return [active for active in self._on.values() if not active.over]

    def is_on(self, active: Active) -> bool:
        with self.lock:
            return active.id in self._on and not active.over

    def of(self, exchange: str) -> FaultsOf:
        """Return the faults that requests to one exchange meet."""
        return FaultsOf(self, exchange)


class FaultsOf:
    """The faults that requests to one exchange meet."""

    def __init__(self, faults: Faults, exchange: str) -> None:
        self._faults = faults
        self._exchange = exchange

    def claim_answer(self, kind: Kind, key: str) -> Active | None:
        """Return the fault of `ANSWERS` that applies to this request, and count the request."""
        with self._faults.lock:
            for active in self._matching(ANSWERS, kind, key):
                if active.spent(kind, key):
                    continue
                if self._faults.random.random() < active.fault.probability:
                    active.count(kind, key)
                    return active
        return None

    def claim_objects(self, kind: Kind, key: str) -> list[Active]:
        """Return the faults of objects that apply to a request for an object or checksum, and count the request."""
        with self._faults.lock:
            found = self.of_object(kind, key)
            for active in found:
                active.count(kind, key)
            return found

    def of_object(self, kind: Kind, key: str) -> list[Active]:
        """Return the faults of objects, `late` included, that concern a key; for a listing, which does not count."""
        with self._faults.lock:
            return [
                active
                for active in self._matching({**OBJECTS, "late": WORLD["late"]}, kind, key)
                if not active.spent(kind, key) and _share(active, key) < active.fault.probability
            ]

    def hides(self, key: str, decided: dict[tuple[int, str], bool]) -> bool:
        """Return whether a listing hides a key that is late; `decided` has the decisions of this listing so far.

        One listing is one request, however many keys it hides.
        """
        hidden = False
        with self._faults.lock:
            for active in self._matching({"late": WORLD["late"]}, "listing", key):
                mark = active.id, key if active.fault.each else ""
                if mark not in decided:
                    decided[mark] = not active.spent("listing", key)
                    if decided[mark]:
                        active.count("listing", key)
                hidden |= decided[mark] and _share(active, key) < active.fault.probability
        return hidden

    def frozen_at(self, prefix: str) -> datetime | None:
        """Return since when the listing of a prefix does not change, and count the request; None if it is up to date."""
        with self._faults.lock:
            for active in self._matching({"stale-listing": WORLD["stale-listing"]}, "listing", prefix):
                if not active.spent("listing", prefix):
                    active.count("listing", prefix)
                    return active.fault.at or active.since
        return None

    def _matching(self, names: Mapping[str, About], kind: Kind, key: str) -> Iterator[Active]:
        for active in self._faults.active():
            fault = active.fault
            mine = fault.exchange in (None, self._exchange)
            if mine and fault.fault in names and kind in fault.concerns and fault.matches(key):
                yield active


def _share(active: Active, key: str) -> float:
    """Return a number from 0 to 1, the same for an object and its checksum, and in every process."""
    return random.Random(f"{active.fault.fault} {key.removesuffix(CHECKSUM)}").random()
