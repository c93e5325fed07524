"""No row of the day is missing.

Rows are expected from `Partition.first` to `Partition.last`: a symbol's first day starts when the symbol does, its last day
ends with it, and an unfinished day is judged only up to the instant its rows must reach.

Bars: one for each step of the timeframe; where the exchange publishes none for a step without trades, a missing bar is not
judged. Funding: no two events further apart than the interval that one of them gives.
Trades have no expected count. Inside the day their ids decide: where they are contiguous (`Facts` of the series), a missing
id is a missing trade. Where they have holes, only many ids at one place count, with a minute of silence around them.
Aggregates also give trade ids, which are judged in the same way where the aggregate ids are continuous. At the ends of the
day silence decides: a file cut short is silent up to midnight although its symbol trades all the time. Where the
exchange does not number its trades, silence alone decides, and the finding says so. (Ids that continue from
the day before prove more; that check needs two days: `ids_continue`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets import datasets, sources
from crypto_assets.checks._folds import NO_ROWS, Gathered, at_once
from crypto_assets.checks._grid import uncovered
from crypto_assets.checks._keys import breaks, whole_numbers
from crypto_assets.checks._times import start_us
from crypto_assets.checks._words import counted, lasting, listed, row_of, verb
from crypto_assets.model import DAY, Check, Finding, Fold, Partition, Series, Severity, bar_length, not_judged
from crypto_assets.rows.day_frames import array_of, times_us
from crypto_assets.sources.facts import HIDDEN_SILENCE
from crypto_assets.sources.published import dataset_of

if TYPE_CHECKING:
    import pandas as pd

_FUNDING = ("funding_time", "funding_interval_hours")
_MERGED = ("first_trade_id", "last_trade_id")

_HOUR_US = 3_600_000_000
_EDGE_FACTOR = 3
"""An end of the day may be silent three times as long as the longest silence inside, and always for an hour."""

_PLACES_SHOWN = 20

_SILENCE_US = HIDDEN_SILENCE // timedelta(microseconds=1)


def complete(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """The day has every bar, every funding event, or trades from its start to its end."""
    if series.timeframe is not None:
        return _bars(frame, partition, series)
    if datasets.get(series.table).has(_FUNDING):
        return _funding(frame, partition)
    return at_once(_Trades(partition, series), frame)


def _bounds_us(partition: Partition) -> tuple[int, int]:
    """Return the first and last instant at which rows are expected, in microseconds of the day."""
    microsecond = timedelta(microseconds=1)
    return (partition.first - partition.start) // microsecond, (partition.last - partition.start) // microsecond


def _funding(frame: pd.DataFrame, partition: Partition) -> Finding:
    """The first event is at midnight, and no two events are further apart than an interval that one of them gives.

    A symbol's first day starts when the symbol does. Exchanges change a symbol from 8 to 4 or 1 hours in the middle of a
    day, and a fixed count would be wrong. It is not documented whether the first event after a change gives the old or the
    new interval: a hole as long as the longer of the two, at that place, is taken as the change.
    """
    first_us, last_us = _bounds_us(partition)
    hours = (times_us(frame, "funding_time") - start_us(partition)) // _HOUR_US
    intervals = array_of(frame, "funding_interval_hours")
    steps = np.diff(hours, append=last_us // _HOUR_US)
    allowed = np.maximum(intervals, np.append(intervals[1:], intervals[-1:]))
    missing = [f"after {hour:02d}:00" for hour in hours[steps > allowed]]
    if hours[0] > first_us // _HOUR_US:
        missing.insert(0, f"at {first_us // _HOUR_US:02d}:00")
    evidence = {"events": len(frame), "hours": " ".join(f"{hour:02d}" for hour in hours)}
    return Finding(not missing, evidence | ({"missing": ", ".join(missing)} if missing else {}))


def _bars(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    timeframe = series.timeframe or ""
    if timeframe == "1mo" or bar_length(timeframe) > DAY:
        return Finding(len(frame) == 1, {"expected": 1, "found": len(frame)})
    step = bar_length(timeframe)
    step_us = step // timedelta(microseconds=1)
    first_us, last_us = _bounds_us(partition)
    # A bar cut by `last` is not expected: it is still open, or its contract expired in it.
    begin, end = first_us // step_us, last_us // step_us
    expected = max(0, end - begin)
    # Counting rows is not enough: a duplicate or a row of the next day must not replace a missing bar. A bar off the grid
    # counts for the step in which it opens.
    missing = np.flatnonzero(uncovered(times_us(frame, "open_time") - start_us(partition), step_us, end))
    missing = missing[missing >= begin]
    if len(missing) == 0:
        return Finding(True, {"expected": expected, "found": len(frame)})
    counts = {"expected": expected, "found": len(frame)}
    if sources.facts(series).silent_bars == "absent":
        return Finding(True, {**not_judged(_SILENT_BARS).evidence, **counts})
    return Finding(False, {**counts, "missing": len(missing), "spans": _spans(missing, step)})


_SILENT_BARS = "the exchange publishes no bar for a time without trades"


def _spans(missing: np.ndarray, step: timedelta) -> list[str]:
    """Return runs of missing bars as `08:34–08:52`, first and last bar, at most twenty."""
    if len(missing) == 0:
        return []
    runs = np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1)
    form = "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M"

    def clock(place: int) -> str:
        return str(
            (np.datetime64(0, "s") + np.timedelta64(int(place * step.total_seconds()), "s")).item().strftime(form)
        )

    return [clock(run[0]) + (f"–{clock(run[-1])}" if len(run) > 1 else "") for run in runs[:20]]


class _Trades:
    """Trades in pieces; keeps some times, and the ends of id runs without a gap."""

    def __init__(self, partition: Partition, series: Series) -> None:
        dataset = dataset_of(series)
        self._time_column = dataset.time_column
        self._id_column = None if dataset.key[0] == dataset.time_column else dataset.key[0]
        self._aggregates = datasets.get(series.table).has(_MERGED)
        self._facts = sources.facts(series)
        self._start = start_us(partition)
        self._bounds = _bounds_us(partition)
        self._earliest = self._latest = self._last = 0
        self._longest = 0
        self._rows = 0
        self._runs: list[np.ndarray] = []

    def add(self, rows: pd.DataFrame) -> None:
        times = times_us(rows, self._time_column)
        if len(times) == 0:
            return
        earliest, latest = int(times.min()), int(times.max())
        if self._rows:
            earliest, latest = min(earliest, self._earliest), max(latest, self._latest)
            self._longest = max(self._longest, int(times[0]) - self._last)
        if len(times) > 1:
            self._longest = max(self._longest, int(np.diff(times).max()))
        self._earliest, self._latest, self._last = earliest, latest, int(times[-1])
        self._rows += len(times)
        if self._id_column is not None:
            self._add_ids(whole_numbers(rows[self._id_column]), rows, times)

    def _add_ids(self, ids: np.ndarray, rows: pd.DataFrame, times: np.ndarray) -> None:
        first, last = (array_of(rows, f"{end}_trade_id") if self._aggregates else ids for end in ("first", "last"))
        inside = (times >= self._start) & (times < self._start + 24 * _HOUR_US)
        if not inside.all():
            ids, times, first, last = ids[inside], times[inside], first[inside], last[inside]
        if len(ids):
            places = np.flatnonzero(breaks([ids]) | (_trades_between(first, last) != 0))
            starts, ends = np.append(0, places + 1), np.append(places, len(ids) - 1)
            parts = (ids[starts], ids[ends], times[starts], times[ends], first[starts], last[ends])
            self._runs.append(np.stack(parts))

    def finding(self) -> Finding:
        if self._rows == 0:
            return NO_ROWS
        before = self._earliest - self._start - self._bounds[0]
        after = self._start + self._bounds[1] - self._latest
        allowed = max(_HOUR_US, _EDGE_FACTOR * self._longest)
        evidence: dict[str, object] = {
            "silent_before_s": round(before / 1e6, 3),
            "silent_after_s": round(after / 1e6, 3),
            "longest_silence_inside_s": round(self._longest / 1e6, 3),
        }
        if self._id_column is None:
            evidence["numbered"] = False
        missing, trades, count, places = self._missing_ids()
        if missing:
            evidence |= {"missing_ids": missing, "places": count, "id_gaps": places}
        if trades:
            evidence["missing_trades"] = trades
        return Finding(before <= allowed and after <= allowed and not missing, evidence)

    def _missing_ids(self) -> tuple[int, int, int, list[str]]:
        """Return how many ids are missing between the rows, how many of them are trade ids, at how many places, and which.

        These are row ids; where aggregate ids are continuous, they are the trade ids that the aggregates give, unless these
        decrease somewhere. A place is described by the rows around it: `08:33:59–08:53:02: 14`.
        """
        if not self._runs:
            return 0, 0, 0, []
        first, last, begin, end, first_trade, last_trade = np.concatenate(self._runs, axis=1)
        if (np.diff(first) < 0).any():
            order = np.argsort(first, kind="stable")
            first, last, begin, end = first[order], last[order], begin[order], end[order]
            first_trade, last_trade = first_trade[order], last_trade[order]
        between = first[1:] - last[:-1] - 1
        if (between < 0).any():  # duplicates, reported by `unique_key`: an overwritten id is no gap
            return 0, 0, 0, []
        trades = _trades_between(first_trade, last_trade)
        of_trades = (between == 0) & (trades > 0) & self._aggregates & bool((trades >= 0).all())
        between = np.where(of_trades, trades, between)
        gaps = between > self._facts.hidden_ids
        if not self._facts.contiguous:
            gaps &= begin[1:] - end[:-1] >= _SILENCE_US
        # Where an aggregate id is left out and the trade ids continue, no trade is missing; -1 marks removed trades.
        gaps &= ~((first_trade[1:] == last_trade[:-1] + 1) & (last_trade[:-1] >= 0))
        shown = np.flatnonzero(gaps)[:_PLACES_SHOWN]
        places = [
            f"{_time(end[n] - self._start)}–{_time(begin[n + 1] - self._start)}: {between[n]}" for n in shown.tolist()
        ]
        return int(between[gaps].sum()), int(between[gaps & of_trades].sum()), int(gaps.sum()), places


def _trades_between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return how many trades lie between neighbours, by the first and last trade of each; 0 next to removed trades (-1)."""
    return np.where((first[1:] >= 0) & (last[:-1] >= 0), first[1:] - last[:-1] - 1, 0)


def _time(us: int) -> str:
    """Return a time of day, rounded down to a second."""
    seconds = int(us) // 1_000_000
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _in_pieces(partition: Partition, series: Series) -> Fold:
    if series.timeframe is not None or datasets.get(series.table).has(_FUNDING):
        return Gathered(complete, partition, series)
    return _Trades(partition, series)


def words(evidence: Mapping[str, Any], series: Series) -> str:
    """Return the missing rows as a sentence: `3 of 1,440 bars are missing (08:34–08:36)`."""
    if series.timeframe is not None:
        return _bars_in_words(evidence)
    if datasets.get(series.table).has(_FUNDING):
        missing = evidence.get("missing")
        return f"funding events are missing ({missing})" if missing else counted(evidence["events"], "funding event")
    return _trades_in_words(evidence, row_of(series.table))


def _bars_in_words(evidence: Mapping[str, Any]) -> str:
    expected, missing = evidence["expected"], evidence.get("missing", 0)
    if missing:
        spans = f" ({listed(evidence['spans'])})" if evidence.get("spans") else ""
        return f"{missing:,} of {counted(expected, 'bar')} {verb(missing)} missing{spans}"
    if expected == evidence["found"]:
        return f"all of {counted(expected, 'bar')}"
    return f"{counted(evidence['found'], 'bar')} where {expected:,} {verb(expected)} expected"


def _trades_in_words(evidence: Mapping[str, Any], noun: str) -> str:
    parts = []
    if missing := evidence.get("missing_ids", 0):
        places = counted(evidence["places"], "place")
        trades = min(missing, evidence.get("missing_trades", 0))
        found = [(missing - trades, noun), (trades, "trade")]
        what = " and ".join(counted(number, of) for number, of in found if number)
        parts.append(f"{what} {verb(missing)} missing at {places} inside the day, by their ids")
    if "spans" in evidence:  # outages explain a part of the day (`crypto_assets.causes.excuses`)
        parts.append(f"{noun}s are missing without a known cause: {listed(evidence['spans'])}")
        return "; ".join(parts)
    inside = evidence["longest_silence_inside_s"]
    allowed = max(_HOUR_US / 1e6, _EDGE_FACTOR * inside)
    for name, where in (("silent_before_s", "first"), ("silent_after_s", "last")):
        if evidence[name] > allowed:
            silence = lasting(evidence[name])
            parts.append(
                f"no {noun} in the {where} {silence} of the day (the longest silence inside is {lasting(inside)})"
            )
    if parts and evidence.get("ids_run_on"):  # by the neighbouring days (`crypto_assets.causes.excuses`)
        parts.append("the ids continue in the neighbouring day: nothing traded")
    text = "; ".join(parts) or f"{noun}s from the start to the end of the day"
    return (
        text
        if evidence.get("numbered", True)
        else f"{text} (by silence only: the exchange does not number its {noun}s)"
    )


CHECK = Check(
    name="complete",
    columns=("timeframe", "open_time"),
    or_columns=(
        _FUNDING,
        ("trade_time", "trade_id"),
        ("trade_time", "trade_place"),
        (*_MERGED, "trade_time", "agg_trade_id"),
    ),
    severity=Severity.DEGRADE,
    description="Every bar of the day, every funding event, trades from the start to the end of the day.",
    run=complete,
    fold=_in_pieces,
    words=words,
)
