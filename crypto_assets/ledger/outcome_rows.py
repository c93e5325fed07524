"""Convert an outcome into a row of `collection.partitions`, and merge it with the existing row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from crypto_assets.errors import REFUSALS
from crypto_assets.model import Finding, Outcome

_STORED = (
    "rows",
    "size_bytes",
    "content_sha256",
    "path",
    "source",
    "source_key",
    "source_etag",
    "source_size_bytes",
    "source_sha256",
    "source_published_digest",
    "source_last_modified",
    "source_files",
    "source_contract_size",
    "findings",
    "judged_by",
    "failed_checks",
    "collected_at",
)

COLUMNS = {
    "exchange": "text",
    "market_type": "text",
    "symbol": "text",
    "dataset": "text",
    "day": "date",
    "state": "text",
    "reason": "text",
    "evidence": "jsonb",
    "rows": "bigint",
    "size_bytes": "bigint",
    "content_sha256": "text",
    "path": "text",
    "source": "text",
    "source_key": "text",
    "source_etag": "text",
    "source_size_bytes": "bigint",
    "source_sha256": "text",
    "source_published_digest": "text",
    "source_last_modified": "timestamptz",
    "source_files": "jsonb",
    "source_contract_size": "text",
    "findings": "jsonb",
    "judged_by": "text",
}

# If a file is stored and the new outcome has none, the stored version stays in force.
_KEEPS = "(p.path IS NOT NULL AND excluded.path IS NULL)"

# The exchange has a file other than the stored one, and it could not be used.
_REFUSED = f"({_KEEPS} AND (excluded.evidence ->> 'error' IN ({', '.join(repr(name) for name in REFUSALS)})) IS TRUE)"

RECORD_OUTCOMES = f"""
INSERT INTO collection.partitions AS p ({", ".join(COLUMNS)}, failed_checks, run_id, collected_at, known_from)
SELECT {", ".join(f"o.{name}" for name in COLUMNS)},
    ARRAY(SELECT f.key FROM jsonb_each(o.findings) f WHERE f.value->>'passed' = 'false' ORDER BY f.key),
    %(run_id)s,
    CASE WHEN o.path IS NOT NULL THEN coalesce(%(at)s::timestamptz, clock_timestamp()) END,
    CASE WHEN o.path IS NOT NULL AND NOT o.same_rows THEN coalesce(%(at)s::timestamptz, clock_timestamp()) END
FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in COLUMNS.items())}, %(same_rows)s::boolean[])
    AS o ({", ".join(COLUMNS)}, same_rows)
ON CONFLICT (exchange, market_type, symbol, dataset, day) DO UPDATE SET
    state = CASE WHEN {_REFUSED} THEN 'corrected' WHEN {_KEEPS} THEN p.state ELSE excluded.state END,
    reason = CASE WHEN {_KEEPS} AND NOT {_REFUSED} THEN p.reason ELSE excluded.reason END,
    evidence = CASE WHEN {_KEEPS} AND NOT {_REFUSED} THEN p.evidence ELSE excluded.evidence END,
    {", ".join(f"{name} = CASE WHEN {_KEEPS} THEN p.{name} ELSE excluded.{name} END" for name in _STORED)},
    known_from = CASE WHEN {_KEEPS} OR p.content_sha256 = excluded.content_sha256 THEN p.known_from
        ELSE coalesce(excluded.known_from, p.known_from) END,
    attempt_error = CASE WHEN {_KEEPS} THEN excluded.reason END,
    reported_at = NULL,
    run_id = excluded.run_id,
    updated_at = clock_timestamp()
"""


def key_of(outcome: Outcome) -> tuple[str, str, str, str, date]:
    series, partition = outcome.series, outcome.partition
    return series.exchange, series.market_type, partition.symbol, series.dataset, partition.day


def as_json(value: Mapping[str, Any]) -> str:
    """Return JSON that Postgres accepts: without NaN, infinities and the character 0."""
    try:
        text = json.dumps(value, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), default=str)
    return text.replace("\\u0000", "\\ufffd")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def stored_form(finding: Finding) -> dict[str, Any]:
    return {**finding.evidence, "passed": bool(finding.passed)}


def from_stored(findings: Mapping[str, Mapping[str, Any]]) -> dict[str, Finding]:
    return {
        name: Finding(bool(kept["passed"]), {key: value for key, value in kept.items() if key != "passed"})
        for name, kept in findings.items()
    }


def failed_names(findings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the sorted names of failed checks in stored findings."""
    return sorted(name for name, kept in findings.items() if kept["passed"] is False)


def row_of(outcome: Outcome) -> dict[str, Any]:
    stored, source = outcome.stored, outcome.source
    return {
        "exchange": outcome.series.exchange,
        "market_type": outcome.series.market_type,
        "symbol": outcome.partition.symbol,
        "dataset": outcome.series.dataset,
        "day": outcome.partition.day,
        "state": outcome.state.value,
        "reason": outcome.reason.replace("\0", "\ufffd"),
        "evidence": as_json(outcome.evidence) if outcome.evidence else "{}",
        "rows": stored.rows if stored else None,
        "size_bytes": stored.size_bytes if stored else None,
        "content_sha256": stored.sha256 if stored else None,
        "path": stored.path if stored else None,
        "source": source.source if source else None,
        "source_key": source.key if source else None,
        "source_etag": source.etag if source else None,
        "source_size_bytes": source.size_bytes if source else None,
        "source_sha256": source.sha256 if source else None,
        "source_published_digest": source.published_digest if source else None,
        "source_last_modified": source.last_modified if source else None,
        "source_files": json.dumps(source.described_parts) if source else "[]",
        "source_contract_size": source.contract_size if source else None,
        "findings": as_json({name: stored_form(finding) for name, finding in outcome.findings.items()}),
        "judged_by": outcome.judged_by,
    }
