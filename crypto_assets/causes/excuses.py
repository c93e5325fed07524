"""Excuse rows that are missing because of a known outage of the exchange; a day with only excused rows missing is complete.

`complete` and `ids_continue` find missing rows from the rows alone. This module compares their findings with the outages of
the market. A finding explained in full passes; its evidence counts the excused rows (`excused`, `cause`, `outages`). A
finding explained in part lists the rest in `unexplained`. `plain` restores the check's original finding: findings are
judged again whenever they or the outages change.

A bar is excused if it is entirely inside an outage, unless the symbol's own trades, or shorter bars, show that it traded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import psycopg

from crypto_assets.causes.market_outages import Outage, read_outages
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.ledger.minutes import (
    StoredDay,
    bits,
    covered,
    mask,
    moment,
    read_minutes,
    resolution,
    runs,
    start_of,
    whole_bars,
)
from crypto_assets.model import Finding, Outcome, Partition, Series, State
from crypto_assets.model.kinds import Kind

EXCUSABLE = ("complete", "ids_continue")
"""Checks that fail when rows are missing."""

_MARKS = ("excused", "cause", "outages", "unexplained")
"""Keys added to the evidence of a finding."""

_QUIET = "ids_run_on"
"""Added to the evidence of `complete`: the ends, `before` or `after` the rows, where ids prove that nothing traded."""

_AT_EDGES = timedelta(minutes=1)
"""Outage times are exact to a minute: this much around one may also be without rows where ids are missing."""

_EDGE, _EDGE_TIMES = timedelta(hours=1), 3
"""`complete` allows an hour of silence at the ends of a day, or three times the longest silence inside."""

_SPANS_SHOWN = 20


class Times(Protocol):
    """The needed part of a day's profile: times of the first and last row, and the minutes whose bar is missing."""

    @property
    def first_time(self) -> datetime: ...
    @property
    def last_time(self) -> datetime: ...
    @property
    def absent(self) -> bytes | None: ...


class Excuses:
    """The outages of a market around some days of one series, and the symbols' own rows that contradict them."""

    def __init__(self, series: Series, outages: Sequence[Outage] = (), others: Iterable[StoredDay] = ()) -> None:
        """Store the outages; `others` are stored days of other datasets of the symbols."""
        self._series = series
        self._outages = outages
        self._others: dict[tuple[str, date], list[StoredDay]] = defaultdict(list)
        for other in others:
            self._others[other.symbol, other.day].append(other)

    @classmethod
    def read(cls, connection: psycopg.Connection[Any], series: Series, partitions: Collection[Partition]) -> Excuses:
        """Read everything that may excuse missing rows of some days; at most two queries, one if there is no outage."""
        if not partitions:
            return cls(series)
        days = [partition.day for partition in partitions]
        outages = read_outages(connection, series.exchange, series.market_type, min(days), max(days))
        hit = {day for day in set(days) for one in outages if one.touches(day)}
        if not hit:
            return cls(series)
        symbols = {partition.symbol for partition in partitions}
        stored = read_minutes(connection, series.exchange, series.market_type, hit)
        others = [one for one in stored if one.symbol in symbols and one.dataset != series.dataset]
        return cls(series, outages, others)

    def weigh(self, partition: Partition, findings: Mapping[str, Finding], times: Times | None) -> dict[str, Finding]:
        """Return the findings with outages of the day applied; without a profile nothing is excused."""
        weighed = {name: plain(finding) if name in EXCUSABLE else finding for name, finding in findings.items()}
        if (quiet := _quiet_ends(weighed)) is not None:
            weighed["complete"] = quiet
        outages = [one for one in self._outages if one.touches(partition.day)]
        if times is None or not outages:
            return weighed
        for name in EXCUSABLE:
            finding = weighed.get(name)
            if finding is None or finding.passed:
                continue
            if name == "ids_continue":
                weighed[name] = _seams(partition, finding, times, outages)
            elif self._series.table == "ohlcv":
                weighed[name] = self._bars(partition, finding, times, outages)
            elif self._series.table in ("trades", "agg_trades"):
                weighed[name] = _trades(partition, finding, times, outages)
        return weighed

    def whole_day(self, outcome: Outcome, now: datetime) -> Outcome:
        """Return a missing day as `no_data` if the exchange was down all day; other days unchanged.

        The archive may still publish the day: the evidence marks it as an inference, and it is looked at again.
        """
        error = outcome.evidence.get("error")
        if outcome.state is not State.MISSING or error not in (None, "NotPublished", "NoRows"):
            return outcome
        if {"appeared", "listed"} & outcome.evidence.keys():  # a file exists or did, and is better evidence
            return outcome
        for one in self._outages:
            if covered(one.start, one.end, outcome.partition.day) == mask(0, MINUTES):
                kept = {name: value for name, value in outcome.evidence.items() if name != "error"}
                inference = {"inferred": True, "inferred_from": str(one), "looked_at": now.isoformat()}
                reason = f"the exchange was down all day ({one})"
                evidence = {**kept, **inference, "outage": one.as_json()}
                return replace(outcome, state=State.NO_DATA, reason=reason, evidence=evidence)
        return outcome

    def _bars(self, partition: Partition, finding: Finding, times: Times, outages: Sequence[Outage]) -> Finding:
        step = resolution(self._series.dataset)
        if step is None:
            return finding
        if str(self._series.timeframe).endswith("s"):
            return _seconds(partition, finding, outages)
        traded = 0
        for other in self._others[partition.symbol, partition.day]:
            if (resolution(other.dataset) or MINUTES) <= step:
                traded |= other.traded
        missing = bits(times.absent) & ~whole_bars(traded, step)
        marks, excused = [], 0
        for one in outages:
            inside = covered(one.start, one.end, partition.day)
            inside &= ~whole_bars(~inside & mask(0, MINUTES), step)
            for first, end in runs(missing & inside & ~excused):
                marks.append(
                    _mark(one, moment(partition.day, first), moment(partition.day, end), (end - first) // step)
                )
            excused |= missing & inside
        left = bits(times.absent) & ~excused
        unexplained = [_clock(first, end - step) for first, end in runs(left)]
        return _marked(finding, marks, int(finding.evidence.get("missing", 0)), unexplained)


def _quiet_ends(findings: Mapping[str, Finding]) -> Finding | None:
    """Return the finding of a day of trades that is silent at its ends, where ids prove that nothing traded there.

    The last id before the silence and the first one after it are consecutive, as in thin markets. None if they are not, or
    if anything else is missing.
    """
    complete, seams = findings.get("complete"), findings.get("ids_continue")
    if complete is None or seams is None or complete.passed or "silent_after_s" not in complete.evidence:
        return None
    evidence = complete.evidence
    if evidence.get("missing_ids"):
        return None
    allowed = max(_EDGE.total_seconds(), _EDGE_TIMES * float(evidence.get("longest_silence_inside_s") or 0))
    quiet = [side for side in ("before", "after") if float(evidence.get(f"silent_{side}_s") or 0) > allowed]
    if not quiet or any(
        seams.evidence.get(f"ids_{side}") != 0 or seams.evidence.get(f"trades_{side}") for side in quiet
    ):
        return None
    return Finding(True, {**evidence, _QUIET: quiet})


def _seconds(partition: Partition, finding: Finding, outages: Sequence[Outage]) -> Finding:
    """Judge bars shorter than a minute by the spans that the finding lists; other spans are unknown."""
    second = timedelta(seconds=1)
    marks: list[dict[str, Any]] = []
    unexplained = []
    for text in finding.evidence.get("spans", ()):
        first, _, last = text.partition("–")
        start = _instant(partition, first)
        end = _instant(partition, last or first) + second
        inside = [one for one in outages if one.start <= start and end <= one.end]
        if inside:
            marks.append(_mark(inside[0], start, end, (end - start) // second))
        else:
            unexplained.append(text)
    return _marked(finding, marks, int(finding.evidence.get("missing", 0)), unexplained)


def _trades(partition: Partition, finding: Finding, times: Times, outages: Sequence[Outage]) -> Finding:
    """Judge silence at midnight, and each place with missing ids separately."""
    evidence = finding.evidence
    inside = timedelta(seconds=float(evidence.get("longest_silence_inside_s") or 0))
    allowed = max(_EDGE, _EDGE_TIMES * inside)
    marks: list[dict[str, Any]] = []
    unexplained: list[str] = []
    # The profile has no `since`: `complete` measured from the first to the last expected row.
    before, after = (timedelta(seconds=float(evidence.get(f"silent_{n}_s") or 0)) for n in ("before", "after"))
    edges = [(times.first_time - before, times.first_time), (times.last_time, times.last_time + after)]
    for start, end in edges:
        if end - start > allowed:
            _judge(start, end, outages, allowed, 0, marks, unexplained)
    missing, places = int(evidence.get("missing_ids") or 0), list(evidence.get("id_gaps", ()))
    for text in places:
        span, _, count = text.partition(": ")
        first, _, last = span.partition("–")
        start, end = _instant(partition, first), _instant(partition, last)
        _judge(start, end, outages, 2 * _AT_EDGES, int(count), marks, unexplained)
    if len(places) < int(evidence.get("places") or 0):
        unexplained.append("more places than are listed")
    return _marked(finding, marks, missing, unexplained)


def _seams(partition: Partition, finding: Finding, times: Times, outages: Sequence[Outage]) -> Finding:
    """Judge ids missing between a day and its neighbours, by the silence on this side of midnight."""
    evidence = finding.evidence
    missing = int(evidence.get("missing_ids") or 0)
    # Aggregate ids may be continuous while their trade ids are not.
    before, after = (
        max(0, int(evidence.get(f"ids_{side}") or evidence.get(f"trades_{side}") or 0)) for side in ("before", "after")
    )
    marks: list[dict[str, Any]] = []
    unexplained: list[str] = []
    if "repeated_ids" in evidence or missing not in (before, after, before + after):
        return finding
    if missing != after or missing == before:
        _judge(partition.start, times.first_time, outages, 2 * _AT_EDGES, before, marks, unexplained)
    if missing != before:
        _judge(times.last_time, partition.end, outages, 2 * _AT_EDGES, after, marks, unexplained)
    return _marked(finding, marks, missing, unexplained)


def _judge(
    start: datetime,
    end: datetime,
    outages: Sequence[Outage],
    allowed: timedelta,
    rows: int,
    marks: list[dict[str, Any]],
    unexplained: list[str],
) -> None:
    """Excuse a span without rows if an outage leaves at most `allowed` of it; otherwise add it to the rest."""
    reached = [one for one in outages if one.start < end and start < one.end]
    down = timedelta(0)
    at = start
    for one in sorted(reached, key=lambda one: one.start):
        at, until = max(at, one.start), min(end, one.end)
        if at < until:
            down, at = down + (until - at), until
    if reached and down > timedelta(0) and (end - start) - down <= allowed:
        marks.append(_mark(reached[0], start, end, rows))
    else:
        unexplained.append(f"{start:%H:%M:%S}–{end:%H:%M:%S}")


def _mark(one: Outage, start: datetime, end: datetime, rows: int) -> dict[str, Any]:
    return {"start": start.isoformat(), "end": end.isoformat(), "rows": rows, "what": str(one)}


def _marked(finding: Finding, marks: Sequence[Mapping[str, Any]], missing: int, unexplained: Sequence[str]) -> Finding:
    """Return a finding with its excused part; it passes if nothing else is missing."""
    if not marks:
        return finding
    excused = sum(mark["rows"] for mark in marks)
    passed = not unexplained and excused >= missing
    kept = {"excused": excused, "cause": Kind.EXCHANGE_OUTAGE.value, "outages": list(marks)}
    if not passed:
        kept["unexplained"] = list(unexplained[:_SPANS_SHOWN])
    # The check has already counted rows that were never expected (before a listing).
    if "excused" in finding.evidence:
        kept |= {"excused": excused + int(finding.evidence["excused"]), "excused_by_check": finding.evidence["excused"]}
        kept["cause_by_check"] = finding.evidence.get("cause", "")
    return Finding(passed, {**finding.evidence, **kept})


def plain(finding: Finding) -> Finding:
    """Return a finding as its check returned it, without outages."""
    evidence = finding.evidence
    if _QUIET in evidence:
        return Finding(False, {name: value for name, value in evidence.items() if name != _QUIET})
    if "outages" not in evidence:
        return finding
    kept = {name: value for name, value in evidence.items() if name not in _MARKS}
    if "excused_by_check" in kept:
        kept |= {"excused": kept.pop("excused_by_check"), "cause": kept.pop("cause_by_check")}
    return Finding(False, kept)


def unexplained_part(finding: Finding) -> Finding:
    """Return a failed finding for people, reduced to the unexplained part."""
    evidence = finding.evidence
    if "outages" not in evidence:
        return finding
    excused = sum(mark["rows"] for mark in evidence["outages"])
    shown = dict(plain(finding).evidence)
    for name in ("expected", "missing", "missing_ids"):
        if name in shown and excused:
            shown[name] = max(0, int(shown[name]) - excused)
    shown.pop("id_gaps", None)
    return Finding(False, shown | {"spans": evidence.get("unexplained", [])})


def excuse_in_words(findings: Mapping[str, Finding]) -> str:
    """Return the excused part of a day that passes, in one line; empty if nothing is excused.

    `16 bars are missing, the exchange was down 12:40–14:00 (known outage: https://…)`
    """
    texts = []
    for name, finding in findings.items():
        if not finding.passed or "outages" not in finding.evidence:
            continue
        marks = finding.evidence["outages"]
        rows = sum(mark["rows"] for mark in marks)
        noun = "bar" if "missing" in finding.evidence else "id"
        count = f"{rows:,} {noun}{'s are' if rows != 1 else ' is'} missing" if rows else "no trades at midnight"
        where = ", ".join(f"{mark['start'][11:16]}–{_end(mark)}" for mark in marks[:3])
        more = f" and {len(marks) - 3} more spans" if len(marks) > 3 else ""
        text = f"{count}, {Kind.EXCHANGE_OUTAGE.sentence} {where}{more} ({marks[0]['what']})"
        texts.append(text if name == "complete" else f"{name}: {text}")
    return "; ".join(texts)


def _end(mark: Mapping[str, Any]) -> str:
    return "24:00" if mark["end"][:10] > mark["start"][:10] else str(mark["end"][11:16])


def _clock(first: int, last: int) -> str:
    return f"{first // 60:02d}:{first % 60:02d}" + (f"–{last // 60:02d}:{last % 60:02d}" if last > first else "")


def _instant(partition: Partition, clock: str) -> datetime:
    hours, minutes, seconds = (float(part) for part in clock.split(":"))
    return start_of(partition.day) + timedelta(hours=hours, minutes=minutes, seconds=seconds)
