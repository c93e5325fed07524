"""The nouns of the package. Read this first.

A `Series` is what one exchange publishes about one kind of row: Binance spot 1m bars. A `Track` is one symbol of a series.
A `Partition` is one symbol of a series over one UTC day: the unit that is collected, stored, checked and counted. An
exchange publishes `ArchiveObject`s; one holds one or more partitions. A `Dataset` declares one kind of row by its `Column`s.
A `Check` reads the rows of a partition and returns a `Finding`; other `Rule`s read the days beside it (`SeamCheck`), the
weeks before (`HistoryCheck`), its file (`SourceCheck`) or another source (`Comparison`). An `Outcome` is the result for one
partition, with one of the `State`s, and a `Correction` if another version was stored before.

Each noun has a file; import the names from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crypto_assets.model.finding import NOT_JUDGED, SHOWN_ROWS, STORED_FILE, Finding, Severity, not_judged
from crypto_assets.model.outcome import Outcome
from crypto_assets.model.partition import DAY, Partition, day_spans, days_between
from crypto_assets.model.provenance import ArchiveObject, SourceFile, StoredFile, parts_of
from crypto_assets.model.series import (
    ALL_TYPES,
    MARKET_TYPES,
    TIMEFRAME_LENGTHS,
    TIMEFRAMES,
    Series,
    Track,
    TrackDay,
    bar_length,
)
from crypto_assets.model.span import Span
from crypto_assets.model.state import COMPLETE_STATES, STORED_STATES, State
from crypto_assets.model.symbols import path_symbol, unified_symbol

if TYPE_CHECKING:
    from crypto_assets.model.correction import Change, Correction, Difference, Example
    from crypto_assets.model.dataset import Column, Dataset, Leaf, RowRule
    from crypto_assets.model.instrument import Instrument
    from crypto_assets.model.profile import Profile
    from crypto_assets.model.rule import Check, Comparison, Fold, HistoryCheck, Rule, SeamCheck, SourceCheck

__all__ = [
    "ALL_TYPES",
    "COMPLETE_STATES",
    "DAY",
    "MARKET_TYPES",
    "NOT_JUDGED",
    "SHOWN_ROWS",
    "STORED_FILE",
    "STORED_STATES",
    "TIMEFRAMES",
    "TIMEFRAME_LENGTHS",
    "ArchiveObject",
    "Change",
    "Check",
    "Column",
    "Comparison",
    "Correction",
    "Dataset",
    "Difference",
    "Example",
    "Finding",
    "Fold",
    "HistoryCheck",
    "Instrument",
    "Leaf",
    "Outcome",
    "Partition",
    "Profile",
    "RowRule",
    "Rule",
    "SeamCheck",
    "Series",
    "Severity",
    "SourceCheck",
    "SourceFile",
    "Span",
    "State",
    "StoredFile",
    "Track",
    "TrackDay",
    "bar_length",
    "day_spans",
    "days_between",
    "not_judged",
    "parts_of",
    "path_symbol",
    "unified_symbol",
]

_LATER = {
    "correction": ("Change", "Correction", "Difference", "Example"),
    "dataset": ("Column", "Dataset", "Leaf", "RowRule"),
    "instrument": ("Instrument",),
    "profile": ("Profile",),
    "rule": ("Check", "Comparison", "Fold", "HistoryCheck", "Rule", "SeamCheck", "SourceCheck"),
}
"""The nouns of parsing and checking, by file. They load on first use: `status` needs none (6 ms of CPU)."""


def __getattr__(name: str) -> Any:
    for file, names in _LATER.items():
        if name in names:
            found = getattr(import_module(f"crypto_assets.model.{file}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
