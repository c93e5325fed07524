"""The tables of checks: what each needs, judges and does, from `crypto_assets/checks/`."""

from __future__ import annotations

from itertools import product

from crypto_assets.checks import all_rules, rules_of
from crypto_assets.datasets import all_datasets
from crypto_assets.defs.asset_checks import ALL_DAYS_COMPLETE
from crypto_assets.engine.publication.warehouse_rows import ROWS_MATCH_LAKE
from crypto_assets.model import MARKET_TYPES, TIMEFRAMES, Rule, Series
from docs_site.tables import table

_LOOKS_AT = {
    "Check": "rows",
    "SeamCheck": "days beside",
    "HistoryCheck": "weeks before",
    "SourceCheck": "file",
    "ArrangementCheck": "file",
    "Comparison": "other source",
}


def of_days() -> str:
    """Return the table of the checks of days."""
    return table(
        ("check", "needs the columns", "of", "looks at", "severity", "passes when"),
        (
            (
                f"`{rule.name}`",
                " or ".join(", ".join(columns) for columns in (rule.columns, *rule.or_columns)) or "none",
                ", ".join(tables_of(rule)),
                _LOOKS_AT[type(rule).__name__],
                rule.severity.value,
                rule.description,
            )
            for rule in all_rules()
        ),
    )


def tables_of(rule: Rule) -> list[str]:
    """Return the datasets that a check judges, at least of some market type or timeframe."""
    return [
        name
        for name, dataset in all_datasets().items()
        for timeframes in [TIMEFRAMES if dataset.has_timeframes else (None,)]
        if any(rule in rules_of(Series("binance", *of)) for of in product(MARKET_TYPES, [name], timeframes))
    ]


def of_assets() -> str:
    """Return the table of the checks that compare the stores with the ledger."""
    of = {ALL_DAYS_COMPLETE.name: "every asset, as a whole", ROWS_MATCH_LAKE.name: "warehouse assets, each day"}
    return table(
        ("check", "of", "severity", "passes when"),
        (
            (f"`{rule.name}`", of[rule.name], rule.severity.value, rule.description)
            for rule in (ALL_DAYS_COMPLETE, ROWS_MATCH_LAKE)
        ),
    )
