"""The kinds of check: of rows, of the days beside, of the weeks before, of the file, of another source."""

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
    """A check in progress on one partition whose rows come in pieces, in file order."""

    def add(self, rows: pd.DataFrame) -> None:
        """Check some rows: float64 numbers, UTC microsecond times."""

    def finding(self) -> Finding:
        """Return the finding for all rows so far."""


def _everywhere(series: Series) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The common part of every check: its name, its description, and what its failure means.

    `columns` are the columns that the check needs; it is not applied to a dataset without them. `or_columns` has other sets
    of columns that are as good. `applies` chooses among the series of such a dataset. `counts_wrong_rows`: the `rows` of a
    failure have wrong values (docs/concepts/quality.md). `words` turns the evidence of a finding into a sentence for people,
    without the name of the check.
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

    `run` takes (frame, partition, series). The frame has float64 numbers and UTC microsecond times. `run` does not change it,
    and does not raise for wrong rows. `fold` does the same for rows that come in pieces, so that a day of millions of rows
    need not be in memory; checks of such tables have it.
    """

    run: Callable[[pd.DataFrame, Partition, Series], Finding]
    fold: Callable[[Partition, Series], Fold] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamCheck(Rule):
    """A rule about a partition and the days beside it; `judge` takes (day before, the day, day after, series).

    Days that are not stored are None. The check runs again when a day beside it is stored or replaced.
    """

    judge: Callable[[Profile | None, Profile, Profile | None, Series], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCheck(Rule):
    """A rule about rows and the same weekday of the weeks before; `run` takes (frame, partition, series, profiles)."""

    run: Callable[[pd.DataFrame, Partition, Series, Sequence[Profile]], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCheck(Rule):
    """A rule about the file that a partition came from; `judge` takes (source, partition, series, usual delays).

    The delays are in seconds after the end of the period, ascending, of objects whose appearance was observed, this one too.
    """

    judge: Callable[[SourceFile, Partition, Series, Sequence[float]], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Rule):
    """A rule that compares a partition with another source for the same symbol and day.

    `source` names it: `lake` (the first of `counterparts` that is stored), `monthly` (the file of the month) or `rest`.
    `gather` builds the data to compare from the rows, a piece at a time; `run` takes (that data, the rows of the other
    source, partition, series).
    """

    source: Literal["lake", "monthly", "rest"]
    counterparts: Callable[[Series], tuple[Series, ...]]
    gather: Callable[[Series, Iterable[pa.Table]], pa.Table]
    run: Callable[[pa.Table, pa.Table, Partition, Series], Finding]
