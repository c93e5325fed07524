"""Assets that nobody collects: what is known of an exchange now, such as `binance/health`, observed when it changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config import Collection
from crypto_assets.resources import LakeResource, PostgresResource

if TYPE_CHECKING:
    from crypto_assets.collection.records.ledger import Ledger

__all__ = ["Found", "Observed", "build_observed", "observed_key"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found of one exchange: it is observed, with the metadata, where the content differs from the last one."""

    content: str
    metadata: Mapping[str, Any]


Look = Callable[[Collection, Sequence[str], "Ledger", LakeResource], Mapping[str, Found]]
"""Returns what is found of each of some exchanges; what ledger and lake raise ends the tick, and the next one looks again."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One asset for each exchange, and the sensor of the same name that observes them.

    `of_exchange` describes the asset of an exchange, `description` the sensor, which looks every `interval_s` seconds at
    most. `stamp`, where it is given, costs little and differs whenever `look` would find anything new; JSON-serialisable.
    """

    name: str
    interval_s: int
    of_exchange: Callable[[str], str]
    description: str
    look: Look
    stamp: Callable[[Ledger], Any] | None = None


def observed_key(name: str, exchange: str) -> dg.AssetKey:
    """Return the key of an asset: `binance/health`."""
    return dg.AssetKey([exchange, name])


def build_observed(observed: Observed, collection: Collection) -> tuple[list[dg.AssetSpec], dg.SensorDefinition]:
    """Return an asset for each exchange of the collection, and the sensor that observes them from the start."""
    exchanges = sorted({entry.exchange for entry in collection.series})
    specs = [
        dg.AssetSpec(
            observed_key(observed.name, exchange), group_name="exchanges", description=observed.of_exchange(exchange)
        )
        for exchange in exchanges
    ]

    @dg.sensor(
        name=observed.name,
        minimum_interval_seconds=observed.interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=observed.description,
    )
    def observe(
        context: dg.SensorEvaluationContext, lake: LakeResource, postgres: PostgresResource
    ) -> dg.SensorResult | dg.SkipReason:
        before: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        shown: dict[str, str] = before.get("shown", {})
        with postgres.ledger() as ledger:
            stamp = observed.stamp(ledger) if observed.stamp else None
            if stamp is not None and stamp == before.get("stamp"):
                return dg.SkipReason("nothing changed")
            found = observed.look(collection, exchanges, ledger, lake)
        now = {exchange: hashlib.sha256(found[exchange].content.encode()).hexdigest()[:16] for exchange in exchanges}
        events = [
            dg.AssetObservation(observed_key(observed.name, exchange), metadata=found[exchange].metadata)
            for exchange in exchanges
            if now[exchange] != shown.get(exchange)
        ]
        if not events and stamp is None:
            return dg.SkipReason("nothing changed")
        return dg.SensorResult(asset_events=events, cursor=json.dumps({"stamp": stamp, "shown": now}, sort_keys=True))

    return specs, observe
