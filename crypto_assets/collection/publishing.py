"""Good days on their way into lake, warehouse and ledger, all three at once, and what they correct there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_assets import datasets
from crypto_assets.collection.corrections import InForce, in_force, record_corrections, record_growth
from crypto_assets.collection.days import Day
from crypto_assets.collection.journal import Journal, Replacement
from crypto_assets.collection.loads import StoredDay, loads
from crypto_assets.collection.versions import Correction, Difference, compare
from crypto_assets.config import Collection
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.model import Outcome, Partition, StoredFile
from crypto_assets.storage.lake import StoredRows, symbol_folder

if TYPE_CHECKING:
    from crypto_assets.collection.ledger import Ledger
    from crypto_assets.storage.lake import Lake
    from crypto_assets.storage.warehouse import Warehouse

Published = Callable[[Day, StoredFile, Mapping[str, int], Correction | None], Outcome]
"""Returns the outcome of a good day from its file, its rows in each table of the warehouse, and what was corrected."""


@dataclass(slots=True)
class _Draft:
    """A good day and what publishing it means.

    `file` is None where the lake has the bytes already. `same_rows` says that the rows that were known are these, or the
    first of these: then `grew_from` counts them. `superseded` days were replaced by another run since they were read.
    """

    day: Day
    stored: StoredFile
    file: Replacement | None = None
    correction: Correction | None = None
    same_rows: bool = False
    grew_from: int | None = None
    superseded: bool = False


class Publisher:
    """Publishes days of one lake and database; what killed runs have left there is put right first."""

    def __init__(
        self,
        writers: Executor,
        collection: Collection,
        lake: Lake,
        warehouse: Warehouse,
        ledger: Ledger,
        run_id: str | None,
    ) -> None:
        if ledger.url != warehouse.url:
            raise ConfigError("ledger and warehouse: expected one database, for a day goes to both at once; found two")
        self._writers = writers
        self._collection = collection
        self._lake = lake
        self._warehouse = warehouse
        self._ledger = ledger
        self._run_id = run_id
        self._journal = Journal(lake, ledger, run_id)
        self._journal.recover()

    def publish(self, good: Sequence[Day], others: Sequence[Outcome], published: Published) -> dict[int, Outcome]:
        """Store good days of one series; record their outcomes and those of other days of their batch.

        Returns:
            The outcomes of the good days, by the identity of the day.
        """
        collected = [day for day in good if day.target.collect]
        folders = {symbol_folder(day.series, day.partition.symbol) for day in collected}
        with self._journal.alone(sorted(folders)) as connection:
            wanted = [day.partition for day in collected]
            before = in_force(connection, collected[0].series, wanted) if collected else {}
            drafts = list(self._writers.map(lambda day: self._draft(day, before.get(day.partition)), good))
            files = {draft.file.path: draft.file for draft in drafts if draft.file is not None}
            with self._journal.publishing(connection, list(files.values()), self._writers):
                counts = self._load(connection, [draft for draft in drafts if not draft.superseded])
                outcomes = {
                    id(d.day): published(d.day, d.stored, counts.get(d.day.partition, {}), d.correction) for d in drafts
                }
                new = [outcomes[id(d.day)] for d in drafts if d.day.target.collect and not d.superseded]
                self._record(connection, [*others, *new], drafts)
        return outcomes

    def _draft(self, day: Day, before: InForce | None) -> _Draft:
        """Return what publishing a day means, beside what the ledger says of it."""
        if day.known is not None:
            return _Draft(day, day.known, superseded=before is not None and before.sha256 != day.known.sha256)
        assert day.source is not None  # noqa: S101  a parsed day has one; tells the type checker
        data = self._lake.encode(day.series, day.partition, day.parsed, day.source)
        path = self._lake.path(day.series, day.partition)
        draft = _Draft(day, StoredFile(path, day.parsed.num_rows, len(data), hashlib.sha256(data).hexdigest()))
        there = self._lake.store.get(path)
        sha256_there = None if there is None else hashlib.sha256(there).hexdigest()
        rows, former = self._former(day, before, there, sha256_there)
        if former is not None and former.sha256 != draft.stored.sha256:
            self._compare(draft, rows, former, is_known=before is not None)
        if sha256_there != draft.stored.sha256:
            kept = draft.correction.kept if draft.correction else None
            folder = symbol_folder(day.series, day.partition.symbol)
            draft.file = Replacement(folder, path, data, draft.stored.sha256, sha256_there, kept)
        return draft

    def _former(
        self, day: Day, before: InForce | None, there: bytes | None, sha256_there: str | None
    ) -> tuple[StoredRows | None, InForce | None]:
        """Return the version before, its rows if they can be read: what the ledger knows, else what lies in the lake."""
        rows = None
        if there is not None and sha256_there is not None and (before is None or before.sha256 == sha256_there):
            try:
                rows = StoredRows(day.series, there, self._lake.path(day.series, day.partition))
            except StoredDataError:
                return None, before
            if before is None:
                return rows, InForce(sha256_there, rows.num_rows, rows.source, None)
        return rows, before

    def _compare(self, draft: _Draft, rows: StoredRows | None, former: InForce, *, is_known: bool) -> None:
        """Say how a day differs from the version before it."""
        day, stored = draft.day, draft.stored
        assert day.source is not None  # noqa: S101  as in _draft
        difference: Difference | None = None
        if rows is not None:
            try:
                difference = compare(rows, day.parsed, datasets.get(day.series.table))
            except StoredDataError:
                difference = None  # its pages are damaged
        if difference is not None:
            if difference.grew and former.source.source == day.source.source == "rest":
                draft.same_rows = is_known
                draft.grew_from = former.rows if is_known and difference.added else None
                return
            draft.same_rows = is_known and difference.equal
        keeps = difference is not None and not difference.equal
        draft.correction = Correction(
            day.series,
            day.partition,
            difference,
            former.source,
            former.sha256,
            former.rows,
            former.known_from,
            day.source,
            stored.sha256,
            stored.rows,
            self._lake.version_path(day.series, day.partition, former.sha256) if keeps else None,
        )

    def _load(self, connection: psycopg.Connection[Any], drafts: Sequence[_Draft]) -> dict[Partition, dict[str, int]]:
        """Bring the rows into the warehouse; return how many each table has of each day."""
        counts: dict[Partition, dict[str, int]] = {draft.day.partition: {} for draft in drafts}
        tables = drafts[0].day.target.tables if drafts else ()
        if not tables:
            return counts
        series = drafts[0].day.series
        days = [
            StoredDay(
                d.day.partition, d.day.parsed, d.stored.sha256, d.day.source.source if d.day.source else "archive"
            )
            for d in drafts
        ]
        collected = {
            symbol: self._collection.timeframes(series.exchange, series.market_type, symbol)
            for symbol in {draft.day.partition.symbol for draft in drafts}
        }
        batch = loads(series, days, tables, collected)
        for load, rows in zip(batch, self._warehouse.replace(batch, connection), strict=True):
            counts[Partition(load.symbol, load.day)][load.table] = rows
        return counts

    def _record(
        self, connection: psycopg.Connection[Any], outcomes: Sequence[Outcome], drafts: Sequence[_Draft]
    ) -> None:
        if not outcomes:
            return
        [(at,)] = connection.execute("SELECT clock_timestamp()").fetchall()
        same_rows = {draft.day.partition for draft in drafts if draft.same_rows}
        self._ledger.record_outcomes(outcomes, self._run_id, connection=connection, at=at, same_rows=same_rows)
        record_corrections(connection, [d.correction for d in drafts if d.correction], at, self._run_id)
        grown = [(d.day.partition, d.grew_from) for d in drafts if d.grew_from is not None]
        record_growth(connection, outcomes[0].series, grown, at)
