"""Observed asset `binance/health`: whether each exchange answers; observed when a breaker or cool-down changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.defs.observed import Found, Observed
from crypto_assets.defs.presentation import markdown_cell
from crypto_assets.transport import limit_state

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger


def look(collection: Collection, exchanges: Sequence[str], ledger: Ledger, lake: object) -> Mapping[str, Found]:  # noqa: ARG001
    """Return the health of each exchange."""
    found = limit_state.snapshot(ledger)
    result = {}
    for exchange in exchanges:
        lines = problems(found, exchange)
        result[exchange] = Found("\n".join(lines), _metadata(found, exchange, lines))
    return result


def problems(found: limit_state.Snapshot, exchange: str) -> list[str]:
    """Return one line for each open breaker and each cool-down of an exchange; empty for a healthy one."""
    lines = [
        f"{b.kind} at {b.host}: {b.state}, {b.failures} failures in a row, the last: {b.last_error}"
        for b in found.breakers
        if b.exchange == exchange and b.state != "closed"
    ]
    lines += [
        f"{c.budget}: no requests until {c.until:%Y-%m-%d %H:%M:%S} UTC, {c.reason}"
        for c in found.cool_downs
        if c.exchange == exchange
    ]
    return sorted(lines)


def _metadata(found: limit_state.Snapshot, exchange: str, lines: Sequence[str]) -> dict[str, Any]:
    used = [f"{use.budget} {use.limit}: {use.used} of {use.amount}" for use in found.limits if use.exchange == exchange]
    return {
        "state": "unhealthy" if lines else "healthy",
        "problems": dg.MetadataValue.md("\n".join(f"- {markdown_cell(line)}" for line in lines) or "none"),
        "limits in use": dg.MetadataValue.md("\n".join(f"- {markdown_cell(line)}" for line in used) or "no limits"),
    }


HEALTH = Observed(
    name="health",
    interval_s=15,
    of_exchange=lambda exchange: (
        f"Whether {exchange} answers: circuit breakers that are not closed, cool-downs, limits in use."
    ),
    description="Observes the health of the exchanges when it has changed since the last look.",
    look=look,
    kind="dashboard",
    uri=lambda at: at.table("collection"),
)
