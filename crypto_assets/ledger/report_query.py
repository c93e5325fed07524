"""Query the ledger for the report, over some series, symbols and days at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from crypto_assets.ledger.acknowledgements import NAMES
from crypto_assets.ledger.lakes import LOST, LOST_STATE, LostDays
from crypto_assets.ledger.score_query import SCORES_NOW, weights_of_lost
from crypto_assets.model import Track

if TYPE_CHECKING:
    import psycopg


KEYS = "exchange, market_type, dataset, symbol"

_COLUMNS = "corrections, source, source_key, source_files, evidence, findings"

# Rows are grouped and sorted by place, a number: comparing text by language rules costs many times as much.
WANTED = f"""
WITH wanted AS (
    SELECT * FROM unnest(%(exchanges)s::text[], %(market_types)s::text[], %(datasets)s::text[], %(symbols)s::text[])
        WITH ORDINALITY AS w ({KEYS}, place)
), {LOST}, days AS (
    SELECT place, {KEYS}, day, {_COLUMNS}, failed_checks, l.day IS NOT NULL AS is_lost,
        CASE WHEN l.day IS NULL THEN state ELSE '{LOST_STATE}' END AS state, coalesce(lost_reason, reason) AS reason,
        CASE WHEN lost_file IS NOT TRUE THEN rows END AS rows,
        CASE WHEN lost_file IS NOT TRUE THEN size_bytes END AS size_bytes
    FROM collection.partitions p JOIN wanted USING ({KEYS}) LEFT JOIN lost l USING ({KEYS}, day)
    WHERE day BETWEEN %(first)s AND %(last)s
)
"""

# Consecutive days have the same difference between day and row number.
SPANS = """
SELECT place, state, min(day), max(day) FROM (
    SELECT place, state, day, day - (row_number() OVER (PARTITION BY place, state ORDER BY day))::int AS island FROM days
) numbered GROUP BY place, state, island ORDER BY place, min(day)
"""

# Reasons contain the file, digest and deadline of their day; reasons that are equal without them are merged.
REASONS = rf"""
SELECT exchange, market_type, dataset, array_agg(symbol ORDER BY symbol), state, min(reason), first, last FROM (
    SELECT {KEYS}, state, alike, min(reason) AS reason, min(day) AS first, max(day) AS last FROM (
        SELECT {KEYS}, state, reason, alike, day,
            day - (row_number() OVER (PARTITION BY {KEYS}, state, alike ORDER BY day))::int AS island
        FROM (SELECT *, regexp_replace(replace(replace(replace(reason, symbol, '…'), replace(symbol, '/', '-'), '…'),
            replace(split_part(symbol, ':', 1), '/', ''), '…'), '\d{{4}}-\d\d-\d\d|[0-9a-f]{{16,}}', '…', 'g') AS alike
            FROM days) named
        WHERE state <> ALL(%(plain)s)
    ) numbered GROUP BY {KEYS}, state, alike, island
) of_symbols GROUP BY exchange, market_type, dataset, state, alike, first, last
ORDER BY exchange, market_type, dataset, first, state
"""

OPEN = f"""
SELECT place, days.day, days.state, days.reason, evidence, findings, is_lost, {", ".join(f"a.{name}" for name in NAMES)}
FROM days LEFT JOIN collection.acknowledgements_now a USING (exchange, market_type, symbol, dataset, day)
WHERE days.state <> ALL(%(complete)s) ORDER BY place, days.day
"""

TOTALS = """
SELECT place, coalesce(sum(rows), 0), coalesce(sum(size_bytes), 0),
    coalesce(sum((SELECT count(*) FROM jsonb_each(findings) f WHERE NOT f.value ? 'not_judged')), 0),
    coalesce(sum(cardinality(failed_checks)), 0), coalesce(sum(corrections), 0)
FROM days GROUP BY place
"""

SCORED = f"""
, scored AS (
    SELECT q.*, place FROM ({SCORES_NOW}) q JOIN wanted USING ({KEYS})
    WHERE day BETWEEN %(first)s AND %(last)s AND total IS NOT NULL
)
"""

SCORES_OF_SYMBOLS = f"""{SCORED}
SELECT place, avg(total), avg(completeness), avg(accuracy), avg(agreement), avg(timeliness) FROM scored GROUP BY place
"""

SCORES_OF_DAYS = f"""{SCORED}
SELECT exchange, market_type, dataset, day, avg(total), min(total) FROM scored
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""

SCORE = f"""{SCORED}
SELECT avg(total), count(*), count(*) FILTER (WHERE total < %(threshold)s) FROM scored
"""

INCIDENTS = """
SELECT exchange, market_type, symbol, dataset, kind, start_time, end_time, symbols, source, reference
FROM collection.incidents
WHERE (exchange, market_type) IN (SELECT exchange, market_type FROM wanted)
    AND start_time < (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    AND end_time > %(first)s::date::timestamp AT TIME ZONE 'UTC'
ORDER BY start_time
"""

OBJECTS = """
SELECT DISTINCT exchange, market_type, dataset, o.key, o.first_modified, o.first_seen
FROM days JOIN collection.archive_objects o USING (exchange)
WHERE o.key = coalesce(days.source_files -> -1 ->> 'key', days.source_key)
    AND days.source = 'archive' AND o.first_modified IS NOT NULL
    AND day > %(last)s::date - %(recent)s
"""


class Asking:
    """Runs queries about some tracks, over the days from `first` to `last`, both included; lost days count as missing."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        tracks: Sequence[Track],
        first: date,
        last: date,
        lost: LostDays,
        weights: Mapping[str, float],
    ) -> None:
        self.tracks, self.first, self.last = tracks, first, last
        self._connection = connection
        self._more = {**lost.as_values(), **weights_of_lost(weights)}

    def __call__(self, query: str, **more: Any) -> list[Any]:
        """Return the rows of a query, which may use `wanted`, the tracks, and `days`, their records."""
        values = {
            **dict(zip(("exchanges", "market_types", "datasets", "symbols"), Track.columns(self.tracks), strict=True)),
            "first": self.first,
            "last": self.last,
        }
        return self._connection.execute(WANTED + query, values | self._more | more).fetchall()

    def by_track(self, query: str) -> dict[Track, list[Any]]:
        """Return the rows by track; their first column is the position of the track, counted from 1."""
        return {self.tracks[place - 1]: rest for place, *rest in self(query)}
