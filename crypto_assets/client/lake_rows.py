"""The rows of one symbol from the lake, with the coverage of each day: now, as known at an instant, or of a lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError, PostgresUnavailable
from crypto_assets.ledger.day_records import DayRecords, database_that_is_there, read_records
from crypto_assets.reading.build import Build, built_bars
from crypto_assets.reading.day_coverage import DayCoverage, Missing
from crypto_assets.reading.question import Question, did_you_mean_symbol
from crypto_assets.reading.stored_days import LakeQuestion, read_lake
from crypto_assets.rows.derive import Life
from crypto_assets.rows.numpy_arrays import from_arrow, to_arrow

if TYPE_CHECKING:
    from crypto_assets.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of one symbol, the coverage of each day, the place of the data, and a line if it is not the ledger's lake.

    Rows of the warehouse are a DataFrame, as floats or decimals; rows of the lake are an Arrow table with decimals.
    """

    asked: Question
    what: str
    rows: Any
    coverage: Sequence[DayCoverage]
    where: str
    notice: str = ""
    lives: Mapping[date, Life] = field(default_factory=dict)


def from_lake(wanted: Question | Build, asked: Question, missing: Missing, *, verify: bool) -> Found:
    from crypto_assets.client.versions import as_known, locked
    from crypto_assets.storage.lake import Lake

    dataset = datasets.get(asked.series.table)
    if unknown := [name for name in asked.columns or () if name not in dataset.schema.names]:
        raise ConfigError(f"columns {', '.join(unknown)}: expected some of {', '.join(dataset.schema.names)}")
    columns = list(asked.columns or dataset.schema.names)
    is_built = isinstance(wanted, Build)
    needed = dataset.schema.names if is_built else list(dict.fromkeys([dataset.time_column, *columns]))
    now = settings_at_start()
    lake = Lake(now.lake)
    lake.require_known_format()
    notice, records = "", None
    if asked.lock is not None:
        rows, days = locked(asked, lake, needed)
    elif asked.known_at is not None:
        rows, days, records = as_known(asked, lake, needed, asked.known_at)
    else:
        rows, days, notice, records = _now(asked, lake, needed, missing, verify=verify)
    if not asked.is_whole_days:
        begin = wanted.begin if isinstance(wanted, Build) else asked.begin
        rows = _between(rows, dataset.time_column, begin, max(begin, asked.after))
    where = f"the lake {lake.url}" + ("" if now.lake_url else f" ({now.home_in_words})")
    if isinstance(wanted, Build):
        known = records.of.get(asked.series.dataset, {}) if records else {}
        lives = {day: record.life for day, record in known.items() if record.life != (None, None)}
        rows, days = built_bars(wanted, rows, days, lives)
    return Found(asked, str(wanted), rows.select(columns), days, where, notice)


def _between(rows: pa.Table, time_column: str, begin: datetime, after: datetime) -> pa.Table:
    """Return the rows of [begin, after)."""
    times = from_arrow(rows.column(time_column))
    first, end = (round(moment.timestamp() * 1_000_000) for moment in (begin, after))
    if len(times) and (np.diff(times) >= 0).all():
        start = int(np.searchsorted(times, first))
        return rows.slice(start, int(np.searchsorted(times, end)) - start)
    return rows.filter(to_arrow((times >= first) & (times < end)))


def _now(
    asked: Question, lake: Lake, columns: Sequence[str], missing: Missing, *, verify: bool
) -> tuple[pa.Table, list[DayCoverage], str, DayRecords | None]:
    """Return the present rows and coverage, with the ledger if there is one."""
    days = asked.days
    if not days:
        return read_lake(lake, lambda: None, LakeQuestion(asked.series, asked.symbol, (), columns)).rows, [], "", None
    url = database_that_is_there(settings_at_start())
    last: list[DayRecords | None] = [None]

    def records() -> DayRecords | None:
        if url is None:
            return None
        try:
            last[0] = read_records(url, asked.series, asked.symbol, days[0], days[-1], [asked.series.dataset])
        except PostgresUnavailable:
            if missing == "raise":
                raise
        return last[0]

    until = None if asked.to_day_end else asked.after
    found = read_lake(lake, records, LakeQuestion(asked.series, asked.symbol, days, columns, until, verify))
    known = last[0]
    if not found.rows.num_rows and not (known and known.of):
        require_stored(asked, lake, known)
    return found.rows, found.coverage, found.notice, known


def require_stored(asked: Question, lake: Lake, known: DayRecords | None) -> None:
    """Raise ConfigError if other symbols of the series are stored or known, but nothing of this one."""
    from crypto_assets.model.symbols import unified_symbol

    def unified(name: str) -> str:
        try:
            return unified_symbol(name, asked.series.market_type)
        except ValueError:
            return name

    in_ledger = known.symbols if known else frozenset()
    others = sorted({*map(unified, lake.symbols(asked.series)), *in_ledger})
    if others and asked.symbol not in others and not _is_configured(asked):
        raise ConfigError(
            f"symbol {asked.symbol}: not among the symbols of {asked.series} in the lake {lake.url}; "
            + did_you_mean_symbol(asked.symbol, others)
        )


def require_symbol(asked: Question, lake: Lake, url: str | None) -> None:
    """As `require_stored`, for a question whose days have no rows; `url` is of the database with the ledger, or None."""
    day = asked.begin.date()
    known = None if url is None else read_records(url, asked.series, asked.symbol, day, day, [asked.series.dataset])
    if not (known and known.of):
        require_stored(asked, lake, known)


def _is_configured(asked: Question) -> bool:
    """Return whether a valid collection.yaml has the symbol: then it is not collected yet."""
    from crypto_assets.ledger.symbol_rules import load_known_collection

    try:
        return load_known_collection(settings_at_start().config).entry_of(asked.series, asked.symbol) is not None
    except ConfigError:
        return False
