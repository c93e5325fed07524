"""Check the reason beside a file in quarantine/: anybody with write access to the lake may have written it.

If a field has the wrong type, or the reason is too large or too deep, no part of it is used: `checked_reason` then returns
only a description of the fault. So one bad reason does not stop the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from crypto_assets.storage.foreign_json import count, loads, mapping, sequence, text

MOST_BYTES = 1 << 20
"""Most bytes: a reason has up to 50 rows for each failed check and day; reading it takes 28 times as much memory at most."""

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


def _others(value: Any) -> Any:
    for other in mapping(value).values():
        for name, field in _FIELDS.items():
            if mapping(other).get(name) is not None:
                field(other[name])
    return value


Part = tuple[str, str, str]
"""Market type, dataset and symbol: whose rows of a file were refused."""

_SAME = ("exchange", "key", "source", "etag", "last_modified", "size_bytes", "sha256", "published_digest")
"""What the parts of a file have from the first one, where they do not say otherwise."""

_TEXTS = (
    *("error", "reason", "exchange", "market_type", "dataset", "symbol", "key", "source", "version"),
    *("etag", "last_modified", "refused_at", "sha256", "published_digest", "downloaded", "published"),
)
_FIELDS: dict[str, _Field] = {
    **dict.fromkeys(_TEXTS, text),
    "days": _days,
    "size_bytes": count,
    "findings": _findings,
    "others": _others,
}


def checked_reason(content: bytes) -> dict[str, Any]:
    """Return a written reason; empty if it is cut or missing; a description of the fault if it is bad."""
    if len(content) > MOST_BYTES:
        return unreadable(f"expected at most {MOST_BYTES:,} bytes, found {len(content):,}")
    try:
        content.decode()
        found = mapping(loads(content))
    except UnicodeDecodeError:
        return unreadable("expected text in UTF-8, found other bytes")
    except ValueError as error:
        # Invalid JSON: left by a process that was killed while writing; needs no message of its own.
        return unreadable(str(error)) if str(error).startswith("expected") else {}
    for name, field in _FIELDS.items():
        if found.get(name) is not None:
            try:
                field(found[name])
            except (ValueError, KeyError) as error:
                return unreadable(f"{name}: {error}")
    return dict(found)


def part_of(reason: Mapping[str, Any]) -> Part:
    """Return whose rows a reason is about; empty texts where it does not say."""
    market_type, dataset, symbol = (str(reason.get(name) or "") for name in ("market_type", "dataset", "symbol"))
    return market_type, dataset, symbol


def split_reason(reason: Mapping[str, Any]) -> dict[Part, dict[str, Any]]:
    """Return the reason of each part of a refused file. Most files have one; some have many symbols or market types."""
    same = {name: reason[name] for name in _SAME if name in reason}
    found = {part_of(reason): _alone(reason)}
    for one in (reason.get("others") or {}).values():
        found[part_of(one)] = {**same, **_alone(one)}
    return found


def joined_reason(parts: Mapping[Part, Mapping[str, Any]], first: Part) -> dict[str, Any]:
    """Return the reasons of the parts of a file as one, whole for the first part; `split_reason` reads it.

    A reason without a symbol is left out: it could not be read, and the first one takes its place.
    """
    whole = _alone(parts[first])
    others = {
        " ".join(part): {
            name: value for name, value in _alone(one).items() if name not in _SAME or value != whole.get(name)
        }
        for part, one in sorted(parts.items())
        if part[-1] and part != first
    }
    return {**whole, **({"others": others} if others else {})}


def _alone(reason: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reason.items() if name != "others"}


def reason_text(reason: Mapping[str, Any]) -> bytes:
    """Return the bytes of a reason. Beyond the limit are left out, in this order: the findings of the other parts, their
    evidence, the findings of the first days.
    """
    findings = dict(reason.get("findings") or {})
    for bare in (_without_findings, _without_evidence):
        if "others" in reason and len(json.dumps(reason, default=str, indent=1)) > MOST_BYTES:
            reason = {**reason, "others": {name: bare(one) for name, one in reason["others"].items()}}
    while True:
        kept = {**reason, "findings": findings} if "findings" in reason else reason
        content = json.dumps(kept, default=str, indent=1, sort_keys=True).encode()
        if len(content) <= MOST_BYTES or not findings:
            return content
        days = sorted(findings)
        findings = {day: findings[day] for day in days[(len(days) + 1) // 2 :]}


def _without_findings(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {} if name == "findings" else value for name, value in part.items()}


def _without_evidence(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name in _FIELDS}


def unreadable(why: str) -> dict[str, Any]:
    """Return the replacement of an invalid reason."""
    return {"error": "unknown", "reason": f"the reason beside it is invalid: {why}"}
