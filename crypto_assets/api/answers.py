"""The answers of the API, as in `/openapi.json`.

They only describe: a route returns ready JSON, so no row goes through these models. Tests validate the answers of a real
server against them. Where an answer is a record of the ledger, that record is the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from crypto_assets.ledger.coverage import Coverage
from crypto_assets.ledger.pauses import Control
from crypto_assets.ledger.progress import Progress
from crypto_assets.ledger.symbol_rules import Unchosen
from crypto_assets.model import State
from crypto_assets.model.described import means
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.delays import Delay, Late
from crypto_assets.transport.limit_state import CoolDown, Use

T = TypeVar("T")


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Items(Answer, Generic[T]):
    """All items."""

    items: list[T]


class Page(Answer, Generic[T]):
    """One page of a long answer."""

    items: list[T]
    next: str | None = Field(description="The path of the rest; null at the end.")


class Error(Answer):
    """Why a request has no other answer."""

    error: str
    expected: str
    found: str = Field(description="The sent value, at most 1,000 letters, or the present state.")
    what_to_do: str


class Index(Answer):
    """All paths."""

    version: str
    paths: list[str] = Field(description="Such as `GET /v1/status`.")


class Heartbeat(Answer):
    """The last heartbeat of Dagster's daemon."""

    heartbeat: datetime | None
    age_s: float | None


class Health(Answer):
    """Whether the parts answer; the parts of `crypto-assets up` count only while it runs."""

    version: str
    ok: bool
    postgres: str = Field(description="`answers`, or the problem.")
    lake: str = Field(description="`answers`, or the problem.")
    up: str = Field(description="`answers` if `crypto-assets up` runs in this home, else `not running`.")
    code_server: str
    daemon: Heartbeat


class Track(Answer):
    exchange: str
    market_type: str
    symbol: str = Field(description="As ccxt writes it: `BTC/USDT`, `BTC/USDT:USDT`.")
    dataset: str


class Acknowledgement(Track):
    """A day that a person accepts with its gap."""

    day: date
    state: State | None = Field(description="When it was acknowledged; null: not collected yet.")
    cause: Kind
    reason: str
    by: str
    at: datetime
    withdrawn: str | None = Field(description="Why it is no longer valid; null while it is valid.")


class Minutes(Answer):
    """A span [start, end) of a stored day without a bar (`missing` is true) or without trades."""

    start: datetime
    end: datetime
    missing: bool
    cause: Kind
    cause_evidence: Mapping[str, Any]


class Gap(Answer):
    """An incomplete day; or a dataset of an entry whose rule has no symbol yet: then symbol and day are null."""

    exchange: str
    market_type: str
    symbol: str | None = Field(description="As ccxt writes it: `BTC/USDT`, `BTC/USDT:USDT`.")
    dataset: str
    day: date | None
    state: State | None = Field(description="null: not collected yet.")
    reason: str
    cause: Kind
    cause_evidence: Mapping[str, Any]
    acknowledged: Acknowledgement | None
    minutes: list[Minutes]


@dataclass(frozen=True, slots=True)
class Run(Progress):
    """The progress of one run. Days are partitions: one symbol of one dataset over one UTC day."""

    remaining: int = field(metadata=means("Days of `total` without an outcome."))


class Cancelling(Answer):
    """The run ends within about a second."""

    run_id: str
    cancelling: Literal[True]


class Status(Answer):
    """Coverage of every series, active runs and pauses."""

    series: list[Coverage]
    other_origins: list[str] = Field(
        description="One line for each exchange whose stored days came from another archive than collection.yaml names."
    )
    entries_without_symbols: list[Unchosen] = Field(description="Entries whose rule has no symbol yet, by dataset.")
    runs: list[Run]
    pauses: list[Control]


class Limits(Answer):
    """How much of each limit is used now, and which budgets are cooling down until when."""

    items: list[Use]
    cool_downs: list[CoolDown]


class Delays(Answer):
    """Publication delays of the archives, and overdue objects."""

    items: list[Delay]
    late: list[Late]
