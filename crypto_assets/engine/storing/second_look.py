"""What stored days say of the days beside them: nothing traded in between, or a first day is the first no more.

Days come in any order. A day without a file is proven to be empty once the days around it are stored and their ids run on;
the first day of a symbol is judged like any other once an earlier one turns up; and rows of one dataset contradict what was
inferred from another (`contradictions.py`). So a run looks again at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_assets.checks._minutes import MINUTES
from crypto_assets.engine.archive.lifetime import NUMBERED
from crypto_assets.engine.storing.contradictions import contradicted, reopen
from crypto_assets.engine.storing.journal import Journal
from crypto_assets.engine.storing.neighbour_days import read_near
from crypto_assets.engine.storing.update_findings import Revised, Revision, revise
from crypto_assets.engine.storing.validation import validate
from crypto_assets.engine.storing.wrong_edges import HAS_AN_EDGE, Edges, WrongEdges, with_edges
from crypto_assets.errors import REFUSALS, NoRows, StoredDataError
from crypto_assets.ledger.life_edges import LISTED_FROM, LISTED_UNTIL, cut_of
from crypto_assets.ledger.outcome_rows import as_json
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.model import Outcome, Partition, Series, State
from crypto_assets.rows.loads import StoredDay
from crypto_assets.storage.lake import symbol_folder

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

_SILENT = """
WITH open AS MATERIALIZED (
    SELECT exchange, market_type, symbol, dataset, day, evidence FROM collection.partitions
    WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND symbol = ANY(%s) AND state = ANY(%s)
        AND path IS NULL AND NOT coalesce(evidence ->> 'error' = ANY(%s), false) AND NOT evidence ? 'contradicted_by'
)
SELECT p.symbol, p.day, p.evidence, b.day, b.last_id, n.day, n.first_id FROM open p
CROSS JOIN LATERAL (SELECT f.day, f.last_id, f.last_trade_id FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (p.exchange, p.market_type, p.symbol, p.dataset)
        AND f.day < p.day AND f.first_id IS NOT NULL ORDER BY f.day DESC LIMIT 1) b
CROSS JOIN LATERAL (SELECT f.day, f.first_id, f.first_trade_id FROM collection.profiles f
    WHERE (f.exchange, f.market_type, f.symbol, f.dataset) = (p.exchange, p.market_type, p.symbol, p.dataset)
        AND f.day > p.day AND f.first_id IS NOT NULL ORDER BY f.day LIMIT 1) n
WHERE n.first_id = b.last_id + 1 AND (n.first_trade_id = b.last_trade_id + 1) IS NOT FALSE
ORDER BY p.symbol, p.day
"""
"""Aggregates prove it only where the trades that they name run on too: an exchange that lost trades may number what is left
one after the other. Rows whose trades were removed name none, and their ids alone decide."""

_SILENT_BARS = """
SELECT p.symbol, p.day, p.evidence, min(f.dataset) FROM collection.partitions p
JOIN collection.profiles f ON (f.exchange, f.market_type, f.symbol, f.day) = (p.exchange, p.market_type, p.symbol, p.day)
    AND f.dataset LIKE 'ohlcv\\_%%' AND f.silent = %s
WHERE (p.exchange, p.market_type, p.dataset) = (%s, %s, %s) AND p.symbol = ANY(%s) AND p.state = 'missing'
    AND p.path IS NULL AND NOT coalesce(p.evidence ->> 'error' = ANY(%s), false) AND NOT p.evidence ? 'contradicted_by'
GROUP BY p.symbol, p.day, p.evidence ORDER BY p.symbol, p.day
"""
"""Bars of every minute of the day, in none of which anything traded: the exchange was there, and the symbol was quiet."""

_REFUSED = [name for name in REFUSALS if name != NoRows.__name__]
"""Files with rows that could not be used: something was traded, whatever the ids say."""

# An exchange that says that a symbol has ended says it of the days beside too, which may not have been asked for since.
_AT_AN_EDGE = f"""
SELECT p.symbol, p.day, p.content_sha256, array_agg(e.name) FROM collection.partitions p
CROSS JOIN (VALUES (%s, -1), (%s, 1)) AS e (name, step)
JOIN collection.partitions beside ON (beside.exchange, beside.market_type, beside.symbol, beside.dataset, beside.day)
    = (p.exchange, p.market_type, p.symbol, p.dataset, p.day + e.step)
WHERE (p.exchange, p.market_type, p.dataset) = (%s, %s, %s) AND p.symbol = ANY(%s) AND p.path IS NOT NULL
    AND p.{HAS_AN_EDGE} AND p.evidence ? e.name AND beside.state NOT IN ('no_data', 'pending')
    AND NOT (beside.state = 'missing' AND beside.path IS NULL AND p.evidence -> e.name ? 'exchange_asked'
        AND NOT beside.evidence ?| ARRAY['appeared', 'object', 'contradicted_by']
        AND NOT coalesce(beside.evidence ->> 'error' = ANY(%s), false)
        AND coalesce(beside.evidence ->> 'exchange_asked', '') < p.evidence -> e.name ->> 'exchange_asked')
GROUP BY 1, 2, 3 ORDER BY 1, 2
"""


def settle_silent_days(ledger: Ledger, series: Series, symbols: Iterable[str], run_id: str | None) -> list[Outcome]:
    """Record days of trades as `no_data` that have no file, or an empty one, where nothing traded; return them.

    The ids of their neighbours run on, or the symbol's bars of every minute are silent. Those that another dataset
    contradicts are recorded as missing, and said to be.
    """
    if series.table not in NUMBERED:
        return []
    keys, names = (series.exchange, series.market_type, series.dataset), sorted(set(symbols))
    with ledger.transaction() as connection:
        states = [State.MISSING.value, State.PENDING.value]
        rows = connection.execute(_SILENT, (*keys, names, states, _REFUSED)).fetchall()
        found = [_silent(series, *row) for row in rows]
        known = {one.partition for one in found}
        bars = connection.execute(_SILENT_BARS, (_ALL_SILENT, *keys, names, _REFUSED)).fetchall()
        found += [one for row in bars if (one := _silent_by_bars(series, *row)).partition not in known]
        wrong = {one.partition: one for one in contradicted(connection, series, found)}
        found = [wrong.get(one.partition, one) for one in found]
        ledger.record_outcomes(found, run_id, connection=connection)
    return found


def _silent(
    series: Series,
    symbol: str,
    day: date,
    evidence: dict[str, Any],
    before: date,
    last_id: int,
    after: date,
    first_id: int,
) -> Outcome:
    reason = f"nothing traded: ids run on from {last_id} ({before}) to {first_id} ({after})"
    ids = {"last_id_before": last_id, "day_before": str(before), "first_id_after": first_id, "day_after": str(after)}
    kept = {name: value for name, value in evidence.items() if name != "error"}  # the file of no rows was right
    return Outcome(series, Partition(symbol, day), State.NO_DATA, reason, {**kept, "ids": ids})


def _silent_by_bars(series: Series, symbol: str, day: date, evidence: dict[str, Any], dataset: str) -> Outcome:
    reason = f"nothing traded: {dataset} has all bars of this day, and none of them has a trade"
    kept = {name: value for name, value in evidence.items() if name != "error"}
    return Outcome(series, Partition(symbol, day), State.NO_DATA, reason, {**kept, "silent_bars": dataset})


_ALL_SILENT = b"\xff" * (MINUTES // 8)


def reopen_contradicted(
    ledger: Ledger, exchange: str, market_type: str, symbols: Iterable[str], run_id: str | None
) -> list[Outcome]:
    """Record days without data as `missing` of which another dataset of the symbol knows better; return them."""
    with ledger.transaction() as connection:
        found = reopen(connection, exchange, market_type, symbols)
        ledger.record_outcomes(found, run_id, connection=connection)
    return found


LoadAgain = Callable[[psycopg.Connection[Any], Series, StoredDay], None]
"""Loads a stored day anew into the tables of the warehouse that hold it, in a transaction."""


def judge_edges_again(
    lake: Lake,
    ledger: Ledger,
    series: Series,
    symbols: Iterable[str],
    wrong_edges: Sequence[WrongEdges],
    load_again: LoadAgain,
) -> dict[Partition, Revised]:
    """Judge first and last days whole that are the first or the last no more: a day beside them should have rows too.

    So should the rest of a day in which another dataset traded (`wrong_edges`). Bars that were built for the life that no
    longer holds go out of the warehouse. Return what has become of the days that were judged. What cannot be read is left for
    `validate`, which says so.
    """
    names = sorted(set(symbols))
    with ledger.transaction() as connection:
        rows = _at_an_edge(connection, series, names)
    wrong: dict[tuple[str, date, str], Edges] = {
        (one.symbol, one.day, one.content_sha256): one.edges for one in wrong_edges
    }
    for symbol, day, sha256, gone in rows:
        wrong[symbol, day, sha256] = {**wrong.get((symbol, day, sha256), {}), **dict.fromkeys(gone)}
    judged: dict[Partition, Revised] = {}
    for (symbol, day, sha256), edges in wrong.items():
        try:
            table, _, source = lake.open(series, Partition(symbol, day), sha256)
        except StoredDataError:
            continue
        with Journal(lake, ledger).alone([symbol_folder(series, symbol)]) as connection:
            evidence = connection.execute(
                """UPDATE collection.partitions SET evidence = evidence - %s::text[] || %s::jsonb
                WHERE (exchange, market_type, dataset, symbol, day) = (%s, %s, %s, %s, %s) AND content_sha256 = %s
                RETURNING evidence""",
                (
                    sorted(edges),
                    as_json(with_edges({}, edges)),
                    series.exchange,
                    series.market_type,
                    series.dataset,
                    symbol,
                    day,
                    sha256,
                ),
            ).fetchone()
            if evidence is not None:
                partition = _partition(symbol, day, evidence[0])
                near = read_near(connection, series, [partition])
                (verdict,) = validate(series, [(partition, table)], near)
                if verdict.profile is not None:
                    write_profiles(connection, series, [replace(verdict.profile, content_sha256=sha256)])
                revised = revise(connection, series, [Revision(partition, sha256, verdict.findings)])
                load_again(connection, series, StoredDay(partition, table, sha256, source.source, cut_of(evidence[0])))
                judged |= {Partition(one.symbol, one.day): found for one, found in revised.items()}
            connection.commit()
    return judged


def _at_an_edge(connection: psycopg.Connection[Any], series: Series, names: Sequence[str]) -> list[Any]:
    keys = (series.exchange, series.market_type, series.dataset)
    return connection.execute(_AT_AN_EDGE, (LISTED_FROM, LISTED_UNTIL, *keys, list(names), _REFUSED)).fetchall()


def _partition(symbol: str, day: date, evidence: dict[str, Any]) -> Partition:
    since, until = cut_of(evidence)
    return Partition(symbol, day, until, since)
