"""The nouns of the package. Read this first.

A `Series` is what one exchange publishes about one kind of row: Binance spot 1m bars. A `Partition` is one symbol of a
series over one UTC day; it is what is collected, stored, checked and counted. An exchange publishes `ArchiveObject`s;
one holds one or more partitions. A `Dataset` says what one kind of row is, a `Column` at a time. A `Check` looks at the rows
of a partition and answers with a `Finding`; other `Rule`s look at the days beside it (`SeamCheck`), the weeks before
(`HistoryCheck`), its file (`SourceCheck`) or another source (`Comparison`). What became of a partition is an `Outcome`, with
one of the `State`s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from crypto_assets.model.dataset import Column as Column
from crypto_assets.model.dataset import Dataset as Dataset
from crypto_assets.model.dataset import Leaf as Leaf
from crypto_assets.model.dataset import RowRule as RowRule
from crypto_assets.model.symbols import path_symbol as path_symbol
from crypto_assets.model.symbols import unified_symbol as unified_symbol
from crypto_assets.text.urls import masked, masked_in
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from crypto_assets.rows.versions import Correction

MARKET_TYPES = ("spot", "linear", "inverse")
DAY = timedelta(days=1)

# Timeframes with a fixed length; a month has none.
TIMEFRAME_LENGTHS: Mapping[str, timedelta] = {
    "1s": timedelta(seconds=1),
    "1m": timedelta(minutes=1),
    "3m": timedelta(minutes=3),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "2h": timedelta(hours=2),
    "4h": timedelta(hours=4),
    "6h": timedelta(hours=6),
    "8h": timedelta(hours=8),
    "12h": timedelta(hours=12),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
    "1w": timedelta(weeks=1),
}
TIMEFRAMES = (*TIMEFRAME_LENGTHS, "1mo")


def bar_length(timeframe: str) -> timedelta:
    """Return the length of a bar; raises KeyError for `1mo`, which has none, and for unknown timeframes."""
    return TIMEFRAME_LENGTHS[timeframe]


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """What one exchange publishes about one kind of row; `timeframe` is set for bars only."""

    exchange: str
    market_type: str
    table: str
    timeframe: str | None = None

    @classmethod
    def named(cls, exchange: str, market_type: str, dataset: str) -> Series:
        """Return the series of a dataset as collection.yaml names it: `ohlcv_1m`, `trades`.

        Raises:
            ValueError: `ohlcv_` with an unknown timeframe.
        """
        if dataset.startswith("ohlcv_"):
            timeframe = dataset.removeprefix("ohlcv_")
            if timeframe not in TIMEFRAMES:
                raise ValueError(f"{dataset}: timeframe {timeframe!r} is unknown; known: {', '.join(TIMEFRAMES)}")
            return cls(exchange, market_type, "ohlcv", timeframe)
        return cls(exchange, market_type, dataset)

    @property
    def dataset(self) -> str:
        """The name used in collection.yaml, paths and asset keys: `ohlcv_1m`, `trades`."""
        return f"{self.table}_{self.timeframe}" if self.timeframe else self.table

    def __str__(self) -> str:
        return f"{self.exchange} {self.market_type} {self.dataset}"


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One symbol over one UTC day, half-open: [start, end).

    Rows are expected in [first, last), which is the whole day unless `since` or `until` cut it: `since` on a symbol's first
    day (it begins to trade at 04:00), `until` on its last one (a contract expires at 08:00) and on a day that is not over.
    """

    symbol: str
    day: date
    until: datetime | None = field(default=None, compare=False)
    since: datetime | None = field(default=None, compare=False)

    @property
    def start(self) -> datetime:
        return datetime.combine(self.day, time(), UTC)

    @property
    def end(self) -> datetime:
        return self.start + DAY

    @property
    def first(self) -> datetime:
        """The instant from which rows are expected."""
        return max(self.since, self.start) if self.since else self.start

    @property
    def last(self) -> datetime:
        """The instant before which rows are expected."""
        return min(self.until, self.end) if self.until else self.end

    def __str__(self) -> str:
        return f"{self.symbol} {self.day}"


def days_between(first: date, last: date) -> list[date]:
    """Return every day from `first` to `last`, both included; empty if `last` is before `first`."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """One file an exchange publishes, as its listing shows it.

    `etag` is without quotes. `last_modified` is UTC.
    """

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime | None = None


class State(StrEnum):
    """What is known about a partition."""

    PENDING = "pending"  # not published yet
    AVAILABLE = "available"
    PROVISIONAL = "provisional"  # from REST, until the archive has it
    DEGRADED = "degraded"  # stored, a check failed
    MISSING = "missing"  # should exist, does not, or was refused
    NO_DATA = "no_data"  # nothing traded, or not listed
    CORRECTED = "corrected"  # republished since it was stored


COMPLETE_STATES = frozenset({State.AVAILABLE, State.PROVISIONAL, State.NO_DATA})
"""States that need nothing more; a run whose days are all in these ends with exit code 0."""

STORED_STATES = frozenset({State.AVAILABLE, State.PROVISIONAL, State.DEGRADED, State.CORRECTED})


class Severity(StrEnum):
    """What a failed check means for the partition."""

    BLOCK = "block"  # rows are wrong: nothing is published, the bytes go to quarantine/
    DEGRADE = "degrade"  # rows are right but not all there: published and marked
    WARN = "warn"  # worth a look; the state stays


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check on one partition; `evidence` is JSON-serialisable numbers and short texts.

    Rows that belong to the evidence are lists of mappings from column to value, at most `SHOWN_ROWS` of them.
    """

    passed: bool
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether there was something to judge by; a finding that was not judged passes, and says why not."""
        return NOT_JUDGED not in self.evidence


SHOWN_ROWS = 50
"""Rows that a finding shows at most."""

NOT_JUDGED = "not_judged"

STORED_FILE = "stored_file"
"""The finding of a day whose file is damaged or gone; no check of its own, for there are no rows to check."""


def not_judged(why: str) -> Finding:
    """Return the finding of a check that has nothing to compare a partition with."""
    return Finding(True, {NOT_JUDGED: why})


@dataclass(frozen=True, slots=True)
class Profile:
    """What others need to know of a stored partition without reading it. Times are UTC, prices quote per base.

    `first_id` to `missing_ids` are set where the exchange numbers its rows (trades), `first_trade_id` and `last_trade_id`
    of the trades that aggregates are made of; prices and `largest_step`, the greatest
    |log(price / price before)| between neighbouring rows, where rows have one. `silent` and `absent` have a bit for each
    minute of the day (180 bytes, the first minute is the highest bit of the first byte), None where no bit is set: minutes in
    which nothing traded, and minutes of which the bar is not there. `hours` is what `crypto_assets.checks.outliers` compares
    later days with. `traded` is false where all rows are bars in which nothing traded.
    """

    symbol: str
    day: date
    content_sha256: str
    rows: int
    first_time: datetime
    last_time: datetime
    first_id: int | None = None
    last_id: int | None = None
    missing_ids: int | None = None
    first_trade_id: int | None = None
    last_trade_id: int | None = None
    first_price: float | None = None
    last_price: float | None = None
    largest_step: float | None = None
    silent: bytes | None = None
    absent: bytes | None = None
    hours: bytes | None = None
    traded: bool = True


class Fold(Protocol):
    """A check at work on one partition that comes in pieces, in file order."""

    def add(self, rows: pd.DataFrame) -> None:
        """Look at some rows: float64 numbers, UTC microsecond times."""

    def finding(self) -> Finding:
        """Return what was found in all rows so far."""


def _everywhere(series: Series) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What every check has: its name, what it is about, and what its failure means.

    `columns` are those that it needs; without them a dataset is not judged by it. Where it can work with others just as well,
    `or_columns` has each other choice. `applies` says of which series of such a dataset it is, `counts_wrong_rows` that a
    failure's `rows` have wrong values (docs/quality.md).
    `words` makes a sentence for people of the evidence of a judged finding, without the name of the check.
    """

    name: str
    severity: Severity
    description: str
    words: Callable[[Mapping[str, Any], Series], str]
    columns: tuple[str, ...] = ()
    or_columns: tuple[tuple[str, ...], ...] = ()
    applies: Callable[[Series], bool] = _everywhere
    counts_wrong_rows: bool = False

    def fits(self, dataset: Dataset) -> bool:
        """Return whether a dataset has the columns that this check needs."""
        return any(dataset.has(columns) for columns in (self.columns, *self.or_columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Rule):
    """A rule about the rows of one partition alone.

    `run` takes (frame, partition, series), where the frame has float64 numbers and UTC microsecond times, and neither
    changes the frame nor raises for rows that are merely wrong. `fold` is the same for rows that come in pieces, so that
    a day of millions need not be in memory; a check of such tables has it.
    """

    run: Callable[[pd.DataFrame, Partition, Series], Finding]
    fold: Callable[[Partition, Series], Fold] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamCheck(Rule):
    """A rule about a partition and the days beside it; `judge` takes (day before, the day, day after, series).

    Days that are not stored are None. It is judged again when a day beside it is stored or replaced.
    """

    judge: Callable[[Profile | None, Profile, Profile | None, Series], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCheck(Rule):
    """A rule about rows and the same weekday of the weeks before; `run` takes (frame, partition, series, profiles)."""

    run: Callable[[pd.DataFrame, Partition, Series, Sequence[Profile]], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCheck(Rule):
    """A rule about the file that a partition came from; `judge` takes (source, partition, series, usual delays).

    The delays are in seconds after the end of the period, ascending, of the objects that were seen to appear, itself too.
    """

    judge: Callable[[SourceFile, Partition, Series, Sequence[float]], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Rule):
    """A rule about a partition and what another source says of the same symbol and day.

    `source` says where that is: `lake` (another stored series, the first of `counterparts` that is), `monthly` (the file of
    the month), `rest`. `gather` makes what is compared from the rows, a piece at a time; `run` takes (that, the rows of
    the other source, partition, series).
    """

    source: Literal["lake", "monthly", "rest"]
    counterparts: Callable[[Series], tuple[Series, ...]]
    gather: Callable[[Series, Iterable[pa.Table]], pa.Table]
    run: Callable[[pa.Table, pa.Table, Partition, Series], Finding]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Where the rows of a stored partition came from.

    `sha256` is computed over the downloaded bytes, `published_sha256` is the exchange's own (None: it publishes none).
    `source` is `archive` or `rest`.
    """

    key: str
    size_bytes: int
    etag: str
    sha256: str
    published_sha256: str | None = None
    last_modified: datetime | None = None
    source: str = "archive"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One Parquet file of the lake.

    `path` is relative to the lake's root. `sha256` is over the Parquet bytes, which depend on rows and source only, so
    equal content means equal sha256.
    """

    path: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one partition in one run.

    `reason` is empty for a partition that is simply there; otherwise one line for people. `evidence` is the same for
    programs. `unchanged` is true where the stored file was already the one the archive has. `warehouse_rows` counts the rows
    of the day in each table that was loaded. `correction` says what changed where another version was stored before.
    """

    series: Series
    partition: Partition
    state: State
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: SourceFile | None = None
    stored: StoredFile | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict)
    unchanged: bool = False
    warehouse_rows: Mapping[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    correction: Correction | None = None
    profile: Profile | None = None

    def __post_init__(self) -> None:
        """Hide passwords and terminal codes: outcomes go into the ledger, Dagster's events and reports."""
        object.__setattr__(self, "reason", visible(masked(self.reason)))
        object.__setattr__(self, "evidence", masked_in(self.evidence))

    @property
    def failed_checks(self) -> list[str]:
        return [name for name, finding in self.findings.items() if not finding.passed]
