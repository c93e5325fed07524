"""Checks stored days again at the end of a run, now that the days beside them are known.

Days come in any order. A day without a file is proven empty once the days around it are stored and no id is missing between
them. The first day of a symbol is checked like any other once an earlier day appears. And rows of one dataset can contradict
what was inferred from another (`contradictions.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.engine.publication.contradictions import contradicted, reopen
from crypto_assets.engine.publication.journal import Journal
from crypto_assets.engine.publication.neighbour_days import read_near
from crypto_assets.engine.publication.update_findings import Revised, Revision, revise
from crypto_assets.engine.publication.validation import validate
from crypto_assets.engine.publication.wrong_edges import Edges, WrongEdges, with_edges
from crypto_assets.errors import REFUSALS, NoRows, StoredDataError
from crypto_assets.ledger.life_edges import RefutedEdges, change_edges, cut_of, refuted_edges
from crypto_assets.ledger.outcome_rows import as_json
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.ledger.silent_days import BetweenIds, SilentBars, between_ids, silent_by_bars
from crypto_assets.model import Outcome, Partition, Series, State
from crypto_assets.rows.loads import StoredDay
from crypto_assets.rows.numbered import NUMBERED
from crypto_assets.storage.lake_paths import symbol_folder
from crypto_assets.storage.patience import outlast

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

_REFUSED = [name for name in REFUSALS if name != NoRows.__name__]
"""Errors of files with unusable rows: something was traded, whatever the ids say."""


def settle_silent_days(ledger: Ledger, series: Series, symbols: Iterable[str], run_id: str | None) -> list[Outcome]:
    """Record days of trades without a file, or with an empty one, as `no_data` if nothing traded; return them.

    Proof: no id is missing between their neighbours, or the symbol's bars of every minute are silent. Days that another
    dataset contradicts are recorded as missing, and returned too.
    """
    if series.table not in NUMBERED:
        return []
    names = sorted(set(symbols))

    def settle(connection: psycopg.Connection[Any]) -> list[Outcome]:
        found = [_silent(series, one) for one in between_ids(connection, series, names, _REFUSED)]
        known = {one.partition for one in found}
        bars = silent_by_bars(connection, series, names, _REFUSED, _ALL_SILENT)
        found += [one for day in bars if (one := _silent_bars(series, day)).partition not in known]
        wrong = {one.partition: one for one in contradicted(connection, series, found)}
        found = [wrong.get(one.partition, one) for one in found]
        ledger.record_outcomes(found, run_id, connection=connection)
        return found

    return ledger.change(settle)


def _silent(series: Series, one: BetweenIds) -> Outcome:
    reason = f"nothing traded: ids continue from {one.last_id} ({one.before}) to {one.first_id} ({one.after})"
    ids = {
        "last_id_before": one.last_id,
        "day_before": str(one.before),
        "first_id_after": one.first_id,
        "day_after": str(one.after),
    }
    return _no_data(series, one, reason, {"ids": ids})


def _silent_bars(series: Series, one: SilentBars) -> Outcome:
    reason = f"nothing traded: {one.dataset} has all bars of this day, and none of them has a trade"
    return _no_data(series, one, reason, {"silent_bars": one.dataset})


def _no_data(series: Series, one: BetweenIds | SilentBars, reason: str, proof: dict[str, Any]) -> Outcome:
    kept = {name: value for name, value in one.evidence.items() if name != "error"}  # the empty file was right
    return Outcome(series, Partition(one.symbol, one.day), State.NO_DATA, reason, {**kept, **proof})


_ALL_SILENT = b"\xff" * (MINUTES // 8)


def reopen_contradicted(
    ledger: Ledger, exchange: str, market_type: str, symbols: Iterable[str], run_id: str | None
) -> list[Outcome]:
    """Record days without data as `missing` if another dataset of the symbol contradicts them; return them."""
    names = sorted(set(symbols))

    def record(connection: psycopg.Connection[Any]) -> list[Outcome]:
        found = reopen(connection, exchange, market_type, names)
        ledger.record_outcomes(found, run_id, connection=connection)
        return found

    return ledger.change(record)


LoadAgain = Callable[[psycopg.Connection[Any], Series, StoredDay], None]
"""Loads a stored day again into the tables of the warehouse that have it, in a transaction."""


def judge_edges_again(
    lake: Lake,
    ledger: Ledger,
    series: Series,
    symbols: Iterable[str],
    wrong_edges: Sequence[WrongEdges],
    load_again: LoadAgain,
) -> dict[Partition, Revised]:
    """Check first and last days again, as whole days, if the day beside them turns out to need rows too.

    The same for the rest of a day in which another dataset traded (`wrong_edges`). Bars built for the wrong life leave the
    warehouse. Return the revised days. Files that cannot be read are left to `validate`, which reports them.
    """
    refuted = outlast(_refuted, ledger, series, sorted(set(symbols)))
    wrong: dict[tuple[str, date, str], Edges] = {
        (one.symbol, one.day, one.content_sha256): one.edges for one in wrong_edges
    }
    for one in refuted:
        place = (one.symbol, one.day, one.content_sha256)
        wrong[place] = {**wrong.get(place, {}), **dict.fromkeys(one.names)}
    judged: dict[Partition, Revised] = {}
    for (symbol, day, sha256), edges in wrong.items():
        try:
            table, _, source = lake.open(series, Partition(symbol, day), sha256)
        except StoredDataError:
            continue
        stored = StoredDay(Partition(symbol, day), table, sha256, source.source)
        outlast(_judge_again, Journal(lake, ledger), series, stored, edges, load_again, judged)
    return judged


def _judge_again(
    journal: Journal,
    series: Series,
    stored: StoredDay,
    edges: Edges,
    load_again: LoadAgain,
    judged: dict[Partition, Revised],
) -> None:
    """Check one stored day with other edges, and add the result to `judged`; safe to repeat.

    The result is added before the commit: if the answer to the commit is lost, the repetition finds a day already changed.
    """
    symbol, day, sha256 = stored.partition.symbol, stored.partition.day, stored.sha256
    with journal.alone([symbol_folder(series, symbol)]) as connection:
        moved = as_json(with_edges({}, edges))
        evidence = change_edges(connection, series, symbol, day, sha256, edges, moved)
        if evidence is not None:
            partition = _partition(symbol, day, evidence)
            near = read_near(connection, series, [partition])
            (verdict,) = validate(series, [(partition, stored.rows)], near)
            if verdict.profile is not None:
                write_profiles(connection, series, [replace(verdict.profile, content_sha256=sha256)])
            revised = revise(connection, series, [Revision(partition, sha256, verdict.findings)])
            load_again(connection, series, replace(stored, partition=partition, life=cut_of(evidence)))
            for one, found in revised.items():
                place = Partition(one.symbol, one.day)
                if found.changed or place not in judged:
                    judged[place] = found
        connection.commit()


def _refuted(ledger: Ledger, series: Series, names: Sequence[str]) -> list[RefutedEdges]:
    with ledger.transaction() as connection:
        return refuted_edges(connection, series, names, _REFUSED)


def _partition(symbol: str, day: date, evidence: Mapping[str, Any]) -> Partition:
    since, until = cut_of(evidence)
    return Partition(symbol, day, until, since)
