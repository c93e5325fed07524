"""Views for people: `collection.coverage` and `collection.gaps`, and comments on every column that readers may see.

They count as `crypto-assets status` and `gaps` do, from the records alone. Two things are not in the database: the days that
collection.yaml asks for, and the files in the lake.
"""

from collections.abc import Iterable

from crypto_assets.model import COMPLETE_STATES, State
from crypto_assets.model.day_counts import DAY_COUNTS
from crypto_assets.storage.comments import KEY_COMMENTS, commented
from crypto_assets.storage.migrations.tables.keys import PARTITION
from crypto_assets.storage.reader import readable

_KEYS = "exchange, market_type, symbol, dataset"

_KEY_COMMENTS = KEY_COMMENTS | {"dataset": "the dataset: ohlcv_1m, trades"}

_TODAY = "(now() AT TIME ZONE 'UTC')::date"


def _in(states: Iterable[State]) -> str:
    return f"IN ({', '.join(repr(state.value) for state in State if state in frozenset(states))})"


_INCOMPLETE = f"state NOT {_in(COMPLETE_STATES)}"

_NOT_ACCEPTED = " AND NOT accepted"
_BY_STATE = ",\n        ".join(
    f"count(*) FILTER (WHERE state {_in(count.states)}"
    f"{'' if count.states <= COMPLETE_STATES else _NOT_ACCEPTED}) AS {name}"
    for name, count in DAY_COUNTS.items()
    if count.states
)

# The cause of a day is stored with the digest of the record that it was derived from. The digest of complete days is never
# computed.
_INCOMPLETE_DAYS = f"""
CREATE VIEW collection.incomplete_days AS
SELECT p.*, c.cause FROM (
    SELECT {_KEYS}, day, state, reason, evidence, findings,
        md5(concat_ws(' ', state, content_sha256, evidence, findings)) AS record
    FROM collection.partitions WHERE {_INCOMPLETE}) p
LEFT JOIN collection.day_causes c USING (exchange, market_type, symbol, dataset, day, record)
"""

_COVERAGE = f"""
CREATE VIEW collection.coverage AS
WITH known AS (
    SELECT p.*, p.state {_in(COMPLETE_STATES)} AS is_complete, a.day IS NOT NULL AS accepted
    FROM collection.partitions p
    LEFT JOIN (SELECT * FROM collection.acknowledgements_now WHERE withdrawn IS NULL) a
        USING (exchange, market_type, symbol, dataset, day)
), counted AS (
    SELECT {_KEYS}, min(day) AS first_day, max(day) AS last_day,
        {_BY_STATE},
        count(*) FILTER (WHERE NOT is_complete AND accepted) AS acknowledged,
        count(*) AS records, max(day) - min(day) + 1 - count(*) AS not_collected,
        sum(rows)::bigint AS rows, sum(size_bytes)::bigint AS size_bytes
    FROM known WHERE day < {_TODAY} OR is_complete GROUP BY {_KEYS}
)
SELECT {_KEYS}, first_day, last_day, last_day - first_day + 1 AS days, {", ".join(DAY_COUNTS)},
    coalesce(rows, 0) AS rows, coalesce(size_bytes, 0) AS size_bytes,
    partial + missing + pending + corrected + not_collected = 0 AS is_complete
FROM counted
"""

_GAPS = f"""
CREATE VIEW collection.gaps AS
WITH days AS (
    SELECT {_KEYS}, p.day, p.state, p.reason, p.cause, a.by, a.acknowledged_reason
    FROM collection.incomplete_days p
    LEFT JOIN (SELECT {_KEYS}, day, by, reason AS acknowledged_reason FROM collection.acknowledgements_now
        WHERE withdrawn IS NULL) a USING (exchange, market_type, symbol, dataset, day)
    WHERE p.day < {_TODAY}
), spans AS (
    SELECT {_KEYS}, min(day) AS first_day, max(day) AS last_day, state, reason, cause, by, acknowledged_reason
    FROM (SELECT *, day - row_number() OVER (
            PARTITION BY {_KEYS}, state, reason, cause, by, acknowledged_reason ORDER BY day)::int AS island FROM days) d
    GROUP BY {_KEYS}, island, state, reason, cause, by, acknowledged_reason
), holes AS (
    SELECT {_KEYS}, before + 1 AS first_day, day - 1 AS last_day
    FROM (SELECT {_KEYS}, day, lag(day) OVER (PARTITION BY {_KEYS} ORDER BY day) AS before FROM collection.partitions) p
    WHERE day - before > 1
)
SELECT {_KEYS}, first_day, last_day, last_day - first_day + 1 AS days,
    CASE state WHEN 'degraded' THEN 'partial' ELSE state END AS state, reason, cause,
    by IS NOT NULL AS acknowledged, by AS acknowledged_by, acknowledged_reason
FROM spans
UNION ALL
SELECT {_KEYS}, first_day, last_day, last_day - first_day + 1, 'not_collected', 'not collected yet', 'not_collected', false,
    NULL, NULL
FROM holes
"""

_COVERAGE_COMMENTS = _KEY_COMMENTS | {
    "first_day": "the first day with a record; days before it, that collection.yaml may ask for, are not known here",
    "last_day": "the last day with a record that counts; today counts if it is complete so far",
    "days": "from first_day to last_day; every day is in exactly one of the counts that follow, provisional apart",
    **{name: count.meaning for name, count in DAY_COUNTS.items()},
    "not_collected": "days between first_day and last_day without a record",
    "rows": "rows in the lake",
    "size_bytes": "of the files in the lake",
    "is_complete": "no day is partial, missing, not collected, not published yet or corrected",
}

_GAPS_COMMENTS = _KEY_COMMENTS | {
    "first_day": "the first day of the span",
    "last_day": "the last day of the span, included",
    "days": "the number of days",
    "state": "partial (`degraded` in Python), missing, pending (not published yet), corrected, or not_collected (no record)",
    "reason": "why, in words",
    "cause": "the kind of cause, as crypto-assets gaps shows it in brackets; null: its run has not ended",
    "acknowledged": "a person accepts it: it does not count",
    "acknowledged_by": "who accepts it",
    "acknowledged_reason": "why it is accepted",
}

_DAY = {"day": "the UTC day"}

_QUALITY_COMMENTS = (
    _KEY_COMMENTS
    | _DAY
    | {
        "scored_at": "when the day was scored",
        "state": "of the day when it was scored; null: not collected yet",
        "accuracy": "the part of the rows that no check finds wrong; 0 to 1",
        "completeness": "the part of the rows that is there; 0 to 1",
        "timeliness": "whether the file came in time; 0 to 1",
        "agreement": "the part of the comparisons with other sources that agree; 0 to 1",
        "total": "weighted mean of the known scores; null: none was known",
    }
)

_ACKNOWLEDGED_COMMENTS = (
    _KEY_COMMENTS
    | _DAY
    | {
        "id": "the number of the acknowledgement",
        "reason": "why the gap is accepted",
        "by": "who accepts it",
        "at": "since when",
        "state": "of the day when it was accepted",
        "state_reason": "the reason of that state",
        "cause": "the kind of cause when it was accepted",
        "content_sha256": "of the stored file then; null: none",
        "source_etag": "of the file in the archive then; null: none",
        "objects": "etags of the day's files then; null: not published",
        "withdrawn_at": "when somebody or something ended it",
        "withdrawn_because": "why it was ended",
        "withdrawn": "why it is no longer valid; null: it is valid",
    }
)


STATEMENTS = (
    f"CREATE INDEX partitions_incomplete ON collection.partitions (exchange, market_type, day) WHERE {_INCOMPLETE}",
    f"""
    CREATE TABLE collection.day_causes ({PARTITION}
        cause text NOT NULL,
        record text NOT NULL,
        judged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (exchange, market_type, symbol, dataset, day)
    )
    """,
    "COMMENT ON TABLE collection.day_causes IS 'Why days are incomplete, as judged when a run ended.'",
    "COMMENT ON COLUMN collection.day_causes.record IS 'digest of the record that was judged; it is another now: not valid'",
    _INCOMPLETE_DAYS,
    "COMMENT ON VIEW collection.incomplete_days IS 'Incomplete days with their record; cause is null until it is judged.'",
    _COVERAGE,
    _GAPS,
    *commented(
        "collection.coverage",
        "The days of each symbol and dataset with a record, counted by state, as crypto-assets status counts them. The "
        "command knows two things more: the days that collection.yaml asks for, and files that are missing in the lake.",
        _COVERAGE_COMMENTS,
    ),
    *commented(
        "collection.gaps",
        "Incomplete days up to yesterday, equal neighbours as one span, with their reason and cause, as crypto-assets gaps "
        "shows them. The command knows more: days of collection.yaml before the first and after the last record, files that "
        "are missing in the lake, and rows that are missing in Postgres.",
        _GAPS_COMMENTS,
    ),
    *commented("collection.quality_now", "The last score of each day.", _QUALITY_COMMENTS),
    *commented(
        "collection.acknowledgements_now",
        "The last acknowledgement of each day, and why it is no longer valid.",
        _ACKNOWLEDGED_COMMENTS,
    ),
    readable("collection", ["coverage", "gaps"]),
)
