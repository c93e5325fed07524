"""What is there of each exchange and how good it is, as an asset of the UI: `binance/quality`, with the report's pictures.

The numbers are plotted over time by Dagster; the strip of coverage is small enough to be seen at once, the pictures
open with a click.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from crypto_assets.config import Collection
from crypto_assets.resources import PostgresResource

INTERVAL_S = 300
"""While days are being collected, the pictures are drawn again so often: two seconds of CPU for each exchange."""

PICTURES_BYTES = 140_000
"""Of all pictures of an event together, as Markdown; they are drawn coarser until they fit."""

_SCALES = (1.0, 0.75)
"""Dagster shows a picture in its own size and cuts off what is wider than its dialog."""


def quality_key(exchange: str) -> dg.AssetKey:
    """Return the key of an exchange's quality: `binance/quality`."""
    return dg.AssetKey([exchange, "quality"])


def build_quality(collection: Collection) -> tuple[list[dg.AssetSpec], dg.SensorDefinition]:
    """Return an asset for each exchange of the collection, and the sensor that observes them from the start."""
    names = sorted({entry.exchange for entry in collection.series})
    specs = [
        dg.AssetSpec(
            quality_key(name),
            group_name="exchanges",
            description=f"What is there of {name}, what lacks and why, and how good it is: `crypto-assets report` in the UI.",
        )
        for name in names
    ]

    @dg.sensor(
        name="quality",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Draws coverage, gaps, scores and publication delays of the exchanges anew when something changed.",
    )
    def quality(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SensorResult | dg.SkipReason:
        before: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        shown: dict[str, str] = before.get("shown", {})
        with postgres.ledger() as ledger:
            state = _state(ledger)
            if state == before.get("state"):
                return dg.SkipReason("nothing changed")
            found = {name: _metadata(ledger, collection, name) for name in names}
        digests = {name: _digest(metadata) for name, metadata in found.items()}
        events = [
            dg.AssetObservation(quality_key(name), metadata=found[name])
            for name in names
            if digests[name] != shown.get(name)
        ]
        return dg.SensorResult(
            asset_events=events, cursor=json.dumps({"state": state, "shown": digests}, sort_keys=True)
        )

    return specs, quality


def _state(ledger: Any) -> list[str]:
    """Return what differs whenever a picture may differ: the day, and the latest change of each table."""
    with ledger.transaction() as connection:
        row = connection.execute(
            """SELECT (SELECT max(updated_at) FROM collection.partitions), (SELECT max(scored_at) FROM collection.quality),
                (SELECT max(updated_at) FROM collection.incidents), (SELECT count(*) FROM collection.incidents)"""
        ).fetchone()
    return [str(datetime.now(UTC).date()), *map(str, row)]


def _digest(metadata: dict[str, Any]) -> str:
    texts = [f"{name} {getattr(value, 'value', value)}" for name, value in sorted(metadata.items())]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _metadata(ledger: Any, collection: Collection, exchange: str) -> dict[str, Any]:
    # With matplotlib these cost two seconds to import.
    from crypto_assets.quality.charts import strip
    from crypto_assets.quality.query import Query
    from crypto_assets.quality.report import pictures
    from crypto_assets.quality.report_facts import read_facts
    from crypto_assets.quality.report_page import verdict

    facts = read_facts(ledger, collection, Query(exchange=exchange))
    counts, total = facts.counts, facts.counts.total()
    metadata: dict[str, Any] = {"verdict": verdict(facts)}
    overview = strip([holding.coverage for holding in facts.holdings], facts.first, facts.last)
    if overview:
        metadata["overview"] = dg.MetadataValue.md(overview)
    metadata |= {"days": total, "days lacking": facts.lacking}
    metadata |= {f"days {state.replace('_', ' ')}": days for state, days in sorted(counts.items())}
    metadata["share complete"] = (total - facts.lacking) / total if total else 0.0
    metadata["rows"] = sum(holding.rows for holding in facts.holdings)
    if facts.score is not None:
        metadata |= {"score": facts.score, "days below the threshold": facts.below, "threshold": facts.threshold}
    return metadata | {name: dg.MetadataValue.md(text) for name, text in _drawn(pictures(facts)).items()}


def _drawn(found: list[Any]) -> dict[str, str]:
    """Return the pictures as Markdown by their titles, as fine as their size allows."""
    from crypto_assets.quality.charts import LIGHT, png

    figures = [(picture, picture.draw(LIGHT)) for picture in found]
    texts: dict[str, str] = {}
    for scale in _SCALES:
        texts = {
            picture.title: f"![{_plain(picture.alt)}](data:image/png;base64,{base64.b64encode(png(figure, scale)).decode()})"
            for picture, figure in figures
        }
        if sum(map(len, texts.values())) <= PICTURES_BYTES:
            break
    return texts


def _plain(alt: str) -> str:
    """Return a text that cannot end the description of a Markdown image."""
    return alt.replace("[", "(").replace("]", ")").replace("\n", " ")
