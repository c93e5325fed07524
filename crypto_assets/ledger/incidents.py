"""Read and write incidents: spans without data or trades, with their causes (`collection.incidents`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from crypto_assets.ledger.minutes import start_of
from crypto_assets.ledger.series_names import one_or_more
from crypto_assets.model import DAY
from crypto_assets.model.described import means
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
    symbol: str | None = field(metadata=means("null: every symbol of the market."))
    dataset: str | None
    kind: Kind
    start_time: datetime
    end_time: datetime
    symbols: Sequence[str] = field(default=(), metadata=means("The stored symbols with this gap."))
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(
        default="found", metadata=means("`known`: shipped with crypto_assets; `found`: seen in stored data.")
    )
    reference: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))
        object.__setattr__(self, "symbols", tuple(self.symbols))

    @property
    def key(self) -> tuple[Any, ...]:
        return self.symbol, self.dataset, self.kind, self.start_time


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRecord(Incident):
    """A row of `collection.incidents`: a span [start_time, end_time) without data, and why."""

    incident_id: int
    found_at: datetime
    updated_at: datetime


I = TypeVar("I", bound=Incident)  # noqa: E741  one letter, as every type variable


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
    wanted = {"exchange": exchange, "market_type": market_type, "symbols": symbols, "datasets": datasets}
    return _find(connection, Incident, _conditions(**wanted, kinds=kinds, first=first, last=last), limit)


def incident_records(
    connection: psycopg.Connection[Any], *, limit: int | None = None, offset: int = 0, **wanted: Any
) -> list[IncidentRecord]:
    """Return whole rows of the incidents that match all given values, as `read_incidents` does."""
    return _find(connection, IncidentRecord, _conditions(**wanted), limit, offset)


def _conditions(
    *,
    exchange: str | Sequence[str] | None,
    market_type: str | Sequence[str] | None,
    symbols: Sequence[str] | None,
    datasets: Sequence[str] | None,
    kinds: Sequence[Kind] | None,
    first: date | None,
    last: date | None,
) -> dict[str, Any]:
    """Return the given conditions as SQL with their values."""
    given: dict[str, Any] = {
        "exchange = ANY(%s)": one_or_more(exchange),
        "market_type = ANY(%s)": one_or_more(market_type),
        "(symbol IS NULL OR symbol = ANY(%s))": one_or_more(symbols),
        "(dataset IS NULL OR dataset = ANY(%s))": one_or_more(datasets),
        "kind = ANY(%s)": None if kinds is None else [kind.value for kind in kinds],
        "end_time > %s": None if first is None else start_of(first),
        "start_time < %s": None if last is None else start_of(last + DAY),
    }
    return {condition: value for condition, value in given.items() if value is not None}


def _find(
    connection: psycopg.Connection[Any], record: type[I], given: Mapping[str, Any], limit: int | None, offset: int = 0
) -> list[I]:
    names = ", ".join(one.name for one in fields(record))
    query = f"""SELECT {names} FROM collection.incidents WHERE {" AND ".join(given) or "true"}
        ORDER BY exchange, market_type, start_time, kind, symbol NULLS FIRST, dataset LIMIT %s OFFSET %s"""
    with connection.cursor(row_factory=class_row(record)) as cursor:
        return cursor.execute(query, [*given.values(), limit, offset]).fetchall()


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
