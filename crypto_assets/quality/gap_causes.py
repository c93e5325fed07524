"""Give gaps their causes, from the ledger and the profiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from crypto_assets.causes.incidents import load_market
from crypto_assets.causes.known_outages import known_outages
from crypto_assets.causes.rules import Cause, Market, MinuteSpan, cause_of_day
from crypto_assets.ledger.acknowledgements import Acknowledgement
from crypto_assets.ledger.coverage_tables import names, record_names
from crypto_assets.ledger.gaps import Gap
from crypto_assets.ledger.minutes import start_of
from crypto_assets.ledger.symbol_rules import Unchosen
from crypto_assets.model import DAY, STORED_STATES
from crypto_assets.model.kinds import Kind
from crypto_assets.storage.database import Database


@dataclass(frozen=True, slots=True)
class Explained:
    """An incomplete day with its cause and, if it is stored, its missing minutes."""

    gap: Gap
    cause: Cause
    spans: Sequence[MinuteSpan] = ()


def explain(database: Database, gaps: Sequence[Gap]) -> list[Explained]:
    """Return the causes of some gaps, in their order; reads the profiles of the markets and days that are stored."""
    with database.transaction() as connection:
        return explain_with(connection, gaps)


def explain_with(connection: psycopg.Connection[Any], gaps: Sequence[Gap]) -> list[Explained]:
    """Do the same as `explain`, on an existing connection."""
    stored: dict[tuple[str, str], set[date]] = defaultdict(set)
    for gap in gaps:
        if gap.state in STORED_STATES:
            stored[gap.series.exchange, gap.series.market_type].add(gap.day)
    markets: dict[tuple[str, str], Market] = {}
    for (exchange, market_type), days in stored.items():
        markets[exchange, market_type], _, _ = load_market(connection, exchange, market_type, days)
    return [_explained(gap, markets.get((gap.series.exchange, gap.series.market_type))) for gap in gaps]


def _explained(gap: Gap, market: Market | None) -> Explained:
    if gap.lost:
        return Explained(gap, Cause(Kind.OUR_FAILURE, {"why": gap.reason}))
    spans: list[MinuteSpan] = []
    if market is not None and gap.state in STORED_STATES:
        spans = [span for span in market.spans(gap.symbol, gap.series.dataset, gap.day) if span.misses_rows]
    known = known_outages(gap.series.exchange, gap.series.market_type, start_of(gap.day), start_of(gap.day + DAY))
    return Explained(gap, cause_of_day(gap.day, gap.state, gap.evidence, spans, known, gap.findings), spans)


def acknowledgement_json(one: Acknowledgement) -> dict[str, Any]:
    """Return an acknowledgement as the command line and the API show it; `withdrawn` is null while it is valid."""
    return {
        **record_names(one),
        "day": str(one.day),
        "state": one.state,
        "cause": one.cause,
        "reason": one.reason,
        "by": one.by,
        "at": one.at.isoformat(),
        "withdrawn": one.withdrawn,
    }


def unchosen_json(one: Unchosen) -> dict[str, Any]:
    """Return the gap for a dataset whose entry has no symbol yet: symbol and day are null."""
    return {
        "exchange": one.exchange,
        "market_type": one.market_type,
        "symbol": None,
        "dataset": one.dataset,
        "day": None,
        "state": None,
        "reason": one.reason,
        "cause": Kind.NOT_COLLECTED.value,
        "cause_evidence": {"entry": one.entry, "rule": one.rule},
        "acknowledged": None,
        "minutes": [],
    }


def as_json(one: Explained) -> dict[str, Any]:
    """Return a gap as the command line and the API show it."""
    gap = one.gap
    return {
        **names(gap.series, gap.symbol),
        "day": str(gap.day),
        "state": gap.state,
        "reason": gap.reason,
        "cause": one.cause.kind.value,
        "cause_evidence": one.cause.evidence,
        "acknowledged": acknowledgement_json(gap.acknowledged) if gap.acknowledged else None,
        "minutes": [
            {
                "start": span.start.isoformat(),
                "end": span.end.isoformat(),
                "missing": span.missing,
                "cause": span.cause.kind.value,
                "cause_evidence": span.cause.evidence,
            }
            for span in one.spans
        ],
    }
