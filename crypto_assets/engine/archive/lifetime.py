"""Says why an archive has no files for some days: the symbol was not listed yet, delisted, expired, or unlisted for a while.

Missing files alone prove none of this. The exchange is asked where that is allowed; a contract's own name says when it
expires; if nobody can be asked, only a very long silence, while other symbols continue, counts as an end. An inference is
marked in the evidence (`inferred`), and an answer of the exchange has the time of the question (`exchange_asked`). Both are
checked again later (`review.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from crypto_assets import sources
from crypto_assets.engine.archive.probing import delisted_after, files_around, newest_day
from crypto_assets.engine.archive.site import ArchiveSite
from crypto_assets.errors import OF_THIS_PROCESS, CryptoAssetsError
from crypto_assets.model import Outcome, Partition, Series, State, Track

if TYPE_CHECKING:
    from crypto_assets.engine.rest.symbol_life import Latest
    from crypto_assets.sources import Source

VERY_OLD = timedelta(days=180)
"""This long after a symbol's last file its end is inferred if the exchange cannot be asked.

Files of single symbols were up to a month late (binance-public-data #302, #347), whole datasets some months (#328). Half a
year is far longer than any known delay, and short enough that a symbol delisted last year is no gap.
"""

LIFE = "life"
"""Key in the evidence of a day: `before`, `after` or `between` the listings of its symbol."""


CONTRADICTED_BY = "contradicted_by"
"""Key in the evidence of a missing day or of an edge: the dataset whose rows contradict the earlier explanation."""


class Asks(Protocol):
    """The questions about a symbol that an exchange can answer (`crypto_assets.engine.rest.symbol_life.Reported`)."""

    def first(self, series: Series, symbol: str) -> datetime | None: ...
    def latest(self, series: Series, symbol: str) -> Latest: ...
    def has_rows(self, series: Series, symbol: str, first: date, last: date) -> bool | None: ...


@dataclass(frozen=True, slots=True)
class Cause:
    """The reason and the evidence why days without a file have no data.

    If they should have data: the evidence, a reason if the archive cannot have a file, and a `hint` for people.
    """

    no_data: bool
    reason: str = ""
    hint: str = ""
    evidence: Mapping[str, Any] | None = None


NOTHING_KNOWN = Cause(False)


def expired(source: Source, symbol: str, day: date) -> Cause | None:
    """Return why a day after a contract's expiry has no data, from the contract's name alone; None for other days."""
    expires_at = source.expires_at(symbol)
    if expires_at is None or Partition(symbol, day).start < expires_at:
        return None
    return Cause(
        True,
        f"expired: the contract ended on {expires_at:%Y-%m-%d %H:%M} UTC, as its name says",
        evidence={LIFE: "after", "expired": expires_at.isoformat(), "source": "name"},
    )


class Lifetime:
    """The life of one symbol of one series, from its listing, other symbols, the exchange and its instruments.

    `archive_begins`: `first_listed` is the first day of the archive, which says nothing about the symbol. `listed_at` returns
    when the symbol was listed, as the exchange's instruments say; None if they do not.
    """

    def __init__(
        self,
        site: ArchiveSite,
        track: Track,
        now: datetime,
        first_listed: date,
        reported: Asks | None,
        listed_at: Callable[[], datetime | None],
        *,
        archive_begins: bool,
    ) -> None:
        self._site = site
        self._track = track
        self._series, self._symbol = track
        self._now = now
        self._today = now.astimezone(UTC).date()
        self._first_listed = first_listed
        self._reported = reported
        self._listed_at = listed_at
        self._archive_begins = archive_begins

    # ---- before the first file --------------------------------------------------------------------------------------

    def before(self, day: date) -> Cause:
        """Return the cause of a day before the archive's first file."""
        listed = f"the archive's first file is of {self._first_listed}"
        if self._archive_begins:
            listed = f"the archive begins on {self._first_listed}"
        if self._reported is None:
            return self._before_unasked(day)
        try:
            first = self._reported.first(self._series, self._symbol)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            return self._before_unasked(day, error)
        if first is None:  # exchanges forget delisted symbols
            return self._before_unasked(day)
        evidence = {"exchange_first": first.isoformat(), **self._asked()}
        if day < first.date():
            reason = f"not listed before {first:%Y-%m-%d %H:%M} UTC: the exchange's first row; {listed}"
            return Cause(True, reason, evidence={LIFE: "before", **evidence})
        hint = f"{listed}, but the exchange has rows from {first:%Y-%m-%d %H:%M} UTC on"
        return Cause(False, hint=hint, evidence=evidence)

    def _before_unasked(self, day: date, problem: CryptoAssetsError | None = None) -> Cause:
        """Return the cause of a day before the archive's first file if the exchange does not say its first row."""
        failed = problem_of("exchange", problem) if problem else {}
        if (found := self._before_instrument(day, failed)) is not None:
            return found
        if self._archive_begins:
            return Cause(False, f"the archive begins on {self._first_listed}", evidence=failed)
        evidence = {LIFE: "before", "inferred": True, "looked_at": self._now.isoformat(), **failed}
        return Cause(True, f"not listed before {self._first_listed}: the archive's first file", evidence=evidence)

    def _before_instrument(self, day: date, failed: Mapping[str, Any]) -> Cause | None:
        """Return the cause of a day before the instant at which the symbol was listed, as the exchange's instruments say."""
        listed_at = self._listed_at()
        if listed_at is None or day >= listed_at.date():
            return None
        evidence = {LIFE: "before", "inferred": True, "looked_at": self._now.isoformat(), **failed}
        reason = f"not listed before {listed_at:%Y-%m-%d %H:%M} UTC: the exchange's instruments say so"
        return Cause(True, reason, evidence={**evidence, "listed_at": listed_at.isoformat()})

    # ---- after a file -----------------------------------------------------------------------------------------------

    def after(self, days: Sequence[date], earlier: date | None = None, later: date | None = None) -> dict[date, Cause]:
        """Return the causes of consecutive days without a file, on or after the first listed day.

        Args:
            earlier, later: the nearest days on both sides that are known to have a file.
        """
        if earlier is None or later is None:
            try:
                before, after = files_around(
                    self._site,
                    self._track,
                    days[0] if earlier is None else days[-1],
                    self._first_listed,
                    self._now,
                )
            except OF_THIS_PROCESS:
                raise
            except CryptoAssetsError as error:
                return dict.fromkeys(days, Cause(False, evidence=problem_of("listing", error)))
            earlier = earlier or before
            later = later or (after if after is not None and after > days[-1] else None)
        if earlier is None:
            return {day: self._before_instrument(day, {}) or NOTHING_KNOWN for day in days}
        if later is not None:
            return dict.fromkeys(days, self._between(earlier, later))
        return self._at_the_end(days, earlier)

    def _between(self, earlier: date, later: date) -> Cause:
        """Return the cause of the days between two files."""
        length = timedelta(days=(later - earlier).days - 1)
        if length < delisted_after(self._series):
            # A gap of days: if the exchange has no rows of them either, that proves nothing while it trades on both sides.
            return NOTHING_KNOWN
        evidence: dict[str, Any] = {"last_listed": str(earlier), "listed_again": str(later)}
        words = f"between two listings: the archive has files up to {earlier} and again from {later} on"
        if self._reported is not None:
            try:
                inside = earlier + timedelta(days=1), later - timedelta(days=1)
                has_rows = self._reported.has_rows(self._series, self._symbol, *inside)
            except OF_THIS_PROCESS:
                raise
            except CryptoAssetsError as error:
                evidence |= problem_of("exchange", error)
            else:
                if has_rows is not None:
                    evidence |= self._asked() | {"exchange_has_rows": has_rows}
                if has_rows:
                    return Cause(False, hint="the exchange has rows of this time", evidence=evidence)
                if has_rows is False:
                    words += "; the exchange has no rows in between"
                    return Cause(True, words, evidence=evidence | {LIFE: "between"})
        if length < VERY_OLD:
            return Cause(False, hint=f"the archive has nothing from {earlier} to {later}", evidence=evidence)
        evidence |= {LIFE: "between", "inferred": True, "looked_at": self._now.isoformat()}
        return Cause(True, words, evidence=evidence)

    def _at_the_end(self, days: Sequence[date], last: date) -> dict[date, Cause]:
        """Return the causes of days after the last file."""
        evidence: dict[str, Any] = {"last_listed": str(last)}
        words = f"the archive's last file is of {last}"
        if self._today - last <= delisted_after(self._series):
            return self._lately(days, words, evidence)
        forgotten = ""
        if self._reported is not None:
            try:
                latest = self._reported.latest(self._series, self._symbol)
            except OF_THIS_PROCESS:
                raise
            except CryptoAssetsError as error:
                evidence |= problem_of("exchange", error)
            else:
                if latest.is_known:
                    return {day: self._told_at_the_end(day, latest, words, evidence) for day in days}
                # The symbol was renamed or forgotten, or this is another site: it does not answer whether the symbol ended.
                forgotten = f"; {latest.status}"
                evidence["exchange_status"] = latest.status
        try:
            others = newest_day(self._site, self._track, self._now)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError as error:
            return dict.fromkeys(days, Cause(False, evidence=evidence | problem_of("listing", error)))
        if others.day is None or others.day <= last:
            return dict.fromkeys(days, Cause(False, evidence=evidence))
        count, age = len(others.symbols), (self._today - last).days
        continuing = f"{count} other symbol{'s' if count != 1 else ''} of {others.asked} asked continue to {others.day}"
        evidence |= {"others_newest": str(others.day), "others": list(others.symbols)}
        if others.day - last < VERY_OLD:
            ask = (
                "give a rest_url so that the exchange can be asked" if self._reported is None else "check the rest_url"
            )
            hint = (
                f"{words} ({age} days ago){forgotten}, {continuing}: it may be delisted, or late. "
                f"Set `end` in collection.yaml, {ask}, or acknowledge the gap"
            )
            return dict.fromkeys(days, Cause(False, hint=hint, evidence=evidence))
        gone = Cause(
            True,
            f"delisted: {words}{forgotten}; {continuing}",
            evidence={**evidence, LIFE: "after", "inferred": True, "looked_at": self._now.isoformat()},
        )
        # Days that the other symbols do not have either are not explained yet.
        return {day: gone if day <= others.day else Cause(False, evidence=evidence) for day in days}

    def _lately(self, days: Sequence[date], words: str, evidence: Mapping[str, Any]) -> dict[date, Cause]:
        """Return the causes of days whose files may only be late; the exchange is asked only after they are due."""
        causes = dict.fromkeys(days, Cause(False, evidence=evidence))
        late = [day for day in days if self._now >= sources.expected_by(self._series, day)]
        if self._reported is None or not late:
            return causes
        try:
            latest = self._reported.latest(self._series, self._symbol)
        except OF_THIS_PROCESS:
            raise
        except CryptoAssetsError:
            return causes
        if latest.ended:
            causes |= {day: self._told_at_the_end(day, latest, words, evidence) for day in late}
        return causes

    def _told_at_the_end(self, day: date, latest: Latest, words: str, evidence: Mapping[str, Any]) -> Cause:
        said = f"the exchange says {latest.status}"
        said += f", its last row is of {latest.time:%Y-%m-%d %H:%M} UTC" if latest.time else ", it has no rows"
        evidence = {**evidence, "exchange_status": latest.status, **self._asked()}
        if latest.time:
            evidence["exchange_latest"] = latest.time.isoformat()
        if not latest.ended or (latest.time and latest.time.date() >= day) or day >= self._today:
            return Cause(False, hint=f"{words}, and {said}" if not latest.ended else "", evidence=evidence)
        return Cause(True, f"delisted: {words}; {said}", evidence={**evidence, LIFE: "after"})

    def _asked(self) -> dict[str, str]:
        return {"exchange_asked": self._now.isoformat(), "looked_at": self._now.isoformat()}


def problem_of(whom: str, error: CryptoAssetsError) -> dict[str, Any]:
    """Return the evidence of a failed question; `whom` is `exchange` or `listing`."""
    return {f"{whom}_problem": str(error), f"{whom}_error": type(error).__name__}


def says_more(outcome: Outcome) -> bool:
    """Whether an outcome rests on a file or an answer, and not only on the fact that nobody was asked."""
    return "exchange_asked" in outcome.evidence or "appeared" in outcome.evidence or "object" in outcome.evidence


def keep_what_was_said(outcome: Outcome, was: Mapping[str, Any], reason: str, state: State) -> Outcome:
    """Return an exchange's earlier answer about a day if it cannot be asked now; else the outcome."""
    if state is not State.NO_DATA or "exchange_asked" not in was or says_more(outcome):
        return outcome
    return Outcome(outcome.series, outcome.partition, State.NO_DATA, reason, was)
