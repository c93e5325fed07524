"""Read and write days that are `no_data` by inference or by an exchange's answer; these are looked at again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.ledger.outcome_rows import as_json
from crypto_assets.model import Series


@dataclass(frozen=True, slots=True)
class Inferred:
    """One day that is `no_data` by inference or by an exchange's answer."""

    symbol: str
    day: date
    reason: str
    evidence: Mapping[str, Any]
    source_key: str | None
    source_etag: str | None
    updated_at: datetime

    @property
    def looked_at(self) -> str:
        """When it was last looked at, ISO 8601; empty if unknown."""
        return str(self.evidence.get("looked_at", ""))

    @property
    def tried_at(self) -> str:
        """When somebody last looked at it or tried to, ISO 8601; decides who is next."""
        return max(self.looked_at, str(self.evidence.get("tried_at", "")))

    @property
    def is_settled_since(self) -> str:
        """Since when another look is useless; a look that failed does not count."""
        return self.looked_at if "look_problem" in self.evidence else self.tried_at


def inferred_days(
    connection: psycopg.Connection[Any], series: Series, symbols: Sequence[str], first: date, last: date
) -> list[Inferred]:
    """Return the inferred days of some symbols from first to last, both included, by symbol and day."""
    names = ", ".join(Inferred.__dataclass_fields__)
    with connection.cursor(row_factory=class_row(Inferred)) as cursor:
        return cursor.execute(
            f"""SELECT {names} FROM collection.partitions
            WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND symbol = ANY(%s) AND day BETWEEN %s AND %s
                AND state = 'no_data' AND evidence ?| ARRAY['inferred', 'exchange_asked']
            ORDER BY symbol, day""",
            (series.exchange, series.market_type, series.dataset, list(symbols), first, last),
        ).fetchall()


def lock_days(
    connection: psycopg.Connection[Any], series: Series, symbol: str, days: Collection[date]
) -> dict[date, datetime]:
    """Lock some days of a symbol, in order, and return when each was last updated."""
    rows = connection.execute(
        """SELECT day, updated_at FROM collection.partitions
        WHERE (exchange, market_type, dataset, symbol) = (%s, %s, %s, %s) AND day = ANY(%s)
        ORDER BY day FOR UPDATE""",
        (series.exchange, series.market_type, series.dataset, symbol, list(days)),
    ).fetchall()
    return dict(rows)


def write_looks(
    connection: psycopg.Connection[Any],
    series: Series,
    symbol: str,
    looks: Sequence[tuple[date, str, Mapping[str, Any]]],
) -> None:
    """Write the reason and the evidence of days of a symbol after a look at them."""
    if not looks:
        return
    days, reasons, evidence = zip(*((day, reason, as_json(found)) for day, reason, found in looks), strict=True)
    connection.execute(
        """UPDATE collection.partitions p SET reason = o.reason, evidence = o.evidence
        FROM unnest(%s::date[], %s::text[], %s::jsonb[]) AS o (day, reason, evidence)
        WHERE (p.exchange, p.market_type, p.dataset, p.symbol, p.day) = (%s, %s, %s, %s, o.day)""",
        (
            *(list(days), list(reasons), list(evidence)),
            *(series.exchange, series.market_type, series.dataset, symbol),
        ),
    )
