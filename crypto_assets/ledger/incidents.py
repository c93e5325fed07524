"""Read and write incidents: spans without data or trades, with their causes (`collection.incidents`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from crypto_assets.ledger.minutes import start_of
from crypto_assets.model import DAY
from crypto_assets.model.kinds import Kind

_CONTENT = ("end_time", "symbols", "evidence", "source", "reference")


@dataclass(frozen=True, slots=True)
class Incident:
    """One row of `collection.incidents`: [start_time, end_time), UTC.

    `symbol` and `dataset` are None for an incident of the whole market; `symbols` are then the stored symbols that show it.
    `source` is `known` (it ships with crypto_assets; `reference` is its source) or `found` in stored data.
    """

    exchange: str
    market_type: str
    symbol: str | None
    dataset: str | None
    kind: Kind
    start_time: datetime
    end_time: datetime
    symbols: Sequence[str] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: str = "found"
    reference: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))
        object.__setattr__(self, "symbols", tuple(self.symbols))

    @property
    def key(self) -> tuple[Any, ...]:
        return self.symbol, self.dataset, self.kind, self.start_time


def lock_incidents(connection: psycopg.Connection[Any], exchange: str, market_type: str) -> None:
    """Keep other processes from replacing the incidents of a market until the end of the transaction."""
    name = f"incidents {exchange} {market_type}"
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))


def read_incidents(
    connection: psycopg.Connection[Any],
    *,
    exchange: str | None = None,
    market_type: str | None = None,
    symbols: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    kinds: Sequence[Kind] | None = None,
    first: date | None = None,
    last: date | None = None,
    limit: int | None = None,
) -> list[Incident]:
    """Return the incidents that match all given values, by market and time.

    Args:
        symbols: their own incidents, and those of their whole market.
        datasets: the same for datasets.
        first, last: the incidents that overlap these days, both included.
    """
    given: dict[str, Any] = {
        "exchange = %s": exchange,
        "market_type = %s": market_type,
        "(symbol IS NULL OR symbol = ANY(%s))": None if symbols is None else list(symbols),
        "(dataset IS NULL OR dataset = ANY(%s))": None if datasets is None else list(datasets),
        "kind = ANY(%s)": None if kinds is None else [kind.value for kind in kinds],
        "end_time > %s": None if first is None else start_of(first),
        "start_time < %s": None if last is None else start_of(last + DAY),
    }
    given = {condition: value for condition, value in given.items() if value is not None}
    query = f"""SELECT {", ".join(Incident.__dataclass_fields__)} FROM collection.incidents
        WHERE {" AND ".join(given) or "true"}
        ORDER BY exchange, market_type, start_time, kind, symbol NULLS FIRST, dataset LIMIT %s"""
    with connection.cursor(row_factory=class_row(Incident)) as cursor:
        return cursor.execute(query, [*given.values(), limit]).fetchall()


def replace_incidents(
    connection: psycopg.Connection[Any], former: Sequence[Incident], wanted: Sequence[Incident]
) -> None:
    """Replace the former rows by the wanted ones: add, change and remove what differs."""
    known = {one.key: one for one in former}
    changed = [one for one in wanted if known.pop(one.key, None) != _plain(one)]
    for one in known.values():
        connection.execute(
            """DELETE FROM collection.incidents WHERE exchange = %s AND market_type = %s AND kind = %s AND start_time = %s
            AND symbol IS NOT DISTINCT FROM %s AND dataset IS NOT DISTINCT FROM %s""",
            (one.exchange, one.market_type, one.kind.value, one.start_time, one.symbol, one.dataset),
        )
    names = tuple(Incident.__dataclass_fields__)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"""INSERT INTO collection.incidents ({", ".join(names)}) VALUES ({", ".join(["%s"] * len(names))})
            ON CONFLICT (exchange, market_type, symbol, dataset, kind, start_time)
            DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CONTENT)}, updated_at = now()""",
            [_row(one) for one in changed],
        )


def _plain(one: Incident) -> Incident:
    """Return an incident in the form that the table returns."""
    return replace(one, evidence=json.loads(json.dumps(one.evidence)))


def _row(one: Incident) -> list[Any]:
    values = {name: getattr(one, name) for name in Incident.__dataclass_fields__}
    return list(
        (values | {"kind": one.kind.value, "symbols": list(one.symbols), "evidence": Jsonb(one.evidence)}).values()
    )
