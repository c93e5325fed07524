"""Find days of trades without a file on which nothing traded, proven by neighbouring ids or by the bars of the day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from crypto_assets.model import Series, State


@dataclass(frozen=True, slots=True)
class BetweenIds:
    """A day without a file between days with continuous ids: from `last_id` of one day to `first_id` of another."""

    symbol: str
    day: date
    evidence: Mapping[str, Any]
    before: date
    last_id: int
    after: date
    first_id: int


@dataclass(frozen=True, slots=True)
class SilentBars:
    """A day without a file for which `dataset` has all bars, none of them with a trade."""

    symbol: str
    day: date
    evidence: Mapping[str, Any]
    dataset: str


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
"""Aggregates prove it only if their trade ids are continuous too: an exchange that lost trades may number the remaining
aggregates consecutively. Rows whose trades were removed have no trade ids; then their own ids decide."""

_SILENT_BARS = """
SELECT p.symbol, p.day, p.evidence, min(f.dataset) FROM collection.partitions p
JOIN collection.profiles f ON (f.exchange, f.market_type, f.symbol, f.day) = (p.exchange, p.market_type, p.symbol, p.day)
    AND f.dataset LIKE 'ohlcv\\_%%' AND f.silent = %s
WHERE (p.exchange, p.market_type, p.dataset) = (%s, %s, %s) AND p.symbol = ANY(%s) AND p.state = 'missing'
    AND p.path IS NULL AND NOT coalesce(p.evidence ->> 'error' = ANY(%s), false) AND NOT p.evidence ? 'contradicted_by'
GROUP BY p.symbol, p.day, p.evidence ORDER BY p.symbol, p.day
"""
"""Bars of every minute of the day without a trade: the exchange was up, and the symbol did not trade."""


def between_ids(
    connection: psycopg.Connection[Any], series: Series, symbols: Iterable[str], refused: Iterable[str]
) -> list[BetweenIds]:
    """Return the incomplete days of some symbols that ids prove to be empty, by symbol and day.

    Args:
        refused: names of the errors of refused files: such a file shows that something traded, whatever the ids say.
    """
    keys = (series.exchange, series.market_type, series.dataset)
    states = [State.MISSING.value, State.PENDING.value]
    rows = connection.execute(_SILENT, (*keys, list(symbols), states, list(refused))).fetchall()
    return [BetweenIds(*row) for row in rows]


def silent_by_bars(
    connection: psycopg.Connection[Any],
    series: Series,
    symbols: Iterable[str],
    refused: Iterable[str],
    all_silent: bytes,
) -> list[SilentBars]:
    """Return the missing days of some symbols whose bars are all silent, by symbol and day.

    Args:
        refused: names of the errors of refused files.
        all_silent: the minutes of a profile without any trade.
    """
    keys = (series.exchange, series.market_type, series.dataset)
    rows = connection.execute(_SILENT_BARS, (all_silent, *keys, list(symbols), list(refused))).fetchall()
    return [SilentBars(*row) for row in rows]
