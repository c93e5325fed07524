"""Print the result of a collection: a table, one sentence for each failure, and what is left to collect."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.console import counted, err, escape, out, print_error, print_line, print_table
from crypto_assets.cli.options import with_ledger
from crypto_assets.engine.problems import Problem, days_text, lines, spans, word_of
from crypto_assets.ledger.coverage_tables import record_names, record_table
from crypto_assets.model import COMPLETE_STATES, Series, State, Track, TrackDay, days_between

if TYPE_CHECKING:
    from crypto_assets.config.selection import Request

LINES_SHOWN = 50
"""Most problem lines printed; `--verbose` prints all."""

_REASONS_SHOWN = 5

Names = tuple[str, str, str, str]
"""Exchange, market type, symbol and dataset."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The requested days, and what could not be tried: hosts by exchange, unknown symbols by track, words of the command.

    Stored days of the tracks in `never_asked` were not verified either. `left` are incomplete days that were skipped
    because only another archive file can complete them. `unchosen`: one line for each entry whose rule has no symbol yet.
    """

    requests: Sequence[Request]
    unreachable: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[Track, str] = field(default_factory=dict)
    misspelt: Sequence[str] = ()
    never_asked: Set[Track] = frozenset()
    left: Sequence[Problem] = ()
    unchosen: Sequence[str] = ()

    @property
    def days(self) -> int:
        return sum(request.days for request in self.requests)

    @property
    def exchanges_asked(self) -> set[str]:
        """The exchanges with a track that was asked for."""
        tracks = {track for request in self.requests for track in request.tracks} - self.never_asked
        return {track.series.exchange for track in tracks}

    def why_not(self, series: Series, symbol: str) -> str:
        """Return why a day has no record; "" if it was asked for, or would have been: then the run was stopped."""
        track = Track(series, symbol)
        return self.unknown.get(track) or (
            self.unreachable.get(series.exchange, "") if track in self.never_asked else ""
        )


def records_of(ledger: Any, requests: Sequence[Request]) -> list[Any]:
    """Return the ledger's records of the days of some requests; one query for each market.

    A day whose file is missing in the lake is returned as missing, whatever its record says.
    """
    from crypto_assets.defs.places import configured_lake
    from crypto_assets.ledger.lakes import lost_days

    asked: dict[Names, list[tuple[date, date]]] = {}
    markets: dict[tuple[str, str], list[Request]] = {}
    for request in requests:
        markets.setdefault((request.entry.exchange, request.entry.market_type), []).append(request)
        for series, symbol in request.tracks:
            names = series.exchange, series.market_type, symbol, series.dataset
            asked.setdefault(names, []).append((request.first, request.last))
    for ranges in asked.values():
        ranges.sort()
    found = []
    for (exchange, market_type), mine in markets.items():
        records = ledger.partitions(
            exchange=exchange,
            market_type=market_type,
            symbols=sorted({symbol for request in mine for _, symbol in request.tracks}),
            datasets=sorted({series.dataset for request in mine for series, _ in request.tracks}),
            first=min(request.first for request in mine),
            last=max(request.last for request in mine),
        )
        found += [record for record in records if _has(asked.get(_names(record), ()), record.day)]
    if not found:
        return []
    days = [record.day for record in found]
    tracks = {record.track for record in found}
    lost = lost_days(ledger, configured_lake(), tracks, min(days), max(days)).files
    return [_as_lost(record, lost.get(record.track_day)) for record in found]


def _as_lost(record: Any, reason: str | None) -> Any:
    """Return the record of a day whose file is lost as missing; other records unchanged."""
    if reason is None:
        return record
    tried = f"; tried again: {record.attempt_error}" if record.attempt_error else ""
    return replace(record, state=State.MISSING, reason=reason + tried)


def report(asked: Asked, *, as_json: bool, verbose: bool = False) -> int:
    """Print the result of every requested day; return the exit code."""

    def known(ledger: Any) -> tuple[list[Any], set[Any]]:
        records = records_of(ledger, asked.requests)
        return records, accepted_of(ledger, records)

    found, accepted = with_ledger(known)
    fine: list[Any] = []
    bad: list[Any] = []
    for record in found:
        is_fine = record.state in COMPLETE_STATES or record.track_day in accepted
        (fine if is_fine else bad).append(record)
    untried = _untried(asked, found)
    incomplete = {record.exchange for record in bad} | {one.series.exchange for one in untried}
    partly = {one.series.exchange for one in asked.never_asked} & asked.exchanges_asked
    for exchange, failure in asked.unreachable.items():
        what = "what only this host has" if exchange in partly else exchange
        line = f"{failure}; {what} is not asked again in this run"
        # No error if every requested day is complete: the exit code is 0, and the days that were not renewed are named below.
        (print_error if exchange in incomplete else _print_note)(line)
    if as_json:
        print_json(asked, found, [*(_problem(record) for record in bad), *untried, *asked.left], len(accepted))
    else:
        _print_text(asked, found, [_problem(record) for record in bad], untried, verbose)
        print_unchosen(asked.unchosen)
    if accepted:
        err.print(acknowledged_in_words(len(accepted)), markup=False)
    _print_kept(asked, fine)
    unsaid = sum(not asked.why_not(one.series, one.symbol) for one in untried)
    if unsaid:
        err.print(
            f"[red]error:[/red] {counted(unsaid, 'day')} without a record; the run was stopped. Run the command again"
        )
    return 1 if bad or untried or asked.left or asked.unknown or asked.misspelt or asked.unchosen else 0


def print_unchosen(lines: Sequence[str]) -> None:
    """Print the entries that collect nothing: no known symbol matches their rule."""
    for line in lines:
        out.print(f"entry {line}", markup=False)


def _print_note(message: str) -> None:
    err.print(f"note: {message}", markup=False)


def accepted_of(ledger: Any, records: Sequence[Any]) -> set[TrackDay]:
    """Return the days whose gaps a person has acknowledged, unchanged since; they do not count as failures."""
    from crypto_assets.ledger.acknowledgements import accepted

    return accepted(ledger, [(*record.track_day, record.state) for record in records])


def acknowledged_in_words(count: int) -> str:
    days = "1 day is" if count == 1 else f"{count:,} days are"
    return f"{days} as acknowledged; `crypto-assets gaps --all` shows why"


def _print_text(
    asked: Asked, found: Sequence[Any], bad: Sequence[Problem], untried: Sequence[Problem], verbose: bool
) -> None:
    if found:
        print_table(record_table(found))
    # What kept days from being tried has been printed once already.
    problems = [*bad, *(Problem(one.series, one.symbol, one.day, None) for one in untried)]
    for line in _each_day(problems) if verbose else lines(problems, LINES_SHOWN, "--verbose or `crypto-assets gaps`"):
        print_line(line)
    counts = [f"{count:,} {word_of(State(state))}" for state, count in _states(found).items()]
    counts += [f"{len(untried):,} {word_of(None)}"] if untried else []
    out.print(f"{asked.days:,} day{'s' if asked.days != 1 else ''} requested: " + ", ".join(counts))
    if reasons := sorted({record.reason for record in found if record.state == State.NO_DATA}):
        more = f" and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
        out.print(f"no data: {'; '.join(reasons[:_REASONS_SHOWN])}{more}", markup=False)
    if problems:
        out.print(f"left to collect: {_left_text(problems)}; `crypto-assets fill` tries them again")


def _left_text(problems: Sequence[Problem]) -> str:
    symbols = {(one.series.exchange, one.series.market_type, one.symbol) for one in problems}
    days = f"{len(problems):,} day" + ("s" if len(problems) != 1 else "")
    return f"{days} of {len(symbols):,} symbol" + ("s" if len(symbols) != 1 else "")


def print_json(asked: Asked, found: Sequence[Any], problems: Sequence[Problem], accepted: int = 0) -> None:
    """Print the result as JSON, with every incomplete day; `accepted` counts the acknowledged days."""
    told = [
        {
            "exchange": one.series.exchange,
            "market_type": one.series.market_type,
            "symbol": one.symbol,
            "dataset": one.series.dataset,
            "day": str(one.day),
            "state": one.state,
            "reason": one.reason,
        }
        for one in sorted(problems, key=_order)
    ]
    answer: dict[str, Any] = {
        "days": asked.days,
        "states": _states(found),
        "rows": sum(record.rows or 0 for record in found),
        "problems": told,
    }
    if accepted:
        answer["acknowledged"] = accepted
    if asked.unreachable:
        answer["unreachable"] = [{"exchange": name, "reason": why} for name, why in asked.unreachable.items()]
    if asked.unknown:
        answer["unknown_symbols"] = [
            {
                "exchange": series.exchange,
                "market_type": series.market_type,
                "symbol": symbol,
                "dataset": series.dataset,
                "reason": why,
            }
            for (series, symbol), why in asked.unknown.items()
        ]
    if asked.misspelt:
        answer["misspelt"] = list(asked.misspelt)
    if asked.unchosen:
        answer["entries_without_symbols"] = list(asked.unchosen)
    click.echo(json.dumps(answer, indent=1))


def _print_kept(asked: Asked, records: Sequence[Any]) -> None:
    """Report complete days whose last renewal failed or was not tried."""
    why = {track: asked.unreachable[track.series.exchange] for track in asked.never_asked}
    errors = [(record, why.get(record.track) or record.attempt_error) for record in records]
    for span in spans(_problem(record, error) for record, error in errors if error):
        name, days = str(span.track), days_text(span.first, span.last)
        err.print(f"{escape(name)} {days}: not renewed, the stored data stays: {escape(span.reason)}")


def _untried(asked: Asked, found: Sequence[Any]) -> list[Problem]:
    """Return the days without a record."""
    known = {(*_names(record), record.day) for record in found}
    return [
        Problem(series, symbol, day, None, asked.why_not(series, symbol))
        for request in asked.requests
        for series, symbol in request.tracks
        for day in days_between(request.first, request.last)
        if (series.exchange, series.market_type, symbol, series.dataset, day) not in known
    ]


def _problem(record: Any, reason: str | None = None) -> Problem:
    series = Series.named(record.exchange, record.market_type, record.dataset)
    return Problem(series, record.symbol, record.day, record.state, record.reason if reason is None else reason)


def problem_of_gap(gap: Any) -> Problem:
    return Problem(gap.series, gap.symbol, gap.day, gap.state, gap.reason)


def _each_day(problems: Sequence[Problem]) -> list[str]:
    return [
        f"{Track(one.series, one.symbol)} {one.day}: {word_of(one.state)}" + (f": {one.reason}" if one.reason else "")
        for one in sorted(problems, key=_order)
    ]


def _order(one: Problem) -> tuple[str, str, str, str, date]:
    return one.series.exchange, one.series.market_type, one.series.dataset, one.symbol, one.day


def _states(records: Sequence[Any]) -> dict[str, int]:
    return {state.value: count for state in State if (count := sum(record.state == state for record in records))}


def _names(record: Any) -> Names:
    names = record_names(record)
    return names["exchange"], names["market_type"], names["symbol"], names["dataset"]


def _has(ranges: Sequence[tuple[date, date]], day: date) -> bool:
    place = bisect_right(ranges, (day, date.max))
    return place > 0 and day <= ranges[place - 1][1]
