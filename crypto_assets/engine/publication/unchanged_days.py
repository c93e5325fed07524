"""Finds the stored days of a batch that need no new check: it would give exactly what the ledger has.

The rows are those of the ledger's file (`stored_file.py`). Everything else that a check would find or write is compared
here: the weeks and days beside, the other series, the publication of the file, outages, and the ledger's own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from crypto_assets.checks import of_kind, rules_of
from crypto_assets.checks._arrangement import ArrangementCheck
from crypto_assets.engine.day_outcomes import Day
from crypto_assets.engine.publication.cross_series import Comparer
from crypto_assets.engine.publication.neighbour_days import Near
from crypto_assets.engine.publication.publication_delay import Delays
from crypto_assets.engine.publication.standing import made_of, may_stand
from crypto_assets.engine.publication.update_findings import Revision, changing
from crypto_assets.engine.publication.validation import weeks_before
from crypto_assets.ledger.outcome_rows import failed_names, from_stored
from crypto_assets.model import Comparison, Outcome, Partition, Series, StoredFile, Track, TrackDay

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger, PartitionRecord

Loaded = Callable[[Sequence[Day]], Mapping[int, Mapping[str, int]]]
"""Returns the days that all of their tables have, each with its rows in each table; by the identity of the day."""


class UnchangedDays:
    """Compares stored days with the ledger of one collection; safe to use from one thread."""

    def __init__(self, ledger: Ledger, comparer: Comparer, delays: Delays, loaded: Loaded) -> None:
        self._ledger = ledger
        self._comparer = comparer
        self._delays = delays
        self._loaded = loaded

    def among(self, series: Series, days: Sequence[Day], near: Near) -> dict[int, Outcome]:
        """Return the unchanged days among some days of one series, as the ledger has them; by the identity of the day.

        Args:
            near: the profiles of the days, of those beside them and of the weeks before, as they are now.
        """
        records = self._records([day for day in days if day.record is not None])
        same = [day for day in days if id(day) in records and _is_same(day, records[id(day)], near)]
        if not same:
            return {}
        changed = self._changed(series, same, near)
        loaded = self._loaded([day for day in same if day.partition not in changed])
        return {
            id(day): _outcome(day, records[id(day)], loaded[id(day)])
            for day in same
            if id(day) in loaded and day.partition not in changed
        }

    def _records(self, days: Sequence[Day]) -> dict[int, PartitionRecord]:
        """Return what the ledger has now: other days of the run may have changed it since the days were read."""
        places = {id(day): TrackDay(*day.target.track, day.partition.day) for day in days}
        wanted: dict[Track, list[date]] = {}
        for place in places.values():
            wanted.setdefault(place.track, []).append(place.day)
        found = self._ledger.records_of(wanted)
        return {day: found[place] for day, place in places.items() if place in found}

    def _changed(self, series: Series, days: Sequence[Day], near: Near) -> set[Partition]:
        """Return the days for which a check that needs no rows would now find something else."""
        files = self._delays.findings(series, {day.partition: day.source for day in days if day.source})
        revisions = [
            Revision(
                day.partition,
                day.known.sha256,
                {**files.get(day.partition, {}), **near.seams(series, day.partition)},
            )
            for day in days
            if day.known is not None
        ]
        with self._ledger.transaction() as connection:
            changed = {one.partition for one in changing(connection, series, revisions)}
        return changed.union(self._comparer.outdated(series, [day.partition for day in days]))


def _is_same(day: Day, record: PartitionRecord, near: Near) -> bool:
    """Return whether the ledger has what it would have of a day after a new check, as far as one day alone shows it."""
    profile, known = near.get(day.partition.symbol, day.partition.day), day.known
    return (
        may_stand(record)
        and known is not None
        and day.partition == Partition(record.symbol, record.day)  # no life begins or ends in it
        and not (day.reason or day.missing or day.evidence)
        and known
        == StoredFile(record.path or "", record.rows or 0, record.size_bytes or 0, record.content_sha256 or "")
        and day.source == record.source_file
        and profile is not None
        and (profile.content_sha256, profile.rows) == (known.sha256, known.rows)
        and _names_every_rule(day.series, record)
        and record.judged_by == made_of(weeks_before(day.series, day.partition, near))
    )


def _names_every_rule(series: Series, record: PartitionRecord) -> bool:
    """Return whether a record has a finding of each check that would run, and of no other but those of `asked_before`."""
    kept = {check.name for check in of_kind(series, Comparison) if check.source != "lake"}
    kept |= {check.name for check in of_kind(series, ArrangementCheck)}
    return (
        {rule.name for rule in rules_of(series)} - kept == record.findings.keys() - kept
        and all("passed" in found for found in record.findings.values())
        and list(record.failed_checks) == failed_names(record.findings)
    )


def _outcome(day: Day, record: PartitionRecord, rows: Mapping[str, int]) -> Outcome:
    return Outcome(
        day.series,
        day.partition,
        record.state,
        record.reason,
        {},
        day.source,
        day.known,
        from_stored(record.findings),
        unchanged=True,
        warehouse_rows=rows,
        judged_by=record.judged_by,
        stands=True,
    )
