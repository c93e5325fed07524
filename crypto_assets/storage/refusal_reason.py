"""The reason beside a file in quarantine/, which anybody who may write to the lake may have written.

A reason of which a field is of the wrong kind, or that is too large or too deep, is not believed in any part: what
`checked_reason` returns then says what is wrong with it, and nothing else. So no reason stops the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from crypto_assets.storage.foreign_json import count, loads, mapping, sequence, text

MOST_BYTES = 1 << 20
"""A reason holds up to 50 rows for each failed check and day; read, it takes 28 times as much memory at most."""

MOST_DAYS = 4_000

_Field = Callable[[Any], Any]


def _days(value: Any) -> Any:
    if len(sequence(value)) > MOST_DAYS:
        raise ValueError(f"expected at most {MOST_DAYS:,} days, found {len(value):,}")
    for one in value:
        text(one, 40)
    return value


def _findings(value: Any) -> Any:
    for checks in mapping(value).values():
        for evidence in mapping(checks).values():
            mapping(evidence)
    return value


_TEXTS = (
    *("error", "reason", "exchange", "market_type", "dataset", "symbol", "key", "source", "version"),
    *("etag", "last_modified", "refused_at", "sha256", "published_sha256", "downloaded", "published"),
)
_FIELDS: dict[str, _Field] = {
    **dict.fromkeys(_TEXTS, text),
    "days": _days,
    "size_bytes": count,
    "findings": _findings,
}


def checked_reason(content: bytes) -> dict[str, Any]:
    """Return a reason as it was written; of one that is cut, and of none, nothing; of a bad one what is wrong with it."""
    if len(content) > MOST_BYTES:
        return unreadable(f"expected at most {MOST_BYTES:,} bytes, found {len(content):,}")
    try:
        content.decode()
        found = mapping(loads(content))
    except UnicodeDecodeError:
        return unreadable("expected text in UTF-8, found other bytes")
    except ValueError as error:
        # What is no JSON is what a process has left that was ended while it wrote: not worth a word of its own.
        return unreadable(str(error)) if str(error).startswith("expected") else {}
    for name, field in _FIELDS.items():
        if found.get(name) is not None:
            try:
                field(found[name])
            except ValueError as error:
                return unreadable(f"{name}: {error}")
    return dict(found)


def reason_text(reason: Mapping[str, Any]) -> bytes:
    """Return a reason as it is kept. Findings that have no room in it are left out, those of the first days first."""
    findings = dict(reason.get("findings") or {})
    while True:
        kept = {**reason, "findings": findings} if "findings" in reason else reason
        content = json.dumps(kept, default=str, indent=1, sort_keys=True).encode()
        if len(content) <= MOST_BYTES or not findings:
            return content
        days = sorted(findings)
        findings = {day: findings[day] for day in days[(len(days) + 1) // 2 :]}


def unreadable(why: str) -> dict[str, Any]:
    """Return what stands in place of a reason that is not believed."""
    return {"error": "unknown", "reason": f"the reason beside it is not believed: {why}"}
