"""Observed asset `binance/quarantine`: the refused files of each exchange, observed when they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from crypto_assets.config.collection import Collection
from crypto_assets.defs.observed import Found, Observed
from crypto_assets.defs.presentation import markdown_cell
from crypto_assets.defs.resources import LakeResource

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger

SHOWN = 50
"""The most files in the table; the count includes all."""


def look(collection: Collection, exchanges: Sequence[str], ledger: Ledger, lake: LakeResource) -> Mapping[str, Found]:
    """Return the refused files of each exchange."""
    from crypto_assets.quality.quarantine.refused_files import refused_files, states_now

    files = refused_files(lake.lake(), collection)
    states = states_now(ledger, files)
    result = {}
    for exchange in exchanges:
        # A file of an unknown exchange concerns every exchange.
        mine = [file for file in files if file.exchange in ("", exchange)]
        table = _table(mine, states)
        result[exchange] = Found(
            "\n".join([str(len({file.path for file in mine})), *table]), _metadata(mine, states, table)
        )
    return result


def _table(files: Sequence[Any], states: Mapping[Any, Any]) -> list[str]:
    """Return the rows of a table of the latest files."""
    from crypto_assets.quality.quarantine.refused_files import in_words

    rows = []
    for file in files[:SHOWN]:
        when = f"{file.refused_at:%Y-%m-%d %H:%M}" if file.refused_at else ""
        cells = (when, str(file), in_words(states[file.name]), file.error, str(file.size_bytes), file.reason, file.path)
        rows.append("|" + "|".join(map(markdown_cell, cells)) + "|")
    return rows


def _metadata(files: Sequence[Any], states: Mapping[Any, Any], table: Sequence[str]) -> dict[str, Any]:
    from crypto_assets.quality.quarantine.refused_files import all_stored

    head = "|refused, UTC|what|its days now|error|bytes|reason|path|\n|-|-|-|-|-|-|-|\n"
    return {
        "files": len({file.path for file in files}),
        "files whose days are missing": len({file.path for file in files if not all_stored(states[file.name])}),
        "bytes": sum({file.path: file.size_bytes or 0 for file in files}.values()),
        "refused files": dg.MetadataValue.md(head + "\n".join(table) if table else "none"),
    }


QUARANTINE = Observed(
    name="quarantine",
    interval_s=60,  # a tick lists quarantine/ and reads the reason of each file
    of_exchange=lambda exchange: (
        f"Files of {exchange} that were refused, with the reason. `crypto-assets quarantine restore` checks them again after "
        "a fix."
    ),
    description="Observes the refused files of the exchanges when they have changed since the last look.",
    look=look,
    kind="dashboard",
    uri=lambda at: at.quarantine,
)
