"""Publishes good days to lake, warehouse and ledger at once, and records what they correct there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.checks import of_kind
from crypto_assets.checks.file_order import CHECK as FILE_ORDER
from crypto_assets.config.collection import Collection
from crypto_assets.engine.day_outcomes import Day
from crypto_assets.engine.publication.cross_series import asked_before
from crypto_assets.engine.publication.journal import Journal, Replacement
from crypto_assets.engine.publication.neighbour_days import Near, read_near
from crypto_assets.engine.publication.update_findings import revise_beside
from crypto_assets.engine.run_context import Stores
from crypto_assets.errors import ConfigError, StoredDataError
from crypto_assets.ledger.corrections import InForce, in_force, record_corrections, record_growth
from crypto_assets.ledger.lakes import remember_lake, require_lake
from crypto_assets.ledger.life_edges import cut_of
from crypto_assets.ledger.origins import remember_origins, require_origins
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.model import Comparison, Finding, Outcome, Partition, Series, StoredFile, Track
from crypto_assets.model.content import digest_of
from crypto_assets.model.correction import Correction, Difference
from crypto_assets.rows.loads import DayFile, Load, LoadPlan, StoredDay, loads, plans
from crypto_assets.rows.versions import compare
from crypto_assets.storage.lake_paths import symbol_folder
from crypto_assets.storage.parquet import StoredRows
from crypto_assets.storage.unlisted_rows import unload
from crypto_assets.storage.warehouse_loads import tables_with

if TYPE_CHECKING:
    pass

Published = Callable[[Day, StoredFile, Mapping[str, int], Correction | None, Mapping[str, Finding]], Outcome]
"""Returns the outcome of a good day from its file, its rows in each warehouse table, its correction, and the findings that
its rows alone do not give."""


@dataclass(slots=True)
class _Draft:
    """A good day and the changes that publishing it makes.

    `file` is None if the lake already has the bytes. `same_rows`: the new file has all rows known before, in the same order
    and from the first on. `grew_from` is set if it has more rows: the number before, such as 700 if 700 rows of REST became
    900. `superseded`: another run replaced the day since it was read. `findings` compare the day with other sources: with the
    REST rows that it replaces, or as they were found before. `replaces`: the ledger had an earlier version.
    """

    day: Day
    stored: StoredFile
    file: Replacement | None = None
    correction: Correction | None = None
    same_rows: bool = False
    grew_from: int | None = None
    superseded: bool = False
    replaces: bool = False
    findings: dict[str, Finding] = field(default_factory=dict)


class Publisher:
    """Publishes days of one lake and database; what killed runs left there is undone first."""

    def __init__(
        self,
        writers: Executor,
        collection: Collection,
        stores: Stores,
        run_id: str | None,
    ) -> None:
        lake, warehouse, ledger = stores.lake, stores.warehouse, stores.ledger
        if ledger.url != warehouse.url:
            raise ConfigError(
                "ledger and warehouse: expected one database, because a day goes to both at once; found two"
            )
        self._writers = writers
        self._collection = collection
        self._lake = lake
        self._warehouse = warehouse
        self._ledger = ledger
        self._run_id = run_id
        self._journal = Journal(lake, ledger, run_id)
        require_lake(ledger, lake)
        require_origins(ledger, collection)
        self._journal.recover()
        self._lake_id = ""
        self._remembered: set[str] = set()

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
            if files:
                self._require_same_lake()
                self._remember_origins({day.series.exchange for day in collected})
            with self._journal.publishing(connection, list(files.values()), self._writers):
                current = [draft for draft in drafts if not draft.superseded]
                counts = self._load(connection, current)
                self._unload(connection, current)
                near = _profiles_now(connection, current)
                outcomes = {
                    id(d.day): published(
                        d.day,
                        d.stored,
                        counts.get(d.day.partition, {}),
                        d.correction,
                        d.findings | near.seams(d.day.series, d.day.partition),
                    )
                    for d in drafts
                }
                recorded = [draft for draft in current if draft.day.target.collect]
                self._record(connection, [*others, *(outcomes[id(d.day)] for d in recorded)], drafts)
                _record_profiles(connection, recorded, near)
        return outcomes

    def _require_same_lake(self) -> None:
        """Record the lake in the ledger before the first file is written; later, check that it is still there.

        Raises:
            StoredDataError: the lake disappeared during the run.
        """
        if not self._lake_id:
            # In its own transaction: other publishers do not wait for this one.
            self._lake_id = remember_lake(self._ledger, self._lake)
        elif self._lake.is_local and self._lake.identity() != self._lake_id:
            require_lake(self._ledger, self._lake)

    def _remember_origins(self, exchanges: set[str]) -> None:
        """Record, once for each exchange, where its days come from, before the first of them is stored."""
        if new := exchanges - self._remembered:
            remember_origins(self._ledger, self._collection, new)
            self._remembered |= new

    def _draft(self, day: Day, before: InForce | None) -> _Draft:
        """Return the changes that publishing a day makes, given the ledger's version of it."""
        asked = asked_before(day.series, before.findings) if before else {}
        if day.known is not None:
            superseded = before is not None and before.sha256 != day.known.sha256
            return _Draft(day, day.known, superseded=superseded, findings=asked)
        assert day.source is not None  # noqa: S101  a parsed day has one; tells the type checker
        rows = day.in_hand
        data = self._lake.encode(day.series, day.partition, rows, day.source)
        path = self._lake.path(day.series, day.partition)
        draft = _Draft(day, StoredFile(path, rows.num_rows, len(data), digest_of(data)))
        draft.replaces = before is not None
        there = self._lake.readable(path)
        sha256_there = None if there is None else hashlib.sha256(there).hexdigest()
        former_rows, former = self._former(day, before, there, sha256_there)
        if former is not None and former.sha256 != draft.stored.sha256:
            self._compare(draft, former_rows, former, is_known=before is not None)
        elif before is not None:
            draft.findings = asked
        if sha256_there != draft.stored.sha256:
            kept = draft.correction.kept if draft.correction else None
            folder = symbol_folder(day.series, day.partition.symbol)
            draft.file = Replacement(folder, path, data, draft.stored.sha256, sha256_there, kept)
        return draft

    def _former(
        self, day: Day, before: InForce | None, there: bytes | None, sha256_there: str | None
    ) -> tuple[StoredRows | None, InForce | None]:
        """Return the earlier version, and its rows if they can be read: from the ledger, else from the lake's file."""
        rows = None
        if there is not None and sha256_there is not None and (before is None or before.sha256 == sha256_there):
            try:
                sha256 = before.sha256 if before else None
                rows = StoredRows(day.series, there, self._lake.path(day.series, day.partition), sha256)
            except StoredDataError:
                return None, before
            if before is None:
                return rows, InForce(sha256_there, rows.num_rows, rows.source, None)
        return rows, before

    def _compare(self, draft: _Draft, rows: StoredRows | None, former: InForce, *, is_known: bool) -> None:
        """Record how a day differs from its earlier version."""
        day, stored = draft.day, draft.stored
        assert day.source is not None  # noqa: S101  as in _draft
        difference: Difference | None = None
        if rows is not None:
            try:
                difference = compare(rows, day.parsed, datasets.get(day.series.table))
                if former.source.source == "rest" and day.source.source == "archive":
                    draft.findings |= _agreement_with_rest(day, rows)
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
            reordered=difference is not None and (difference.reordered or _moved(day, former)),
            former_state=former.state,
            former_reason=former.reason,
            former_until=former.until,
        )

    def _load(self, connection: psycopg.Connection[Any], drafts: Sequence[_Draft]) -> dict[Partition, dict[str, int]]:
        """Load the rows into the warehouse; return the number of rows that each table has of each day."""
        counts: dict[Partition, dict[str, int]] = {draft.day.partition: {} for draft in drafts}
        tables = drafts[0].day.target.tables if drafts else ()
        if not tables:
            return counts
        series = drafts[0].day.series
        files = {draft.day.partition: _file_of(draft.day, draft.stored) for draft in drafts}
        # Stored days are mostly loaded already: their rows are decoded only for tables without them. All days are looked up
        # at once, so that all locks are taken in one order.
        is_known = any(draft.day.known is not None for draft in drafts)
        known = self._plans(series, list(files.values()), tables) if is_known else []
        for plan, rows in self._warehouse.rows_held(known, connection).items():
            counts[Partition(plan.symbol, plan.day)][plan.table] = rows
        days = [
            StoredDay(file.partition, draft.day.in_hand, file.sha256, file.source, file.life)
            for draft, file in zip(drafts, files.values(), strict=True)
            if len(counts[file.partition]) < len(tables)
        ]
        batch = self._loads(series, days, tables)
        for load, rows in zip(batch, self._warehouse.replace(batch, connection), strict=True):
            counts[Partition(load.symbol, load.day)][load.table] = rows
        return counts

    def _unload(self, connection: psycopg.Connection[Any], drafts: Sequence[_Draft]) -> None:
        """Remove earlier versions of changed days from tables that collection.yaml does not load any more.

        What stays there from earlier is then always the lake's version.
        """
        changed = [draft for draft in drafts if draft.replaces and draft.file is not None]
        by_symbol: dict[str, dict[date, str]] = {}
        for draft in changed:
            by_symbol.setdefault(draft.day.partition.symbol, {})[draft.day.partition.day] = draft.stored.sha256
        for symbol, versions in sorted(by_symbol.items()):
            track = Track(changed[0].day.series, symbol)
            unload(connection, track, versions, self._collection.tables_of(*track))

    def loaded(self, days: Sequence[Day]) -> dict[int, dict[str, int]]:
        """Return the stored days of one series that all of their tables already have; by the identity of the day.

        Each with its rows in each table. A day without tables is included.
        """
        tables = days[0].target.tables if days else ()
        if not tables:
            return {id(day): {} for day in days}
        files = [_file_of(day, day.known) for day in days if day.known is not None]
        counts: dict[Partition, dict[str, int]] = {file.partition: {} for file in files}
        with self._ledger.transaction() as connection:
            plans_ = self._plans(days[0].series, files, tables)
            for plan, rows in self._warehouse.rows_held(plans_, connection).items():
                counts[Partition(plan.symbol, plan.day)][plan.table] = rows
        return {id(day): counts[day.partition] for day in days if len(counts[day.partition]) == len(tables)}

    def _plans(self, series: Series, files: Sequence[DayFile], tables: Sequence[str]) -> list[LoadPlan]:
        return plans(series, files, tables, self._built(series, {file.partition.symbol for file in files}))

    def _loads(self, series: Series, days: Sequence[StoredDay], tables: Sequence[str]) -> list[Load]:
        return loads(series, days, tables, self._built(series, {day.partition.symbol for day in days}))

    def _built(self, series: Series, symbols: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the timeframes of each symbol that are built from its 1m bars."""
        market = series.exchange, series.market_type
        return {symbol: self._collection.built_timeframes(*market, symbol) for symbol in symbols}

    def load_again(self, connection: psycopg.Connection[Any], series: Series, day: StoredDay) -> None:
        """Load a stored day again into the tables that have it, because bars built from it are not valid any more."""
        tables = tables_with(connection, series, day.partition.symbol, day.partition.day)
        if tables:
            self._warehouse.replace(self._loads(series, [day], tables), connection)

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


def _file_of(day: Day, stored: StoredFile) -> DayFile:
    source = day.source.source if day.source else "archive"
    return DayFile(day.partition, stored.sha256, source, cut_of(day.evidence))


def _moved(day: Day, former: InForce) -> bool:
    """Return whether the rows of a file, of a day or its earlier version, had to be put in order."""
    moved_before = former.findings.get(FILE_ORDER.name, {}).get("passed") is False
    return moved_before or (day.arrangement is not None and day.arrangement.moved > 0)


def _agreement_with_rest(day: Day, rows: StoredRows) -> dict[str, Finding]:
    """Return the findings of comparing the archive's rows with the REST rows that they replace, as far as those reach."""
    dataset = datasets.get(day.series.table)
    former = pa.table([rows.column(name) for name in dataset.schema.names], schema=dataset.schema)
    if not former.num_rows:
        return {}
    times = day.parsed.column(dataset.time_column)
    reached = day.parsed.filter(pc.less_equal(times, pc.max(former.column(dataset.time_column))))
    return {
        check.name: check.run(
            check.gather(day.series, [reached]), check.gather(day.series, [former]), day.partition, day.series
        )
        for check in of_kind(day.series, Comparison)
        if check.source == "rest"
    }


def _profiles_now(connection: psycopg.Connection[Any], drafts: Sequence[_Draft]) -> Near:
    """Return the profiles of some days and of those beside them, as they are after the days are published."""
    if not drafts:
        return Near()
    series = drafts[0].day.series
    near = read_near(connection, series, [draft.day.partition for draft in drafts], weeks=0)
    for draft in drafts:
        if draft.day.profile is not None:
            near.add(replace(draft.day.profile, content_sha256=draft.stored.sha256))
    return near


def _record_profiles(connection: psycopg.Connection[Any], drafts: Sequence[_Draft], near: Near) -> None:
    """Store the profiles of new days, and check the seams of the days beside them again."""
    if not drafts:
        return
    series, partitions = drafts[0].day.series, [draft.day.partition for draft in drafts]
    found = [near.get(partition.symbol, partition.day) for partition in partitions]
    write_profiles(connection, series, [profile for profile in found if profile is not None])
    revise_beside(connection, series, near, partitions)
