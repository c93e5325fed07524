"""What a check is: of rows, of the days beside, of the weeks before, of the file, of another source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from crypto_assets.model.finding import Finding, Severity
from crypto_assets.model.series import Series

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from crypto_assets.model.dataset import Dataset
    from crypto_assets.model.partition import Partition
    from crypto_assets.model.profile import Profile
    from crypto_assets.model.provenance import SourceFile


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
