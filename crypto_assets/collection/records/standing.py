"""How complete a symbol of a series is over all its days, by the ledger; what the health of an asset is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from crypto_assets.collection.records.database import Database
from crypto_assets.model import COMPLETE_STATES, Series, State


@dataclass(frozen=True, slots=True)
class Span:
    """All days of one symbol of a series from `first` to `last`, both included."""

    series: Series
    symbol: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the days of a span.

    `days` counts those that have ended and were ever asked for. `open` has those of them that are not complete, by state;
    `failed` those on which a check failed, by its name, today too; neither has `acknowledged` ones, which a person has
    accepted as they are. Days in order.
    """

    days: int = 0
    acknowledged: Sequence[date] = ()
    open: Mapping[State, Sequence[date]] = field(default_factory=dict)
    failed: Mapping[str, Sequence[date]] = field(default_factory=dict)


_QUERY = """
SELECT s.n, count(*) FILTER (WHERE p.day < %(today)s),
    coalesce(jsonb_agg(jsonb_build_array(p.day, p.state, p.failed_checks, a.day IS NOT NULL) ORDER BY p.day)
        FILTER (WHERE p.state <> ALL(%(complete)s) OR p.failed_checks <> '{}'), '[]')
FROM unnest(%(exchanges)s::text[], %(market_types)s::text[], %(datasets)s::text[], %(symbols)s::text[],
        %(firsts)s::date[], %(lasts)s::date[]) WITH ORDINALITY
    AS s (exchange, market_type, dataset, symbol, first, last, n)
JOIN collection.partitions p USING (exchange, market_type, dataset, symbol)
LEFT JOIN (SELECT * FROM collection.acknowledgements_now WHERE withdrawn IS NULL) a
    USING (exchange, market_type, dataset, symbol, day)
WHERE p.day BETWEEN s.first AND s.last
GROUP BY s.n
"""


def standings(database: Database, spans: Sequence[Span], today: date) -> dict[Span, Standing]:
    """Return how each span stands; one query for all.

    Args:
        today: the UTC day that has not ended; it is never incomplete.
    """
    if not spans:
        return {}
    values = {
        "complete": sorted(COMPLETE_STATES),
        "today": today,
        "exchanges": [span.series.exchange for span in spans],
        "market_types": [span.series.market_type for span in spans],
        "datasets": [span.series.dataset for span in spans],
        "symbols": [span.symbol for span in spans],
        "firsts": [span.first for span in spans],
        "lasts": [span.last for span in spans],
    }
    with database.transaction() as connection:
        rows = connection.execute(_QUERY, values).fetchall()
    found = {spans[number - 1]: _standing(days, marked, today) for number, days, marked in rows}
    return {span: found.get(span, Standing()) for span in spans}


def _standing(days: int, marked: Sequence[tuple[str, str, Sequence[str], bool]], today: date) -> Standing:
    acknowledged = [date.fromisoformat(text) for text, *_, accepted in marked if accepted]
    open_: dict[State, list[date]] = {}
    failed: dict[str, list[date]] = {}
    for text, state, checks, accepted in marked:
        if accepted:
            continue
        day = date.fromisoformat(text)
        if day < today and State(state) not in COMPLETE_STATES:
            open_.setdefault(State(state), []).append(day)
        for check in checks:
            failed.setdefault(check, []).append(day)
    return Standing(days, acknowledged, open_, failed)
