"""Explains why a file has no row of a covered day: nothing due, nothing traded, nothing listed, or missing rows."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.life_span import Edge, LifeSpan
from crypto_assets.engine.archive.lifetime import LIFE
from crypto_assets.engine.archive.locate import nothing_due
from crypto_assets.model import Outcome, Partition, Series, SourceFile, State
from crypto_assets.model.epoch import day_at
from crypto_assets.rows.bar_calendar import anchor_of, due
from crypto_assets.rows.numbered import NUMBERED


def why_empty(
    series: Series,
    partition: Partition,
    source: SourceFile | None,
    rows: pa.Table,
    span: LifeSpan,
    anchor: date | None = None,
) -> Outcome:
    """Return the outcome of a day without rows in its file.

    Args:
        rows: all rows of the file, in the columns of the dataset.
        span: where the symbol begins and ends in the file.
        anchor: a day on which a bar of the symbol opens, for three-day bars if the file has none.
    """
    key, symbol, day = source.key if source else "", partition.symbol, partition.day
    about = {"object": key}
    times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        rows, times = rows.take(pa.array(order)), times[order]
    bar_days = [day_at(int(time)) for time in times] if series.timeframe == "3d" else []
    rule = due(series.timeframe or "", day, anchor_of(bar_days) or anchor)
    if rule.opens is False:
        return _with(nothing_due(series, symbol, day, rule), about, source)
    if span.begins and partition.end <= span.begins.time:
        words = f"not listed before {span.begins.time:%Y-%m-%d %H:%M} UTC: the first row of the symbol's first file"
        return _no_data(series, partition, words, about | _life("before", span.begins), source)
    if span.ends and span.ends.time <= partition.start:
        expired = span.ends.evidence.get("source") == "name"
        last = f"the last row is of {_last(times)}, " if len(times) else ""
        words = f"{'expired' if expired else 'delisted'}: {last}{_ended(span.ends)}"
        return _no_data(series, partition, words, about | _life("after", span.ends), source)
    own = sources.user_files(series)
    if own and key.startswith(own.folder.prefix):
        words = "nothing traded: the downloaded file has no row of this day, and it has the days beside it"
        return _no_data(series, partition, words, about, source)
    if found := _ids_run_on(series, partition, rows, times):
        words = f"nothing traded: ids continue from {found['last_id_before']} to {found['first_id_after']}"
        return _no_data(series, partition, words, about | {"ids": found}, source)
    reason = f"{key} has no rows of this day; it will be tried again when the file changes"
    if rule.opens is None:
        reason = f"{key} has no rows of this day, and nothing says whether there should be one: {rule.because}"
    elif series.timeframe in ("3d", "1w", "1mo"):
        reason = f"{key} has no bar of this day, and one is due: {rule.because}; it will be tried again when the file changes"
    return Outcome(series, partition, State.MISSING, reason, about, source)


def _ids_run_on(series: Series, partition: Partition, rows: pa.Table, times: np.ndarray) -> dict[str, int] | None:
    """Return the consecutive ids on both sides of a day; None if they do not prove that nothing traded."""
    name = NUMBERED.get(series.table)
    if name is None or rows.column(name).null_count:
        return None
    place = int(np.searchsorted(times, int(partition.start.timestamp()) * 1_000_000))
    if not 0 < place < len(times):
        return None
    ids = rows.column(name).to_numpy()
    last, first = int(ids[:place].argmax()), place + int(ids[place:].argmin())
    before, after = int(ids[last]), int(ids[first])
    if after != before + 1 or _trades_jump(rows, last, first):
        return None
    return {"last_id_before": before, "first_id_after": after}


def _trades_jump(rows: pa.Table, last: int, first: int) -> bool:
    """Return whether trade ids are missing between two aggregates, which are given by their places among the rows.

    An exchange that lost trades may number the remaining aggregates without a gap. -1 stands for removed trades: such a row
    proves nothing.
    """
    if "first_trade_id" not in rows.column_names:
        return False
    before, after = rows.column("last_trade_id")[last].as_py(), rows.column("first_trade_id")[first].as_py()
    return bool(before >= 0 and after >= 0 and after != before + 1)


def _life(where: str, edge: Edge) -> dict[str, Any]:
    return {LIFE: where, **edge.evidence, "edge": edge.time.isoformat()}


def _ended(edge: Edge) -> str:
    match edge.evidence.get("source"):
        case "name":
            return f"the contract ended on {edge.time:%Y-%m-%d %H:%M} UTC, as its name says"
        case "exchange":
            return f"the exchange says {edge.evidence.get('exchange_status', 'that it has no later one')}"
    if overdue := edge.evidence.get("overdue"):
        return f"and the file from {overdue} on is overdue and not listed"
    return f"and the archive's last file is of {edge.evidence.get('last_listed')}"


def _last(times: np.ndarray) -> str:
    return np.datetime_as_string(np.datetime64(int(times[-1]), "us"), unit="m").replace("T", " ") + " UTC"


def _no_data(
    series: Series, partition: Partition, reason: str, evidence: dict[str, Any], source: SourceFile | None
) -> Outcome:
    return Outcome(series, partition, State.NO_DATA, reason, evidence, source)


def _with(outcome: Outcome, about: dict[str, Any], source: SourceFile | None) -> Outcome:
    return Outcome(
        outcome.series, outcome.partition, outcome.state, outcome.reason, {**about, **outcome.evidence}, source
    )
