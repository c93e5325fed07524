"""Tables whose rows the exchange numbers consecutively per symbol."""

from __future__ import annotations

from crypto_assets import datasets

NUMBERED = {
    name: dataset.key[0]
    for name, dataset in datasets.all_datasets().items()
    if dataset.key in (("trade_id",), ("agg_trade_id",)) and dataset.has(("price",))
}
"""The tables, and the column of the number."""

FEW_TRADES = 1_000
"""The numbers of a symbol begin with 0 or 1. Up to this many may be missing at its start (a choice, not a fact); if more came
before the archive's first row, its files do not begin where the symbol did."""
