"""Update what depends on a whole run, after its days are stored: comparisons, incidents, causes of gaps, scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from crypto_assets.causes.incidents import refresh_incidents
from crypto_assets.causes.market_outages import read_outages
from crypto_assets.config.collection import Collection
from crypto_assets.engine.day_outcomes import Target
from crypto_assets.engine.publication.cross_series import Comparer, in_lake
from crypto_assets.engine.publication.journal import Journal
from crypto_assets.engine.publication.update_findings import Revised, Revision, changing, excusable, revise
from crypto_assets.errors import StoredDataError, StoreUnavailable
from crypto_assets.model import DAY, Partition, Series, TrackDay
from crypto_assets.quality.acknowledged_gaps import refresh_acknowledgements
from crypto_assets.quality.score_store import refresh_scores
from crypto_assets.quality.stored_causes import refresh_causes
from crypto_assets.storage.lake_paths import symbol_folder
from crypto_assets.storage.patience import outlast

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

_BESIDE = 2 * DAY
"""Neighbouring days of a run whose outages may change too: a silence is judged by the days around it."""

_AT_ONCE = 64
"""Days compared in one transaction."""


@contextmanager
def days_are_stored() -> Iterator[None]:
    """Turn a store failure in the block into a message: the days are stored, what depends on them is not up to date."""
    try:
        yield
    except StoreUnavailable as error:
        raise type(error)(
            "the days of this run are stored, but not the comparisons, incidents, scores and Dagster events that follow "
            f"from them: {error}; run `crypto-assets validate` on these days to complete them"
        ) from error


def close_run(
    collection: Collection,
    lake: Lake,
    ledger: Ledger,
    targets: Sequence[Target],
    revised: Iterable[TrackDay] = (),
) -> dict[TrackDay, Revised]:
    """Update everything that depends on the days of a run; return the days whose state changed by that.

    Args:
        revised: days whose state the run has changed, including days of other runs.

    Each step retries failures of Postgres by itself: repeating the whole would find fewer changes the second time.

    Raises:
        StoreUnavailable: the server or the lake does not answer; `crypto-assets validate` completes the rest.
    """
    if not targets:
        return {}
    outlast(compare_dependents, collection, lake, ledger, targets)
    first = min(target.days[0] for target in targets)
    last = max(target.days[-1] for target in targets)
    changed: dict[TrackDay, Revised] = {}
    for exchange, market_type in sorted({(t.series.exchange, t.series.market_type) for t in targets}):
        outlast(refresh_incidents, ledger, (exchange, market_type), first, last)
        changed |= excuse_days(lake, ledger, exchange, market_type, first - _BESIDE, last + _BESIDE)
        outlast(refresh_causes, ledger, exchange, market_type, first, last)
    others = [*changed, *revised]
    tracks = {t.track for t in targets} | {day.track for day in others}
    days = [first, last, *(day.day for day in others)]
    outlast(refresh_scores, ledger, collection, min(days), max(days), sorted(tracks))
    outlast(refresh_acknowledgements, ledger, collection, min(days), max(days), datetime.now(UTC).date())
    return changed


def excuse_days(
    lake: Lake, ledger: Ledger, exchange: str, market_type: str, first: date, last: date
) -> dict[TrackDay, Revised]:
    """Judge days with missing rows by the outages of the market known now; return the days that changed."""
    changed: dict[TrackDay, Revised] = {}
    for series, revisions in outlast(_excusable, ledger, exchange, market_type, first, last).items():
        if revisions:
            outlast(_excuse, Journal(lake, ledger), series, revisions, changed)
    return changed


def _excusable(
    ledger: Ledger, exchange: str, market_type: str, first: date, last: date
) -> dict[Series, list[Revision]]:
    """Return the days that change when their outages are judged again. Locks no other day: other runs are publishing."""
    with ledger.transaction() as connection:
        reached = read_outages(connection, exchange, market_type, first, last)
        first = min([first, *(one.start.date() for one in reached)])
        last = max([last, *(one.end.date() for one in reached)])
        wanted = excusable(connection, exchange, market_type, first, last)
        return {series: changing(connection, series, revisions) for series, revisions in wanted.items()}


def _excuse(
    journal: Journal,
    series: Series,
    revisions: Sequence[Revision],
    changed: dict[TrackDay, Revised],
) -> None:
    """Revise days of one series, and add those whose state changed to `changed`; safe to repeat.

    They are added before the commit: if its answer is lost, the repetition finds them changed already.
    """
    folders = sorted({symbol_folder(series, revision.partition.symbol) for revision in revisions})
    with journal.alone(folders) as connection:
        revised = revise(connection, series, revisions)
        changed |= {
            TrackDay(series, partition.symbol, partition.day): one for partition, one in revised.items() if one.changed
        }
        connection.commit()


def compare_dependents(collection: Collection, lake: Lake, ledger: Ledger, targets: Sequence[Target]) -> int:
    """Compare stored days of other series with those of a run, unless these files were compared already; return how many."""
    comparer, compared = Comparer(lake, ledger), 0
    for series, partitions in _dependents(collection, targets).items():
        wanted = comparer.outdated(series, sorted(partitions))
        for start in range(0, len(wanted), _AT_ONCE):
            compared += _compare(comparer, lake, ledger, series, wanted[start : start + _AT_ONCE])
    return compared


def _dependents(collection: Collection, targets: Iterable[Target]) -> dict[Series, set[Partition]]:
    """Return the days of other collected series that are compared with those of some targets."""
    found: dict[Series, set[Partition]] = {}
    for target in targets:
        for entry in collection.series:
            if target.symbol not in entry.symbols:
                continue
            for series in entry.series:
                if any(target.series in check.counterparts(series) for check in in_lake(series)):
                    found.setdefault(series, set()).update(Partition(target.symbol, day) for day in target.days)
    return found


def _compare(comparer: Comparer, lake: Lake, ledger: Ledger, series: Series, partitions: Sequence[Partition]) -> int:
    revisions = []
    for partition in partitions:
        try:
            with lake.pieces(series, partition) as rows:
                findings = comparer.findings(series, {partition: lambda rows=rows: rows})[partition]  # type: ignore[misc]
                revisions.append(Revision(partition, rows.stored.sha256, findings))
        except StoredDataError:
            continue  # `validate` reports it
    folders = sorted({symbol_folder(series, revision.partition.symbol) for revision in revisions})
    with Journal(lake, ledger).alone(folders) as connection:
        revise(connection, series, revisions)
        connection.commit()
    return len(revisions)
