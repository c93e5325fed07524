"""Observed asset `binance/lake`, with a check: whether the files that the ledger calls stored are in the lake.

Dagster does not notice a deleted file: its partition stays materialised. So a lake in a folder is listed every 5 minutes, one
on S3 every hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.config.environment import settings
from crypto_assets.defs.observed import Found, Observed
from crypto_assets.defs.presentation import markdown_cell
from crypto_assets.defs.resources import LakeResource

if TYPE_CHECKING:
    from crypto_assets.ledger.lakes import LostDays
    from crypto_assets.ledger.partitions import Ledger

SHOWN = 50
"""The most days in the table; the count includes all."""


def look(collection: Collection, exchanges: Sequence[str], ledger: Ledger, lake: LakeResource) -> Mapping[str, Found]:
    """Return the lost days of each exchange."""
    from crypto_assets.ledger.lakes import lost_days

    lost = lost_days(ledger, lake.lake(), collection=collection)
    return {exchange: _of_exchange(exchange, lost) for exchange in exchanges}


def _of_exchange(exchange: str, lost: LostDays) -> Found:
    mine = [(place, reason) for place, reason in sorted(lost.reasons.items()) if place[0].exchange == exchange]
    table = [
        f"|{markdown_cell(f'{series} {symbol}')}|{day}|{markdown_cell(reason)}|"
        for (series, symbol, day), reason in mine[:SHOWN]
    ]
    what, again = ("1 stored day is", "it") if len(mine) == 1 else (f"{len(mine):,} stored days are", "them")
    problem = f"{what} lost or damaged; `crypto-assets fill` collects {again} again" if mine else ""
    metadata: dict[str, Any] = {
        "lake": lost.url,
        "stored days lost": len(mine),
        "lost days": dg.MetadataValue.md("|what|day|why|\n|-|-|-|\n" + "\n".join(table) if table else "none"),
    }
    if lost.other is not None:
        metadata["the ledger belongs to another lake"] = lost.other.url
    other = lost.other.id if lost.other else ""
    return Found("\n".join([lost.url, other, str(len(mine)), *table]), metadata, problem)


FOLDER_INTERVAL_S = 300
S3_INTERVAL_S = 3600
"""A look costs one listing per symbol and dataset, which the bucket's owner pays for."""


LAKE = Observed(
    name="lake",
    interval_s=lambda: S3_INTERVAL_S if settings().lake.startswith("s3://") else FOLDER_INTERVAL_S,
    of_exchange=lambda exchange: (
        f"Whether the stored days of {exchange} are in the lake and in Postgres as they were stored. "
        "`crypto-assets gaps` names those that are not, `crypto-assets fill` collects them again."
    ),
    description="Compares the lake with the ledger: files that are missing or of another size, tables that were emptied.",
    look=look,
    kind="dashboard",
    uri=lambda at: at.lake,
    check=("files_are_there", "every stored day has its file, of the size that was stored, and its rows in Postgres"),
)
