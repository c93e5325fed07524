"""Whether the files that are stored by the ledger are in the lake, as an asset of the UI: `binance/lake`, with a check.

A file that somebody deletes changes nothing in Dagster: its partition stays materialised. So the lake is listed every hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config import Collection
from crypto_assets.observed import Found, Observed
from crypto_assets.resources import LakeResource

if TYPE_CHECKING:
    from crypto_assets.collection.records.lakes import LostDays
    from crypto_assets.collection.records.ledger import Ledger

SHOWN = 50
"""Days in the table; the count is of all."""


def look(collection: Collection, exchanges: Sequence[str], ledger: Ledger, lake: LakeResource) -> Mapping[str, Found]:
    """Return what is found of each exchange."""
    from crypto_assets.collection.records.lakes import lost_days

    lost = lost_days(ledger, lake.lake(), collection=collection)
    return {exchange: _of_exchange(exchange, lost) for exchange in exchanges}


def _of_exchange(exchange: str, lost: LostDays) -> Found:
    mine = [(place, reason) for place, reason in sorted(lost.reasons.items()) if place[0].exchange == exchange]
    table = [
        f"|{series} {symbol}|{day}|{reason.replace('|', chr(92) + '|')}|"
        for (series, symbol, day), reason in mine[:SHOWN]
    ]
    days = f"{len(mine):,} stored day{' is' if len(mine) == 1 else 's are'}"
    problem = f"{days} not where the ledger says; `crypto-assets fill` collects them again" if mine else ""
    metadata: dict[str, Any] = {
        "lake": lost.url,
        "stored days lost": len(mine),
        "lost days": dg.MetadataValue.md("|what|day|why|\n|-|-|-|\n" + "\n".join(table) if table else "none"),
    }
    if lost.other is not None:
        metadata["the ledger speaks of another lake"] = lost.other.url
    other = lost.other.id if lost.other else ""
    return Found("\n".join([lost.url, other, str(len(mine)), *table]), metadata, problem)


LAKE = Observed(
    name="lake",
    interval_s=3600,  # one listing a symbol and dataset
    of_exchange=lambda exchange: (
        f"Whether the stored days of {exchange} are in the lake and in Postgres as they were stored. "
        "`crypto-assets gaps` names those that are not, `crypto-assets fill` collects them again."
    ),
    description="Compares the lake with the ledger: files that are missing or of another size, tables that were emptied.",
    look=look,
    check=("files_are_there", "every stored day has its file, of the size that was stored, and its rows in Postgres"),
)
