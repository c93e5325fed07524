"""The refused files of each exchange, as an asset of the UI: `binance/quarantine`, observed when they change."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import dagster as dg

from crypto_assets.config import Collection
from crypto_assets.resources import LakeResource, PostgresResource

INTERVAL_S = 60
"""A tick lists quarantine/ and reads the reason of each file."""

SHOWN = 50
"""Files in the table; the count is of all."""


def quarantine_key(exchange: str) -> dg.AssetKey:
    """Return the key of an exchange's refused files: `binance/quarantine`."""
    return dg.AssetKey([exchange, "quarantine"])


def build_quarantine(collection: Collection) -> tuple[list[dg.AssetSpec], dg.SensorDefinition]:
    """Return an asset for each exchange of the collection, and the sensor that observes them from the start."""
    exchanges = sorted({entry.exchange for entry in collection.series})
    specs = [
        dg.AssetSpec(
            quarantine_key(name),
            group_name="exchanges",
            description=f"Files of {name} that were refused, with the reason. `crypto-assets quarantine restore` judges them "
            "again after a fix.",
        )
        for name in exchanges
    ]

    @dg.sensor(
        name="quarantine",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Observes the refused files of the exchanges: what changed since the last look.",
    )
    def quarantine(
        context: dg.SensorEvaluationContext, lake: LakeResource, postgres: PostgresResource
    ) -> dg.SensorResult | dg.SkipReason:
        from crypto_assets.quality.quarantine import refused_files, states_now

        before: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        files = refused_files(lake.lake(), collection)
        with postgres.ledger() as ledger:
            states = states_now(ledger, files)
        now: dict[str, str] = {}
        events = []
        for name in exchanges:
            # A file of which nobody knows whose it is concerns every exchange.
            mine = [file for file in files if file.exchange in ("", name)]
            table = _table(mine, states)
            now[name] = hashlib.sha256("\n".join([str(len(mine)), *table]).encode()).hexdigest()[:16]
            if now[name] != before.get(name):
                events.append(dg.AssetObservation(quarantine_key(name), metadata=_metadata(mine, states, table)))
        if not events:
            return dg.SkipReason("nothing changed")
        return dg.SensorResult(asset_events=events, cursor=json.dumps(now, sort_keys=True))

    return specs, quarantine


def _table(files: Sequence[Any], states: dict[str, Any]) -> list[str]:
    """Return the rows of a table of the latest files."""
    from crypto_assets.quality.quarantine import in_words

    rows = []
    for file in files[:SHOWN]:
        when = f"{file.refused_at:%Y-%m-%d %H:%M}" if file.refused_at else ""
        cells = (when, str(file), in_words(states[file.path]), file.error, str(file.size_bytes), file.reason, file.path)
        rows.append("|" + "|".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + "|")
    return rows


def _metadata(files: Sequence[Any], states: dict[str, Any], table: Sequence[str]) -> dict[str, Any]:
    from crypto_assets.quality.quarantine import all_stored

    head = "|refused, UTC|what|its days now|error|bytes|reason|path|\n|-|-|-|-|-|-|-|\n"
    return {
        "files": len(files),
        "files whose days are not there": sum(not all_stored(states[file.path]) for file in files),
        "bytes": sum(file.size_bytes or 0 for file in files),
        "refused files": dg.MetadataValue.md(head + "\n".join(table) if table else "none"),
    }
