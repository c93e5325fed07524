"""The day is all there.

Rows are expected from `Partition.first` to `Partition.last`: a symbol's first day begins where the symbol does, its last
one ends with it, and a day that is not over is judged as far as its rows are to reach.

Bars: one for each step of the timeframe. Funding: no event further from the next than the interval that one of them
names. Trades have no expected count. Inside the day their ids tell: Binance numbers spot trades without a gap, so ids
that lack are rows that lack; of futures it hides some (internal and insurance trades, binance-public-data #190, #363,
#378), so there only many at one place count, with a minute of silence around them. Aggregates name their trades too, and
these are judged in the same way where the ids of the rows run on. At its ends silence is judged: a
file that was cut is silent up to midnight although its symbol trades all the time. (Ids that run on from the day before
prove more; that needs two days at once and is a check of its own.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._folds import NO_ROWS, Gathered, at_once
from crypto_assets.checks._grid import uncovered
from crypto_assets.checks._keys import breaks
from crypto_assets.checks._times import epoch_us, start_us
from crypto_assets.checks._words import counted, lasting, listed, row_of, verb
from crypto_assets.model import DAY, Check, Finding, Fold, Partition, Series, Severity, bar_length

if TYPE_CHECKING:
    import pandas as pd

_FUNDING = ("funding_time", "funding_interval_hours")
_MERGED = ("first_trade_id", "last_trade_id")

_HOUR_US = 3_600_000_000
_EDGE_FACTOR = 3
"""A day's edge may be silent three times as long as its longest silence inside, and an hour in any case."""

_PLACES_SHOWN = 20

_HIDDEN = 100
_SILENCE_US = 60_000_000
"""Futures: so many ids at one place may be hidden, and more where trading goes on meanwhile."""


def complete(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    """Every bar, every funding event, or trades from one end of the day to the other."""
    if series.timeframe is not None:
        return _bars(frame, partition, series)
    if datasets.get(series.table).has(_FUNDING):
        return _funding(frame, partition)
    return at_once(_Trades(partition, series), frame)


def _bounds_us(partition: Partition) -> tuple[int, int]:
    """Return from where to where rows are expected, in microseconds of the day."""
    microsecond = timedelta(microseconds=1)
    return (partition.first - partition.start) // microsecond, (partition.last - partition.start) // microsecond


def _funding(frame: pd.DataFrame, partition: Partition) -> Finding:
    """The first event is at midnight, and no two are further apart than an interval that one of them names.

    On a symbol's first day it is where the symbol begins. Exchanges switch a symbol from 8 to 4 or 1 hours in the middle of
    a day, so a fixed count would be wrong. Whether the first event of another interval names the one that ends with it or
    the one that begins is not documented: a hole as long as the longer of the two, just there, is taken for the switch.
    """
    first_us, last_us = _bounds_us(partition)
    hours = (epoch_us(frame["funding_time"]) - start_us(partition)) // _HOUR_US
    intervals = frame["funding_interval_hours"].to_numpy()
    steps = np.diff(hours, append=last_us // _HOUR_US)
    allowed = np.maximum(intervals, np.append(intervals[1:], intervals[-1:]))
    absent = [f"after {hour:02d}:00" for hour in hours[steps > allowed]]
    if hours[0] > first_us // _HOUR_US:
        absent.insert(0, f"at {first_us // _HOUR_US:02d}:00")
    evidence = {"events": len(frame), "hours": " ".join(f"{hour:02d}" for hour in hours)}
    return Finding(not absent, evidence | ({"missing": ", ".join(absent)} if absent else {}))


def _bars(frame: pd.DataFrame, partition: Partition, series: Series) -> Finding:
    timeframe = series.timeframe or ""
    if timeframe == "1mo" or bar_length(timeframe) > DAY:
        return Finding(len(frame) == 1, {"expected": 1, "found": len(frame)})
    step = bar_length(timeframe)
    step_us = step // timedelta(microseconds=1)
    first_us, last_us = _bounds_us(partition)
    # A bar that `last` cuts is not expected: it is open, or its contract expired in it.
    begin, end = first_us // step_us, last_us // step_us
    expected = max(0, end - begin)
    # Rows are not only counted: a double or a row of the next day must not stand in for a bar that is missing. A bar beside
    # the grid counts for the step that it opens in.
    absent = np.flatnonzero(uncovered(epoch_us(frame["open_time"]) - start_us(partition), step_us, end))
    absent = absent[absent >= begin]
    if len(absent) == 0:
        return Finding(True, {"expected": expected, "found": len(frame)})
    return Finding(
        False,
        {"expected": expected, "found": len(frame), "missing": len(absent), "spans": _spans(absent, step)},
    )


def _spans(absent: np.ndarray, step: timedelta) -> list[str]:
    """Return runs of absent bars as `08:34–08:52`, first and last bar, at most twenty."""
    if len(absent) == 0:
        return []
    runs = np.split(absent, np.flatnonzero(np.diff(absent) > 1) + 1)
    form = "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M"

    def clock(place: int) -> str:
        return str(
            (np.datetime64(0, "s") + np.timedelta64(int(place * step.total_seconds()), "s")).item().strftime(form)
        )

    return [clock(run[0]) + (f"–{clock(run[-1])}" if len(run) > 1 else "") for run in runs[:20]]


class _Trades:
    """Trades in pieces; what it keeps are some times and, of the ids, the ends of runs without a gap."""

    def __init__(self, partition: Partition, series: Series) -> None:
        self._time_column = datasets.get(series.table).time_column
        (self._id_column,) = datasets.get(series.table).key
        self._aggregates = datasets.get(series.table).has(_MERGED)
        self._spot = series.market_type == "spot"
        self._start = start_us(partition)
        self._bounds = _bounds_us(partition)
        self._earliest = self._latest = self._last = 0
        self._longest = 0
        self._rows = 0
        self._runs: list[np.ndarray] = []

    def add(self, rows: pd.DataFrame) -> None:
        times = epoch_us(rows[self._time_column])
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
        self._add_ids(rows, times)

    def _add_ids(self, rows: pd.DataFrame, times: np.ndarray) -> None:
        ids = rows[self._id_column].to_numpy()
        first, last = (rows[f"{end}_trade_id"].to_numpy() if self._aggregates else ids for end in ("first", "last"))
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
        absent, trades, count, places = self._absent_ids()
        if absent:
            evidence |= {"missing_ids": absent, "places": count, "id_gaps": places}
        if trades:
            evidence["missing_trades"] = trades
        return Finding(before <= allowed and after <= allowed and not absent, evidence)

    def _absent_ids(self) -> tuple[int, int, int, list[str]]:
        """Return how many ids are missing between the rows, how many of them are of trades, at how many places, and which.

        Ids are those of the rows; between aggregates whose ids run on they are those of the trades that these name, unless
        these step back somewhere. A place is told by the rows beside it: `08:33:59–08:53:02: 14`.
        """
        if not self._runs:
            return 0, 0, 0, []
        first, last, begin, end, first_trade, last_trade = np.concatenate(self._runs, axis=1)
        if (np.diff(first) < 0).any():
            order = np.argsort(first, kind="stable")
            first, last, begin, end = first[order], last[order], begin[order], end[order]
            first_trade, last_trade = first_trade[order], last_trade[order]
        lacking = first[1:] - last[:-1] - 1
        if (lacking < 0).any():  # doubles, which `unique_key` reports: an id that was overwritten is no gap
            return 0, 0, 0, []
        trades = _trades_between(first_trade, last_trade)
        of_trades = (lacking == 0) & (trades > 0) & self._aggregates & bool((trades >= 0).all())
        lacking = np.where(of_trades, trades, lacking)
        gaps = lacking > 0 if self._spot else (lacking > _HIDDEN) & (begin[1:] - end[:-1] >= _SILENCE_US)
        # Where an aggregate id is left out and the trades run on, no trade is missing; -1 stands for removed trades.
        gaps &= ~((first_trade[1:] == last_trade[:-1] + 1) & (last_trade[:-1] >= 0))
        shown = np.flatnonzero(gaps)[:_PLACES_SHOWN]
        places = [
            f"{_time(end[n] - self._start)}–{_time(begin[n + 1] - self._start)}: {lacking[n]}" for n in shown.tolist()
        ]
        return int(lacking[gaps].sum()), int(lacking[gaps & of_trades].sum()), int(gaps.sum()), places


def _trades_between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return how many trades lie between neighbours, by the first and last trade of each; 0 beside removed ones (-1)."""
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
    """Return what is missing as a sentence: `3 of 1,440 bars are missing (08:34–08:36)`."""
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
    if "spans" in evidence:  # what is left of a day that outages explain in part (`crypto_assets.causes.excuses`)
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
    if parts and evidence.get("ids_run_on"):  # by the days beside it (`crypto_assets.causes.excuses`)
        parts.append("the ids run on to the day beside: nothing traded")
    return "; ".join(parts) or f"{noun}s from one end of the day to the other"


CHECK = Check(
    name="complete",
    columns=("timeframe", "open_time"),
    or_columns=(
        _FUNDING,
        ("trade_time", "trade_id"),
        (*_MERGED, "trade_time", "agg_trade_id"),
    ),
    severity=Severity.DEGRADE,
    description="Every bar of the day, every funding event, trades from one end of the day to the other.",
    run=complete,
    fold=_in_pieces,
    words=words,
)
