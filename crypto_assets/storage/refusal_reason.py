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
        for name, one in mapping(other).items():
            _OF_SYMBOL[name](one)
    return value


_OF_SYMBOL: dict[str, _Field] = {
    **dict.fromkeys(("reason", "error", "refused_at", "version"), text),
    "days": _days,
    "findings": _findings,
}
"""What a reason has of each symbol of a file of many."""

_SAME = (
    *("exchange", "market_type", "dataset", "key", "source", "etag", "last_modified"),
    *("size_bytes", "sha256", "published_digest"),
)
"""What is the same for all of them."""

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


def split_reason(reason: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the reason of each symbol of a refused file; of most files there is one."""
    same = {name: reason[name] for name in _SAME if name in reason}
    found = {str(reason.get("symbol") or ""): {name: one for name, one in reason.items() if name != "others"}}
    for symbol, one in (reason.get("others") or {}).items():
        found[symbol] = {**same, **one, "symbol": symbol}
    return found


def joined_reason(parts: Mapping[str, Mapping[str, Any]], first: str) -> dict[str, Any]:
    """Return the reasons of the symbols of a file as one, whole for the first symbol; `split_reason` reads it."""
    others = {
        symbol: {name: part[name] for name in _OF_SYMBOL if part.get(name) is not None}
        for symbol, part in sorted(parts.items())
        if symbol and symbol != first
    }
    return {**parts[first], **({"others": others} if others else {})}


def reason_text(reason: Mapping[str, Any]) -> bytes:
    """Return the bytes of a reason. Findings beyond the limit are left out: those of other symbols, then the first days'."""
    findings = dict(reason.get("findings") or {})
    if len(json.dumps(reason, default=str, indent=1)) > MOST_BYTES and "others" in reason:
        bare = {symbol: {**one, "findings": {}} for symbol, one in reason["others"].items()}
        reason = {**reason, "others": bare}
    while True:
        kept = {**reason, "findings": findings} if "findings" in reason else reason
        content = json.dumps(kept, default=str, indent=1, sort_keys=True).encode()
        if len(content) <= MOST_BYTES or not findings:
            return content
        days = sorted(findings)
        findings = {day: findings[day] for day in days[(len(days) + 1) // 2 :]}


def unreadable(why: str) -> dict[str, Any]:
    """Return the replacement of an invalid reason."""
    return {"error": "unknown", "reason": f"the reason beside it is invalid: {why}"}
