"""Store the causes of incomplete days (`collection.day_causes`), for readers that have SQL only.

A cause is stored with the record that it was derived from. When the record changes, `collection.incomplete_days` has no
cause until the day is judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_assets.ledger.gaps import Gap
from crypto_assets.model import COMPLETE_STATES, Series, State


@dataclass(frozen=True, slots=True)
class IncompleteDay:
    """An incomplete day with its record; `record` is the digest of what a cause is derived from."""

    exchange: str
    market_type: str
    symbol: str
    dataset: str
    day: date
    state: str
    reason: str
    evidence: dict[str, Any]
    findings: dict[str, Any]
    record: str

    @property
    def gap(self) -> Gap:
        series = Series.named(self.exchange, self.market_type, self.dataset)
        return Gap(None, series, self.symbol, self.day, State(self.state), self.reason, self.evidence, self.findings)


_KEYS = ("exchange", "market_type", "symbol", "dataset", "day")

_STORE = f"""
INSERT INTO collection.day_causes AS c ({", ".join(_KEYS)}, cause, record)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::date[], %s::text[], %s::text[])
ON CONFLICT ({", ".join(_KEYS)}) DO UPDATE SET cause = excluded.cause, record = excluded.record, judged_at = DEFAULT
WHERE (c.cause, c.record) IS DISTINCT FROM (excluded.cause, excluded.record)
"""


def days_to_judge(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, first: date, last: date
) -> list[IncompleteDay]:
    """Return the incomplete days of a market from first to last, both included, and all others without a cause; by day."""
    names = ", ".join(IncompleteDay.__dataclass_fields__)
    with connection.cursor(row_factory=class_row(IncompleteDay)) as cursor:
        return cursor.execute(
            f"""SELECT {names} FROM collection.incomplete_days WHERE (exchange, market_type) = (%s, %s)
            AND (day BETWEEN %s AND %s OR cause IS NULL) ORDER BY day, dataset, symbol""",
            (exchange, market_type, first, last),
        ).fetchall()


def store_causes(connection: psycopg.Connection[Any], judged: Sequence[tuple[IncompleteDay, str]]) -> None:
    """Store the causes of some days; what is stored already is not written again."""
    columns = [[getattr(day, name) for day, _ in judged] for name in _KEYS]
    causes, records = [cause for _, cause in judged], [day.record for day, _ in judged]
    connection.execute(_STORE, (*columns, causes, records))


def forget_complete(connection: psycopg.Connection[Any], exchange: str, market_type: str) -> None:
    """Remove the causes of days of a market that are complete now."""
    # One probe of the primary key for each cause: days with a cause are few, days without are not.
    connection.execute(
        f"""DELETE FROM collection.day_causes c WHERE (exchange, market_type) = (%s, %s) AND (
            SELECT state FROM collection.partitions p
            WHERE ({", ".join(f"p.{name}" for name in _KEYS)}) = ({", ".join(f"c.{name}" for name in _KEYS)})
        ) = ANY(%s)""",
        (exchange, market_type, [state.value for state in COMPLETE_STATES]),
    )
