"""The coverage of every requested day: complete, or what is incomplete and why. Warns or raises about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from itertools import groupby
from typing import Any, Literal, Self, get_args

from crypto_assets.errors import ConfigError, IncompleteData, IncompleteDataWarning
from crypto_assets.model import State
from crypto_assets.text.visible import visible

Missing = Literal["raise", "warn", "ignore"]
"""What to do about incomplete days."""

NOT_COLLECTED = "not_collected"
"""The state of a day without a record."""

STORED = "stored"
"""The state of a day with a file but without a record."""

OUTSIDE = "outside"
"""The state, in messages, of a day without a record that is outside collection.yaml."""

_SHOWN_SPANS = 8

_IN_WORDS = {
    OUTSIDE: "not in the collection",
    NOT_COLLECTED: "not collected yet",
    State.DEGRADED: "partial",
    State.NO_DATA: "no data",
}


class Remedy(StrEnum):
    """The command that completes a day: `fill`, `validate` and then `fill`, or none."""

    FILL = "fill"
    VALIDATE = "validate"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class DayCoverage:
    """The coverage of one day.

    `state` is a `State`, `NOT_COLLECTED` or `STORED`. `rows` counts the rows of the whole day, `until` is the instant up to
    which an unfinished day has rows, and `acknowledged` says who accepts it, when and why. `remedy` is for messages.
    """

    day: date
    state: str
    reason: str = ""
    rows: int | None = None
    until: datetime | None = None
    acknowledged: str | None = None
    complete: bool = False
    remedy: Remedy = Remedy.FILL

    @property
    def as_json(self) -> dict[str, Any]:
        """The same as JSON-serialisable values."""
        return {
            "day": self.day.isoformat(),
            "state": str(self.state),
            "reason": self.reason,
            "rows": self.rows,
            "until": self.until.isoformat() if self.until else None,
            "acknowledged": self.acknowledged,
            "complete": self.complete,
        }


class Coverage(list[dict[str, Any]]):
    """The coverage of a frame, a mapping for each day. Shared between copies: pandas copies its attrs at every step."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class Explained:
    """Incomplete days for a message, and what can be done about them."""

    days: Sequence[DayCoverage]
    advice: Sequence[str]


def usual(days: Sequence[DayCoverage]) -> Explained:
    """Return days unchanged with their remedies; acknowledged days have none."""
    remedies = {one.remedy for one in days if one.acknowledged is None}
    if Remedy.VALIDATE in remedies:
        # `gaps` and `fill` trust a file of the right size until `validate` has read it.
        return Explained(
            days, ["`crypto-assets validate` for these days, then `crypto-assets fill`, collects them again"]
        )
    return Explained(days, ["`crypto-assets fill` collects what is available"] if Remedy.FILL in remedies else [])


def require_known(missing: str) -> None:
    """Raise ConfigError if `missing` is not one of the allowed words."""
    if missing not in get_args(Missing):
        raise ConfigError(f"missing: expected one of {', '.join(map(repr, get_args(Missing)))}, found {missing!r}")


def settle(
    what: str,
    where: str,
    days: Sequence[DayCoverage],
    rows: int,
    missing: Missing,
    *,
    notice: str = "",
    stacklevel: int = 3,
    explain: Callable[[Sequence[DayCoverage]], Explained] = usual,
) -> Coverage:
    """Return the coverage of an answer, after warning or raising about incomplete days; acknowledged days only warn.

    Args:
        what: series and symbol, in words.
        where: the place of the data, in words.
        rows: number of rows of the answer; if 0, the message says where they were looked for.
        notice: a line about the place.
        stacklevel: of the warning, as `warnings.warn` counts from here.
        explain: says what can be done about incomplete days; called only if a message is built.

    Raises:
        IncompleteData: `missing` is `raise` and a day is incomplete.
    """
    coverage = Coverage(day.as_json for day in days)
    open_days = [day for day in days if not day.complete and day.acknowledged is None]
    if missing == "raise" and open_days:
        raise IncompleteData(in_words(what, where, days, explain(open_days), notice), coverage)
    incomplete = [day for day in days if not day.complete]
    if missing != "ignore" and incomplete:
        said = in_words(what, where, days, explain(incomplete), notice, raises=False)
        warnings.warn("\n".join(map(visible, said)), IncompleteDataWarning, stacklevel)
    elif missing != "ignore" and days and not rows:
        warnings.warn(
            visible(f"{what}: no rows of the requested days; looked in {where}"), IncompleteDataWarning, stacklevel
        )
    return coverage


def in_words(
    what: str, where: str, days: Sequence[DayCoverage], explained: Explained, notice: str = "", *, raises: bool = True
) -> list[str]:
    """Return lines about the incomplete days with reasons; equal reasons become spans; some lines at most.

    Args:
        raises: the lines are of an error, which can be avoided; otherwise of a warning beside the rows.
    """
    incomplete = explained.days
    verb = "is" if len(days) == 1 else "are"
    requested = f"{len(days)} requested day{'' if len(days) == 1 else 's'} {verb} incomplete"
    lines = [f"{what}: {len(incomplete)} of {requested}; looked in {where}"]
    if notice:
        lines.append(notice)
    found = list(spans(incomplete))
    lines += [f"  {_span(span)}" for span in found[:_SHOWN_SPANS]]
    if len(found) > _SHOWN_SPANS:
        left = sum(len(span) for span in found[_SHOWN_SPANS:])
        lines.append(f"  and {left} more day{'' if left == 1 else 's'}; `coverage` has all of them")
    rest = ["missing='warn' or missing='ignore' gives the rows that are stored"] if raises else []
    return [*lines, "; ".join([*explained.advice, *rest])] if explained.advice or rest else lines


def spans(days: Iterable[DayCoverage]) -> Iterable[list[DayCoverage]]:
    """Yield groups of consecutive days with equal state and reason."""

    def alike(numbered: tuple[int, DayCoverage]) -> tuple[Any, ...]:
        number, day = numbered
        # Reasons contain the file of their day; without the day, equal reasons become one span.
        reason = day.reason.replace(day.day.isoformat(), "…")
        return day.day.toordinal() - number, day.state, reason, day.acknowledged

    for _, same in groupby(enumerate(days), alike):
        yield [day for _, day in same]


def _span(span: Sequence[DayCoverage]) -> str:
    first, last = span[0], span[-1]
    when = str(first.day) if len(span) == 1 else f"{first.day} … {last.day} ({len(span)} days)"
    state = _IN_WORDS.get(first.state, str(first.state))
    why = "" if first.reason in ("", state) else f": {first.reason}"
    return f"{when}: {state}{why}" + (f" ({first.acknowledged})" if first.acknowledged else "")
