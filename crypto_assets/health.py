"""How each exchange answers, as an asset of the UI: `binance/health`, observed when a breaker or cool-down changes."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import dagster as dg

from crypto_assets.collection.transport import shared
from crypto_assets.config import Collection
from crypto_assets.resources import PostgresResource

INTERVAL_S = 15


def health_key(exchange: str) -> dg.AssetKey:
    """Return the key of an exchange's health: `binance/health`."""
    return dg.AssetKey([exchange, "health"])


def build_health(collection: Collection) -> tuple[list[dg.AssetSpec], dg.SensorDefinition]:
    """Return an asset for each exchange of the collection, and the sensor that observes them from the start."""
    names = sorted({entry.exchange for entry in collection.series})
    specs = [
        dg.AssetSpec(
            health_key(name),
            group_name="exchanges",
            description=f"Whether {name} answers: circuit breakers that are not closed, cool-downs, limits in use.",
        )
        for name in names
    ]

    @dg.sensor(
        name="health",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Observes the health of the exchanges: what changed since the last look.",
    )
    def health(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SensorResult | dg.SkipReason:
        before: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        with postgres.ledger() as database:
            found = shared.snapshot(database)
        now: dict[str, str] = {}
        events = []
        for name in names:
            trouble = troubles(found, name)
            now[name] = hashlib.sha256("\n".join(trouble).encode()).hexdigest()[:16]
            if now[name] != before.get(name):
                events.append(dg.AssetObservation(health_key(name), metadata=_metadata(found, name, trouble)))
        if not events:
            return dg.SkipReason("nothing changed")
        return dg.SensorResult(asset_events=events, cursor=json.dumps(now, sort_keys=True))

    return specs, health


def troubles(found: shared.Snapshot, exchange: str) -> list[str]:
    """Return one line for each open breaker and each cool-down of an exchange; empty when all is well."""
    lines = [
        f"{b.kind} at {b.host}: {b.state}, {b.failures} failures in a row, the last: {b.last_error}"
        for b in found.breakers
        if b.exchange == exchange and b.state != "closed"
    ]
    lines += [
        f"{c.budget}: nobody asks until {c.until:%Y-%m-%d %H:%M:%S} UTC, {c.reason}"
        for c in found.cool_downs
        if c.exchange == exchange
    ]
    return sorted(lines)


def _metadata(found: shared.Snapshot, exchange: str, trouble: Sequence[str]) -> dict[str, Any]:
    used = [f"{use.budget} {use.limit}: {use.used} of {use.amount}" for use in found.limits if use.exchange == exchange]
    return {
        "state": "in trouble" if trouble else "well",
        "trouble": dg.MetadataValue.md("\n".join(f"- {line}" for line in trouble) or "none"),
        "limits in use": dg.MetadataValue.md("\n".join(f"- {line}" for line in used) or "no limits"),
    }
