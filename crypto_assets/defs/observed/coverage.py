"""Observed asset `binance/coverage`: the days of each symbol by state, as pictures that Dagster shows without a click.

It is the first asset of the catalog, and fresh: drawn again within a minute after days were stored, on S3 within five minutes
after their run has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.defs.observed import Observed, described_by
from crypto_assets.defs.observed.changes import look_again
from crypto_assets.engine.problems import word_of
from crypto_assets.ledger.known_days import latest_changes
from crypto_assets.ledger.origins import other_origins

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.storage.lake import Lake

SERIES = 40
"""The most series with a picture; the others are in the counts."""


def _state(ledger: Ledger) -> list[str]:
    return look_again(ledger, lambda connection: latest_changes(connection)[:1])


def _metadata(ledger: Ledger, collection: Collection, exchange: str, lake: Lake) -> dict[str, Any]:
    from crypto_assets.quality.query import Query
    from crypto_assets.quality.report.charts import CoverageRow, legend, small_calendar
    from crypto_assets.quality.report.facts import read_coverage, verdict

    rows, first, last = read_coverage(ledger, collection, Query(exchange=exchange), lake=lake)
    counts = sum((row.counts() for row in rows), start=CoverageRow("", "", ()).counts())
    incomplete, total = sum(row.incomplete for row in rows), counts.total()
    metadata: dict[str, Any] = {"verdict": verdict(incomplete, total)}
    if settings().is_demo:
        metadata["data"] = "synthetic: from a sandbox exchange"
    if origins := other_origins(ledger, collection, [exchange]):
        metadata["origin"] = origins[0]
    metadata["colours"] = dg.MetadataValue.md(legend(counts))
    groups: dict[str, list[CoverageRow]] = {}
    for row in rows:
        groups.setdefault(row.group.removeprefix(f"{exchange} "), []).append(row)
    for group in sorted(groups, key=lambda name: (-sum(row.incomplete for row in groups[name]), name))[:SERIES]:
        if picture := small_calendar(groups[group], first, last):
            metadata[group] = dg.MetadataValue.md(picture)
    metadata |= {"days": total, "days incomplete": incomplete}
    return metadata | {f"days {word_of(state)}": days for state, days in sorted(counts.items())}


FOLDER_INTERVAL_S, S3_INTERVAL_S = 60, 300
"""A look lists the lake, once per symbol and dataset; the owner of a bucket pays for that."""


COVERAGE = Observed(
    name="coverage",
    interval_s=lambda: S3_INTERVAL_S if settings().lake.startswith("s3://") else FOLDER_INTERVAL_S,
    of_exchange=lambda exchange: (
        f"Which days of {exchange} are complete, partial, missing or not collected yet, by symbol; incomplete ones first. "
        "`crypto-assets gaps` says why, `crypto-assets fill` collects what is missing."
    ),
    description="Draws the coverage of the exchanges again when a day was stored or lost.",
    look=described_by(_metadata),
    kind="report",
    uri=lambda at: at.table("collection"),
    stamp=_state,
)
