"""Judge whether a promise was kept: compare lake, warehouse and ledger with the exchange's published rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from crypto_assets.model import COMPLETE_STATES, State
from crypto_assets.sandbox.selftest.case import STILL, Case
from crypto_assets.sandbox.selftest.evidence import Incident, Row, Said
from crypto_assets.sandbox.selftest.scenes import Scene, Where

Rows = Mapping[Where, list[Row]]

_REASON_LENGTH = 90


@dataclass(frozen=True, slots=True)
class Found:
    """The results of a run.

    `error` is the exception it raised, `problems` the days that the run itself reported as incomplete, `gaps` the gaps
    afterwards, `incomplete` the days that cannot be read as complete, with their reasons; `incidents` the found ones,
    as (kind, symbol, first and last instant), if they were looked for.
    """

    lake: Rows
    warehouse: Rows
    ledger: Mapping[Where, Said]
    problems: Mapping[Where, str]
    foreign: list[str]
    gaps: Mapping[Where, str] = field(default_factory=dict)
    incomplete: Mapping[Where, str] = field(default_factory=dict)
    incidents: frozenset[Incident] = frozenset()
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Truth:
    """The rows as published now, and as published before the fault."""

    now: Rows
    before: Rows


@dataclass
class Verdict:
    """One line of the table. `broken` says which promises were broken, and where."""

    name: str
    stored: str = ""
    reported: str = ""
    after: str = ""
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        return not self.broken


def judge(case: Case, found: Found, truth: Truth) -> list[str]:
    """Return every promise that a run under a fault broke, in words; none if it kept all."""
    broken = _of_the_run(found)
    for where in case.scene.everything:
        said = found.ledger.get(where)
        if said is None:
            broken.append(f"{where}: a silent loss, the ledger has no record of it")
            continue
        concerned = case.concerns(where)
        right = case.states if concerned else _right(where, truth)
        if said.state not in right:
            wanted = " or ".join(sorted(right))
            broken.append(f"{where}: expected {wanted}, reported {said.state}: {said.reason}")
        broken += _of_the_rows(where, said.state, found, truth)
        broken += _of_the_words(case, where, said, found, concerned)
        broken += _of_the_gaps(where, said, found, truth)
    return broken + _of_the_incidents(case, found)


def judge_after(scene: Scene, found: Found, truth: Truth) -> list[str]:
    """Return every promise that the run after the fault broke: all days must then be stored, with their true rows."""
    broken = _of_the_run(found)
    for where in scene.everything:
        said = found.ledger.get(where)
        right = _right(where, truth)
        if said is None or said.state not in right:
            what = f"reported {said.state}: {said.reason}" if said else "the ledger has no record of it"
            broken.append(f"{where}, after the fault: expected {' or '.join(right)}, {what}")
        else:
            broken += _of_the_rows(where, said.state, found, truth)
            broken += _of_the_gaps(where, said, found, truth)
    return broken


def judge_noticed(case: Case, gaps: Mapping[Where, str], incomplete: Mapping[Where, str]) -> list[str]:
    """Return the errors in the reports after damage to our own stores.

    Args:
        gaps: the days reported as gaps, and why.
        incomplete: the days whose lake rows cannot be read as complete, and why.
    """
    broken = []
    for where in case.scene.everything:
        if (where in incomplete) != (case.loses(where) and case.loses_files):
            what = "cannot be read, though nothing" if where in incomplete else "is read as complete, though something"
            broken.append(f"{where}: it {what} happened to its file: {incomplete.get(where, 'no reason')}")
        reason = gaps.get(where)
        if case.loses(where):
            if reason is None:
                broken.append(f"{where}: a silent loss, it is not a gap although its rows are lost")
            elif not any(word in reason for word in case.says):
                broken.append(f"{where}: expected {' or '.join(case.says)} as the reason of the gap, found {reason!r}")
        elif reason is not None:
            broken.append(f"{where}: expected no gap because nothing happened to it, found {reason!r}")
    return broken


def judge_refused(case: Case, found: Found) -> list[str]:
    """Return the errors of a run that had to be refused before it wrote anything."""
    broken = []
    if case.refused not in found.error:
        broken.append(
            f"expected that collecting is refused ({case.refused}), found {found.error or 'that it continued'!r}"
        )
    if found.lake:
        broken.append(f"expected no file in the wrong lake, found {len(found.lake)} days")
    return broken


def judge_looked_again(gaps: Mapping[Where, str], again: Mapping[Where, str]) -> list[str]:
    """Return the days of no data that became gaps at a second look, although nothing changed in between."""
    return [
        f"{where}: no data at first, and a gap at the second look: {again[where]}"
        for where in again
        if where not in gaps
    ]


def _right(where: Where, truth: Truth) -> frozenset[State]:
    """Return the right state of a day without a fault: no data if the exchange has no data for it."""
    return frozenset({State.AVAILABLE if truth.now.get(where) else State.NO_DATA})


def _of_the_run(found: Found) -> list[str]:
    broken = [f"the run ended with {found.error}"] if found.error else []
    return broken + [f"a file where none may be: {path}" for path in found.foreign]


def _of_the_rows(where: Where, state: State, found: Found, truth: Truth) -> list[str]:
    """A stored day must have the published rows; any other day must have no rows anywhere."""
    match state:
        case State.AVAILABLE | State.DEGRADED | State.PROVISIONAL:
            expected, what = truth.now.get(where, []), "those published"
        case State.CORRECTED:
            expected, what = truth.before.get(where, []), "those published before"
        case _:
            expected, what = [], "empty, although the day is not stored"
    broken = []
    for place, rows in (("lake", found.lake.get(where, [])), ("warehouse", found.warehouse.get(where, []))):
        if rows != expected:
            wrong = _difference(rows, expected)
            broken.append(f"{where}, {state}: the rows in the {place} are not {what}: {wrong}")
    return broken


def _of_the_gaps(where: Where, said: Said, found: Found, truth: Truth) -> list[str]:
    """Exactly the incomplete days must be gaps; a day with data at the exchange is at most inferred to be `no_data`."""
    if said.state is State.NO_DATA:
        if not said.evidence or not said.reason:
            return [f"{where}, no_data: expected a reason and evidence that nothing should be there, found neither"]
        if truth.now.get(where) and not said.inferred:
            return [f"{where}: permanently no_data although the exchange has rows of it: {said.reason}"]
    broken = []
    is_complete = said.state in COMPLETE_STATES
    if (where in found.gaps) == is_complete:
        what = f"a gap: {found.gaps[where]}" if where in found.gaps else "no gap"
        broken.append(f"{where}, {said.state}: `gaps` calls it {what}")
    if (where in found.incomplete) == is_complete:
        what = f"incomplete: {found.incomplete[where]}" if where in found.incomplete else "complete"
        broken.append(f"{where}, {said.state}: `read` calls it {what}")
    return broken


def _of_the_incidents(case: Case, found: Found) -> list[str]:
    """The expected incidents must be found with their kind and symbols, and no others."""
    if case.incidents is None or found.error:
        return []
    broken = []
    kinds = {(kind, symbol) for kind, symbol, _, _ in found.incidents}
    if kinds != case.incidents:
        wanted, others = (
            ", ".join(" ".join(filter(None, one)) for one in sorted(some)) or "none" for some in (case.incidents, kinds)
        )
        broken.append(f"expected the incidents {wanted}, found {others}")
    for kind, symbol, first, last in found.incidents:
        if not (first <= STILL[0] and last >= STILL[1]):
            broken.append(f"{kind} {symbol}: expected it from {STILL[0]} to {STILL[1]}, found {first} to {last}")
    return broken


def _difference(rows: list[Row], expected: list[Row]) -> str:
    if len(rows) != len(expected):
        return f"expected {len(expected)} rows, found {len(rows)}"
    number = next(n for n, (a, b) in enumerate(zip(rows, expected, strict=True)) if a != b)
    return f"row {number}: expected {_text(expected[number])}, found {_text(rows[number])}"


def _text(row: Row) -> str:
    return " ".join(map(str, row))[:80]


def _of_the_words(case: Case, where: Where, said: Said, found: Found, concerned: bool) -> list[str]:
    """An incomplete day must have a reason of one line that names the cause, and the run itself must have reported it."""
    words = said.reason
    broken = []
    if concerned and said.state in COMPLETE_STATES and not case.marks <= said.failed:
        found_marks = ", ".join(sorted(said.failed)) or "none"
        broken.append(
            f"{where}, {said.state}: expected the failed checks {', '.join(sorted(case.marks))}, found {found_marks}"
        )
    if said.state in COMPLETE_STATES:
        if not (concerned and case.stored and not case.publishes and not case.happens):
            return broken
        words = said.attempt_error  # stored before, checked again without success
    if not words or "\n" in words or "Traceback" in words:
        broken.append(f"{where}, {said.state}: expected a reason of one line, found {words!r}")
    elif concerned and case.says and not any(text in words for text in case.says):
        broken.append(f"{where}, {said.state}: expected {' or '.join(case.says)} in the reason, found {words!r}")
    if said.state not in COMPLETE_STATES and where not in found.problems and said.state is not State.CORRECTED:
        broken.append(f"{where}, {said.state}: the run itself did not name the day")
    return broken


# ---- for people ------------------------------------------------------------------------------------------------------


def describe_stored(scene: Scene, found: Found, truth: Truth) -> str:
    """Return a few words about the content of lake and warehouse."""
    both = [where for where in scene.everything if where in found.lake and where in found.warehouse]
    only = [where for where in scene.everything if (where in found.lake) != (where in found.warehouse)]
    same = sum(found.lake[where] == found.warehouse[where] == truth.now.get(where) for where in both)
    words = f"{len(both)} of {len(scene.everything)} days"
    if both:
        words += ", as published" if same == len(both) else f", {same} as published"
    return words + (f", {len(only)} torn" if only else "")


def describe_reported(case: Case, found: Found) -> str:
    """Return the states and the reason of the first day concerned, shortened."""
    if found.error:
        return found.error[:_REASON_LENGTH]
    states = Counter(said.state for said in found.ledger.values())
    words = ", ".join(f"{count} {state}" for state, count in states.items())
    reasons = [
        said.reason or said.attempt_error
        for where, said in sorted(found.ledger.items())
        if case.concerns(where) and (said.reason or said.attempt_error)
    ]
    return f"{words}: {_short(reasons[0])}" if reasons else words


def _short(reason: str) -> str:
    # The key or URL at the beginning names the file; the cause comes after it.
    last = reason.rpartition("; REST: ")[2]
    subject, colon, cause = last.partition(": ")
    words = cause if colon and ("/" in subject or subject[-1:].isdigit()) else last
    words = " ".join(word.rpartition("/")[2] if word.count("/") > 3 else word for word in words.split())
    return words if len(words) <= _REASON_LENGTH else f"{words[: _REASON_LENGTH - 1]}…"


def table_of(verdicts: list[Verdict]) -> Table:
    """Return the table of `crypto-assets selftest`."""
    table = Table(header_style="bold", pad_edge=False, box=None)
    for name in ("fault", "what was stored", "what was reported", "after the fault was lifted", "held"):
        table.add_column(name, overflow="fold")
    for verdict in verdicts:
        held = "[green]yes[/green]" if verdict.held else "[red]NO[/red]"
        cells = (verdict.name, verdict.stored, verdict.reported, verdict.after)
        table.add_row(*(cell.replace("[", r"\[") for cell in cells), held)
    return table


def as_json(verdicts: list[Verdict]) -> dict[str, Any]:
    return {
        "held": sum(verdict.held for verdict in verdicts),
        "of": len(verdicts),
        "faults": [
            {
                "fault": verdict.name,
                "stored": verdict.stored,
                "reported": verdict.reported,
                "after": verdict.after,
                "held": verdict.held,
                "broken": verdict.broken,
                "seconds": round(verdict.seconds, 2),
            }
            for verdict in verdicts
        ],
    }
