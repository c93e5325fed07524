"""What is there of each exchange and how good it is, as an asset of the UI: `binance/quality`, with the report's pictures.

The numbers are plotted over time by Dagster; the strip of coverage is small enough to be seen at once, the pictures
open with a click.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.defs.observed import Found, Observed
from crypto_assets.engine.problems import word_of
from crypto_assets.ledger.known_days import latest_changes
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.defs.resources import LakeResource
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

PICTURES_BYTES = 140_000
"""Of all pictures of an event together, as Markdown; they are drawn coarser until they fit."""

_SCALES = (1.0, 0.75)
"""Dagster shows a picture in its own size and cuts off what is wider than its dialog."""


def look(collection: Collection, exchanges: Sequence[str], ledger: Ledger, lake: LakeResource) -> Mapping[str, Found]:
    """Return what is found of each exchange."""
    result = {}
    for exchange in exchanges:
        metadata = _metadata(ledger, collection, exchange, lake.lake())
        texts = [f"{name} {getattr(value, 'value', value)}" for name, value in sorted(metadata.items())]
        result[exchange] = Found("\n".join(texts), metadata)
    return result


def _state(ledger: Ledger) -> list[str]:
    """Return what differs whenever a picture may differ: the hour, and the latest change of each table.

    The hour, for a file that somebody deletes changes no table: the lake is listed as often as for `lake`.
    """
    with ledger.transaction() as connection:
        changes = latest_changes(connection)
    return [f"{datetime.now(UTC):%Y-%m-%d %H}", *map(str, changes)]


def _metadata(ledger: Ledger, collection: Collection, exchange: str, lake: Lake) -> dict[str, Any]:
    # With matplotlib these cost two seconds to import.
    from crypto_assets.quality.query import Query
    from crypto_assets.quality.report.build import pictures
    from crypto_assets.quality.report.charts import strip
    from crypto_assets.quality.report.facts import read_facts

    facts = read_facts(ledger, collection, Query(exchange=exchange), lake=lake)
    counts, total = facts.counts, facts.counts.total()
    metadata: dict[str, Any] = {"verdict": facts.verdict}
    overview = strip([holding.coverage for holding in facts.holdings], facts.first, facts.last)
    if overview:
        metadata["overview"] = dg.MetadataValue.md(overview)
    metadata |= {"days": total, "days not complete": facts.incomplete}
    metadata |= {f"days {word_of(state)}": days for state, days in sorted(counts.items())}
    metadata["share complete"] = (total - facts.incomplete) / total if total else 0.0
    metadata["rows"] = sum(holding.rows for holding in facts.holdings)
    if facts.score is not None:
        metadata |= {"score": facts.score, "days below the threshold": facts.below, "threshold": facts.threshold}
    return metadata | {name: dg.MetadataValue.md(text) for name, text in _drawn(pictures(facts)).items()}


def _drawn(found: list[Any]) -> dict[str, str]:
    """Return the pictures as Markdown by their titles, as fine as their size allows."""
    from crypto_assets.quality.report.charts import LIGHT, png

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
    return visible(alt.replace("\n", " ")).replace("\\", "/").replace("[", "(").replace("]", ")")


QUALITY = Observed(
    name="quality",
    interval_s=300,  # while days are being collected it is drawn again so often: two seconds of CPU for each exchange
    of_exchange=lambda exchange: (
        f"What is stored of {exchange}, what is missing and why, and how good it is: `crypto-assets report` in the UI."
    ),
    description="Draws coverage, gaps, scores and publication delays of the exchanges anew when something changed.",
    look=look,
    stamp=_state,
)
