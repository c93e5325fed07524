"""Read the rows of stored days from the lake, compared with the ledger, with the coverage of each day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.errors import StoredDataError
from crypto_assets.ledger.day_records import DayRecord, DayRecords
from crypto_assets.ledger.lakes import file_problem, lake_notice
from crypto_assets.model import COMPLETE_STATES, DAY, Partition, Series, State
from crypto_assets.reading.day_coverage import NOT_COLLECTED, STORED, DayCoverage, Remedy
from crypto_assets.rows.bar_calendar import Due, anchor_of, due

if TYPE_CHECKING:
    from crypto_assets.storage.lake import Lake

_PROBED_DAYS = 64
"""Up to this many days, requesting each file is faster than listing."""


@dataclass(frozen=True, slots=True)
class StoredDays:
    """Rows in day order, the coverage of each day, and a line about the lake if it is not the ledger's lake."""

    rows: pa.Table
    coverage: list[DayCoverage]
    notice: str = ""


@dataclass(frozen=True, slots=True)
class LakeQuestion:
    """Rows of one symbol of some days (ascending), from the lake.

    `until` is the instant up to which rows of the last day are wanted; None means its end. Without `verify` only sizes and
    numbers of rows are compared with the ledger.
    """

    series: Series
    symbol: str
    days: Sequence[date]
    columns: Sequence[str]
    until: datetime | None = None
    verify: bool = True


def read_lake(lake: Lake, records: Callable[[], DayRecords | None], asked: LakeQuestion) -> StoredDays:
    """Return the rows of some days from the lake; a day whose file differs from the ledger has none.

    Bytes are compared with the ledger before rows are decoded, or with the file's own metadata if the ledger does not know
    the day.

    Args:
        records: reads the ledger; None without a ledger. Called again if a file differs, because a run may just have
            replaced it.
    """
    found = _read_lake(lake, records(), asked)
    if found[1]:
        found = _read_lake(lake, records(), asked)
    return found[0]


def _read_lake(lake: Lake, known: DayRecords | None, asked: LakeQuestion) -> tuple[StoredDays, bool]:
    """Return the result, and whether a file differs from the ledger."""
    series, symbol, days, columns = asked.series, asked.symbol, asked.days, asked.columns
    records = known.of.get(series.dataset, {}) if known else {}
    # A ledger without the symbol proves nothing about it: the lake may be somebody else's.
    silent = known is None or (not records and symbol not in known.symbols)
    unknown = [day for day in days if day not in records]
    listed = set(lake.days(series, symbol)) if len(unknown) > _PROBED_DAYS else set(unknown)

    def checked(day: date) -> _Checked:
        record = records.get(day)
        return _checked(lake, series, Partition(symbol, day), record, columns, verify=asked.verify)

    there = {day for day in days if (records[day].path is not None if day in records else day in listed)}
    files = lake.each(checked, [day for day in days if day in there])
    parts, coverage, lost = [], [], 0
    for day in days:
        record = records.get(day)
        wanted = asked.until if day == days[-1] else None
        found = next(files) if day in there else _Checked()
        rows, problem = found.rows, found.problem
        if rows is not None:
            parts.append(rows)
        if record is not None:
            one = of_record(record, wanted)
            if problem:
                lost += 1
                one = replace(_lost(one, problem), remedy=found.remedy)
        elif silent:
            one = _by_file(lake, series, Partition(symbol, day), rows, problem, has_ledger=known is not None)
        else:
            one = not_collected(day, "its file is in the lake, the ledger does not know it" if found.is_there else "")
        coverage.append(one)
    schema = datasets.get(series.table).schema
    # Not `Schema.empty_table`, which imports pandas.
    empty = pa.Table.from_batches([], pa.schema([schema.field(name) for name in columns]))
    notice = ""
    if lost and known is not None and known.lake is not None and known.lake.id != lake.identity():
        stored = sum(record.path is not None for record in records.values())
        notice = lake_notice(lake.url, known.lake, lost, stored)
    return StoredDays(pa.concat_tables([empty, *parts]), coverage, notice), lost > 0


def _lost(one: DayCoverage, problem: str, rows: int | None = None) -> DayCoverage:
    """Return a day without its rows; an acknowledgement of its earlier state does not apply."""
    return replace(one, state=State.MISSING, reason=problem, rows=rows, acknowledged=None, complete=False)


@dataclass(frozen=True, slots=True)
class _Checked:
    """A day's file: whether it exists, its rows, and its problem; no rows if there is a problem.

    `fill` detects a wrong size; only `validate` detects other problems of a file.
    """

    is_there: bool = False
    rows: pa.Table | None = None
    problem: str = ""
    remedy: Remedy = Remedy.VALIDATE


def _checked(
    lake: Lake,
    series: Series,
    partition: Partition,
    record: DayRecord | None,
    columns: Sequence[str],
    *,
    verify: bool,
) -> _Checked:
    known = record if record is not None and record.path is not None else None
    try:
        data = lake.store.get(lake.path(series, partition))
        if known and (problem := file_problem(lake.url, None if data is None else len(data), known.size_bytes)):
            return _Checked(data is not None, None, problem, Remedy.FILL)
        if data is None:
            return _Checked()
        sha256 = known.sha256 if known else None
        rows = lake.decode(series, partition, data, columns, sha256=sha256, check=verify)
    except StoredDataError as error:
        return _Checked(True, None, str(error))
    if known and known.rows not in (None, rows.num_rows):
        problem = f"its file in the lake {lake.url} has {rows.num_rows} rows, the ledger says {known.rows}"
        return _Checked(True, None, problem)
    return _Checked(True, rows)


def _by_file(
    lake: Lake, series: Series, partition: Partition, rows: pa.Table | None, problem: str, *, has_ledger: bool
) -> DayCoverage:
    """Return the coverage of a day from its file alone, if no ledger knows it."""
    why = "the ledger does not know it" if has_ledger else "no ledger here"
    day = partition.day
    if rows is not None:
        return DayCoverage(day, STORED, why, rows.num_rows, complete=True)
    if problem:
        return DayCoverage(day, State.MISSING, f"{problem}; {why}")
    return no_ledger(lake, series, partition.symbol, day, has_ledger=has_ledger)


def no_ledger(lake: Lake, series: Series, symbol: str, day: date, *, has_ledger: bool) -> DayCoverage:
    """Return what is known of a day without a file, where no ledger says anything of the symbol."""
    if has_ledger or day >= datetime.now(UTC).date():
        return not_collected(day)
    if not (bar := _due(lake, series, symbol, day)).opens:
        return DayCoverage(day, State.NO_DATA, f"{bar.because}; no ledger here", complete=bar.opens is False)
    return DayCoverage(day, State.MISSING, f"no file in the lake {lake.url}; no ledger here")


def _due(lake: Lake, series: Series, symbol: str, day: date) -> Due:
    """Return whether a day of a series has a bar, by the calendar and by the days in the lake."""
    anchor = anchor_of(lake.days(series, symbol)) if series.timeframe == "3d" else None
    return due(series.timeframe or "", day, anchor)


def not_collected(day: date, reason: str = "") -> DayCoverage:
    """Return the coverage of a day without a record."""
    today = datetime.now(UTC).date()
    if day >= today:
        when = "the day has not ended" if day == today else "the day has not begun"
        reason = f"{when}; {reason}" if reason else when
    remedy = Remedy.NONE if day > today else Remedy.FILL
    return DayCoverage(day, NOT_COLLECTED, reason or "not collected yet", remedy=remedy)


def of_record(record: DayRecord, until: datetime | None = None, today: date | None = None) -> DayCoverage:
    """Return the coverage of a day from its record.

    Args:
        until: the instant up to which rows are wanted, inside the day; None: the whole day, or today so far.
        today: the current UTC day; default: that of the clock.
    """
    complete, reason = record.state in COMPLETE_STATES, record.reason
    if record.state is State.PROVISIONAL and record.until is not None:
        today = today or datetime.now(UTC).date()
        end = Partition("", record.day).start + DAY
        wanted = min(until, end) if until is not None else None if record.day >= today else end
        if wanted is not None and record.until < wanted:
            complete = False
            reason = f"rows up to {record.until:%H:%M:%S} UTC only; {reason}"
    return DayCoverage(
        record.day, record.state, reason, record.rows, record.until, record.acknowledged, complete=complete
    )


# ---- the warehouse ----------------------------------------------------------------------------------------------------


def source_of_day(known: DayRecords, sources: Sequence[str], day: date) -> tuple[str, DayRecord] | None:
    """Return the dataset that gave the rows of a day: the first that is loaded, or else the first with a record."""
    there = [(name, known.of[name][day]) for name in sources if day in known.of.get(name, {})]
    return next((one for one in there if one[1].loaded is not None), there[0] if there else None)


def cover_warehouse(
    known: DayRecords,
    days: Sequence[date],
    sources: Sequence[str],
    where: str,
    counts: Mapping[date, int],
    expected: Callable[[DayRecord, str], int | None],
    *,
    whole: Callable[[date], bool],
    until: datetime | None = None,
) -> list[DayCoverage]:
    """Return the coverage of days in a table of the warehouse.

    Args:
        sources: the datasets that may have given the rows of a day, by priority (`source_of_day`).
        where: the database, in words.
        counts: the number of rows read of each day.
        expected: returns the number of rows of a whole day, None if unknown; called for whole days only.
        whole: returns whether all rows of a day were requested.
        until: as in `LakeQuestion`.
    """
    coverage = []
    for day in days:
        found = source_of_day(known, sources, day)
        if found is None:
            coverage.append(not_collected(day))
            continue
        name, record = found
        one = of_record(record, until if until is not None and day == days[-1] else None)
        problem = ""
        if record.path is not None:
            if record.loaded is None or (record.sha256 and not record.loaded.startswith(record.sha256)):
                problem = f"{where} does not have it: it was not loaded"
            elif whole(day):
                there, wanted = counts.get(day, 0), expected(record, name)
                if wanted not in (None, there):
                    problem = f"{where} has {there} of its {wanted} rows"
        if record.path is not None and whole(day):
            one = replace(one, rows=counts.get(day, 0))
        coverage.append(_lost(one, problem, counts.get(day) or None) if problem else one)
    return coverage
