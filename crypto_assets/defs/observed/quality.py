"""Observed asset `binance/quality`: how much of each exchange is stored and how good it is, with the report's pictures.

Dagster plots the numbers over time. The strip of coverage is small enough to be shown at once, the other pictures open with a
click.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.defs.observed import Observed, described_by
from crypto_assets.defs.observed.changes import look_again
from crypto_assets.engine.problems import word_of
from crypto_assets.ledger.known_days import latest_changes
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

PICTURES_BYTES = 140_000
"""The most bytes of all pictures of an event, as Markdown; they are drawn coarser until they fit."""

_SCALES = (1.0, 0.75)
"""Dagster shows a picture in its own size and cuts off the part that is wider than its dialog."""


def _state(ledger: Ledger) -> list[str]:
    return look_again(ledger, latest_changes)


def _metadata(ledger: Ledger, collection: Collection, exchange: str, lake: Lake) -> dict[str, Any]:
    # These cost two seconds to import, with matplotlib.
    from crypto_assets.quality.query import Query
    from crypto_assets.quality.report.build import pictures
    from crypto_assets.quality.report.charts import strip
    from crypto_assets.quality.report.facts import read_facts

    facts = read_facts(ledger, collection, Query(exchange=exchange), lake=lake)
    counts, total = facts.counts, facts.counts.total()
    metadata: dict[str, Any] = {"verdict": facts.verdict}
    if settings().is_demo:
        metadata["synthetic data"] = "This is a demo: all prices and volumes come from a sandbox exchange."
    overview = strip([holding.coverage for holding in facts.holdings], facts.first, facts.last)
    if overview:
        metadata["overview"] = dg.MetadataValue.md(overview)
    metadata |= {"days": total, "days incomplete": facts.incomplete}
    metadata |= {f"days {word_of(state)}": days for state, days in sorted(counts.items())}
    metadata["share complete or no data"] = (total - facts.incomplete) / total if total else 0.0
    metadata["rows"] = sum(holding.rows for holding in facts.holdings)
    if facts.score is not None:
        metadata |= {"score": facts.score, "days below the threshold": facts.below, "threshold": facts.threshold}
    return metadata | {name: dg.MetadataValue.md(text) for name, text in _drawn(pictures(facts)).items()}


def _drawn(found: list[Any]) -> dict[str, str]:
    """Return the pictures as Markdown by title, as fine as the size limit allows."""
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
    """Return a text that cannot close the description of a Markdown image."""
    return visible(alt.replace("\n", " ")).replace("\\", "/").replace("[", "(").replace("]", ")")


QUALITY = Observed(
    name="quality",
    interval_s=300,  # drawn this often while days are being collected: two seconds of CPU for each exchange
    of_exchange=lambda exchange: (
        f"What is stored of {exchange}, what is missing and why, and how good it is: `crypto-assets report` in the UI."
    ),
    description="Draws coverage, gaps, scores and publication delays of the exchanges again when something has changed.",
    look=described_by(_metadata),
    kind="report",
    uri=lambda at: at.table("collection"),
    stamp=_state,
)
