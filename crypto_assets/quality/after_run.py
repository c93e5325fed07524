"""What follows from a run as a whole, once its days are stored: comparisons of other series with them, incidents, scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from crypto_assets.causes.incidents import refresh_incidents
from crypto_assets.causes.market_outages import read_outages
from crypto_assets.config.collection import Collection
from crypto_assets.engine.day_outcomes import Target
from crypto_assets.engine.storing.cross_series import Comparer, in_lake
from crypto_assets.engine.storing.journal import Journal
from crypto_assets.engine.storing.update_findings import Revised, Revision, changing, excusable, revise
from crypto_assets.errors import StoredDataError
from crypto_assets.model import DAY, Partition, Series
from crypto_assets.quality.acknowledged_gaps import refresh_acknowledgements
from crypto_assets.quality.score_store import refresh_scores
from crypto_assets.storage.lake import symbol_folder

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

_BESIDE = 2 * DAY
"""Days beside those of a run whose outages may change with them: a silence is judged by the days around it."""

_AT_ONCE = 64
"""Days that are compared in one transaction."""


def close_run(
    collection: Collection,
    lake: Lake,
    ledger: Ledger,
    targets: Sequence[Target],
    revised: Iterable[tuple[Series, Partition]] = (),
) -> dict[tuple[Series, Partition], Revised]:
    """Bring what depends on the days of a run up to date; return the days whose state has changed by that.

    Args:
        revised: days whose state the run has changed, those of other runs among them.

    Raises:
        PostgresUnavailable: the server does not answer; `crypto-assets validate` does the rest.
    """
    if not targets:
        return {}
    compare_dependents(collection, lake, ledger, targets)
    first = min(target.days[0] for target in targets)
    last = max(target.days[-1] for target in targets)
    changed: dict[tuple[Series, Partition], Revised] = {}
    for exchange, market_type in sorted({(t.series.exchange, t.series.market_type) for t in targets}):
        refresh_incidents(ledger, (exchange, market_type), first, last)
        changed |= excuse_days(lake, ledger, exchange, market_type, first - _BESIDE, last + _BESIDE)
    others = [*changed, *revised]
    pairs = {(t.series, t.symbol) for t in targets} | {(series, partition.symbol) for series, partition in others}
    days = [first, last, *(partition.day for _, partition in others)]
    refresh_scores(ledger, collection, min(days), max(days), sorted(pairs))
    refresh_acknowledgements(ledger, collection, min(days), max(days), datetime.now(UTC).date())
    return changed


def excuse_days(
    lake: Lake, ledger: Ledger, exchange: str, market_type: str, first: date, last: date
) -> dict[tuple[Series, Partition], Revised]:
    """Weigh the days of a market that miss rows against its outages as they are known now; return those that changed."""
    with ledger.transaction() as connection:
        reached = read_outages(connection, exchange, market_type, first, last)
        first = min([first, *(one.start.date() for one in reached)])
        last = max([last, *(one.end.date() for one in reached)])
        wanted = excusable(connection, exchange, market_type, first, last)
        # Other runs are publishing: only folders of days that do change are locked.
        due = {series: changing(connection, series, revisions) for series, revisions in wanted.items()}
    changed: dict[tuple[Series, Partition], Revised] = {}
    for series, revisions in due.items():
        if not revisions:
            continue
        folders = sorted({symbol_folder(series, revision.partition.symbol) for revision in revisions})
        with Journal(lake, ledger).alone(folders) as connection:
            revised = revise(connection, series, revisions)
            connection.commit()
        changed |= {(series, partition): one for partition, one in revised.items() if one.changed}
    return changed


def compare_dependents(collection: Collection, lake: Lake, ledger: Ledger, targets: Sequence[Target]) -> int:
    """Compare stored days of other series with those of a run where that was not done with these files; return how many."""
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
            continue  # `validate` says so; a comparison is not the place
    folders = sorted({symbol_folder(series, revision.partition.symbol) for revision in revisions})
    with Journal(lake, ledger).alone(folders) as connection:
        revise(connection, series, revisions)
        connection.commit()
    return len(revisions)
