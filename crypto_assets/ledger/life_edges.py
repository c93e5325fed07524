"""Read and change the edges of a symbol's life (first and last instant) in the evidence of stored days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.model import Series

LISTED_FROM, LISTED_UNTIL = "listed_from", "listed_until"
"""Keys in the evidence of a stored day: the instant since or until which its symbol was listed on it, with the source."""


def cut_of(evidence: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return the instants since and until which rows are expected of a stored day, from its evidence."""
    times = (evidence.get(name, {}).get("time") for name in (LISTED_FROM, LISTED_UNTIL))
    since, until = (datetime.fromisoformat(time) if time else None for time in times)
    return since, until


@dataclass(frozen=True, slots=True)
class EdgedDay:
    """A stored day in which a symbol's life begins or ends, with the sha256 of its file."""

    dataset: str
    symbol: str
    day: date
    content_sha256: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RefutedEdges:
    """The edges of a stored day that a neighbouring day disproves, by name, with the sha256 of the day's file."""

    symbol: str
    day: date
    content_sha256: str
    names: tuple[str, ...]


_HAS_AN_EDGE = f"evidence ?| ARRAY['{LISTED_FROM}', '{LISTED_UNTIL}']"
"""Must equal the condition of the index `partitions_edges`."""

# If an exchange says that a symbol has ended, this holds for the neighbouring days too, even if not requested since.
_AT_AN_EDGE = f"""
SELECT p.symbol, p.day, p.content_sha256, array_agg(e.name) FROM collection.partitions p
CROSS JOIN (VALUES (%s, -1), (%s, 1)) AS e (name, step)
JOIN collection.partitions beside ON (beside.exchange, beside.market_type, beside.symbol, beside.dataset, beside.day)
    = (p.exchange, p.market_type, p.symbol, p.dataset, p.day + e.step)
WHERE (p.exchange, p.market_type, p.dataset) = (%s, %s, %s) AND p.symbol = ANY(%s) AND p.path IS NOT NULL
    AND p.{_HAS_AN_EDGE} AND p.evidence ? e.name AND beside.state NOT IN ('no_data', 'pending')
    AND NOT (beside.state = 'missing' AND beside.path IS NULL AND p.evidence -> e.name ? 'exchange_asked'
        AND NOT beside.evidence ?| ARRAY['appeared', 'object', 'contradicted_by']
        AND NOT coalesce(beside.evidence ->> 'error' = ANY(%s), false)
        AND coalesce(beside.evidence ->> 'exchange_asked', '') < p.evidence -> e.name ->> 'exchange_asked')
GROUP BY 1, 2, 3 ORDER BY 1, 2
"""


def edged_days(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, symbols: Iterable[str]
) -> list[EdgedDay]:
    """Return the stored days of some symbols of a market that have an edge, by dataset, symbol and day."""
    rows = connection.execute(
        f"""SELECT dataset, symbol, day, content_sha256, evidence FROM collection.partitions
        WHERE (exchange, market_type) = (%s, %s) AND symbol = ANY(%s) AND path IS NOT NULL AND {_HAS_AN_EDGE}
        ORDER BY dataset, symbol, day""",
        (exchange, market_type, sorted(set(symbols))),
    ).fetchall()
    return [EdgedDay(*row) for row in rows]


def refuted_edges(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str], refused: Iterable[str]
) -> list[RefutedEdges]:
    """Return the edges of stored days of some symbols whose neighbouring day should have rows too, by symbol and day.

    Args:
        refused: names of the errors of refused files: such a file shows that something traded.
    """
    keys = (series.exchange, series.market_type, series.dataset)
    values = (LISTED_FROM, LISTED_UNTIL, *keys, list(symbols), list(refused))
    rows = connection.execute(_AT_AN_EDGE, values).fetchall()
    return [RefutedEdges(symbol, day, sha256, tuple(names)) for symbol, day, sha256, names in rows]


def change_edges(
    connection: psycopg.Connection[Any],
    series: Series,
    symbol: str,
    day: date,
    content_sha256: str,
    gone: Iterable[str],
    moved: str,
) -> Mapping[str, Any] | None:
    """Replace edges in the evidence of a day; return the evidence, None if the day has another file now.

    Args:
        moved: a JSON object with the new edges, by name.
    """
    row = connection.execute(
        """UPDATE collection.partitions SET evidence = evidence - %s::text[] || %s::jsonb
        WHERE (exchange, market_type, dataset, symbol, day) = (%s, %s, %s, %s, %s) AND content_sha256 = %s
        RETURNING evidence""",
        (
            *(sorted(gone), moved, series.exchange, series.market_type, series.dataset),
            *(symbol, day, content_sha256),
        ),
    ).fetchone()
    evidence: Mapping[str, Any] | None = row[0] if row else None
    return evidence
