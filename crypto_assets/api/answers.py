"""The answers of the API, as in `/openapi.json`.

They only describe: a route returns ready JSON, so no row goes through these models. Tests validate the answers of a real
server against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from crypto_assets.ledger.coverage import Coverage
from crypto_assets.ledger.pauses import Control
from crypto_assets.ledger.progress import RunState
from crypto_assets.model import State
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


class Gap(Track):
    """An incomplete day."""

    day: date
    state: State | None = Field(description="null: not collected yet.")
    reason: str
    cause: Kind
    cause_evidence: Mapping[str, Any]
    acknowledged: Acknowledgement | None
    minutes: list[Minutes]


class Run(Answer):
    """The progress of one run. Days are partitions: one symbol of one dataset over one UTC day."""

    run_id: str
    kind: str
    what: str
    state: RunState
    total: int
    done: int = Field(description="Days with an outcome.")
    failed: int = Field(description="Days of `done` that are incomplete.")
    remaining: int
    rows: int
    bytes: int
    days_per_s: float = Field(description="Over the last 30 s.")
    rows_per_s: float = Field(description="Over the last 30 s.")
    eta_s: float | None = Field(description="Seconds left; null while unknown.")
    last_partition: str
    reason: str
    host: str
    pid: int
    started_at: datetime
    updated_at: datetime


class Cancelling(Answer):
    """The run ends within about a second."""

    run_id: str
    cancelling: Literal[True]


class Status(Answer):
    """Coverage of every series, active runs and pauses."""

    series: list[Coverage]
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


# ---- rows of tables -------------------------------------------------------------------------------------------------


class Partition(Track):
    """A row of `collection.partitions`: the record of a symbol and day."""

    day: date
    state: State
    reason: str
    evidence: Mapping[str, Any]
    rows: int | None
    size_bytes: int | None = Field(description="Of the Parquet file.")
    content_sha256: str | None = Field(description="Of the Parquet file.")
    path: str | None
    source: str | None
    source_key: str | None
    source_etag: str | None
    source_size_bytes: int | None
    source_sha256: str | None = Field(description="Of the downloaded bytes.")
    source_published_sha256: str | None
    source_last_modified: datetime | None
    failed_checks: list[str]
    findings: Mapping[str, Any]
    judged_by: str = Field(description="What the findings depend on besides the rows; empty: always checked again.")
    attempt_error: str | None
    run_id: str | None
    collected_at: datetime | None
    known_from: datetime | None = Field(description="Since when the stored rows are known.")
    corrections: int = Field(description="How often stored rows were replaced by others.")
    reported_at: datetime | None = Field(description="When this outcome was reported to Dagster; null: not yet.")
    updated_at: datetime


class Incident(Answer):
    """A row of `collection.incidents`: a span [start_time, end_time) without data, and why."""

    incident_id: int
    exchange: str
    market_type: str
    symbol: str | None = Field(description="null: every symbol of the market.")
    dataset: str | None
    kind: Kind
    start_time: datetime
    end_time: datetime
    symbols: list[str] = Field(description="The stored symbols with this gap.")
    evidence: Mapping[str, Any]
    source: Literal["known", "found"] = Field(description="Shipped with crypto_assets, or seen in stored data.")
    reference: str | None
    found_at: datetime
    updated_at: datetime


class ArchiveObject(Answer):
    """A row of `collection.archive_objects`: a file seen in a listing."""

    exchange: str
    key: str
    size_bytes: int
    etag: str
    last_modified: datetime | None
    first_modified: datetime | None = Field(description="`last_modified` when the object was first seen.")
    published_sha256: str | None
    computed_sha256: str | None
    first_seen: datetime
    last_seen: datetime


class Correction(Track):
    """A row of `collection.corrections`: a stored day that was published again, with the differences of its rows."""

    id: int
    day: date
    found_at: datetime
    run_id: str | None
    text: str
    version: int | None = Field(description="Number in `collection.versions`; null: the rows are equal.")
    former_sha256: str = Field(description="Of the former Parquet file; `sha256`: of the new one.")
    sha256: str
    former_source: str
    source: str
    former_source_key: str
    source_key: str
    former_source_sha256: str
    source_sha256: str
    former_rows: int
    rows: int
    rows_added: int | None
    rows_removed: int | None
    rows_changed: int | None = Field(description="Same key, another value; null: the former rows are lost.")
    columns: list[str]
    price_change: float | None = Field(description="The greatest relative change; Infinity if it was 0 before.")
    price_column: str | None
    price_key: str | None = Field(description="Key of the row: an instant in UTC or an id.")
    price_before: str | None
    price_after: str | None
    volume_change: str | None = Field(description="The greatest absolute change in the first changed amount column.")
    volume_column: str | None
    volume_key: str | None
    volume_before: str | None
    volume_after: str | None
    examples: Any = Field(description="The first differences in key order.")
