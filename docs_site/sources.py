"""What the sources publish: feeds of each series, and the columns that are null there with the reason."""

from __future__ import annotations

from crypto_assets.model import Series
from crypto_assets.sources.offers import alike, offers
from docs_site.tables import table


def of_series() -> str:
    """Return the table of everything that can be collected; timeframes that are alike share a row."""
    rows = []
    for group in alike(offers()):
        first, names = group[0], ", ".join(f"`{one.series.dataset}`" for one in group)
        rows.append((first.series.exchange, first.series.market_type, names, first.feeds_in_words, first.since))
    return table(("source", "market type", "datasets", "feeds, in order of preference", "since"), rows)


def null_columns() -> str:
    """Return the table of the columns that are null in every row of a series, one row for each reason."""
    found: dict[tuple[str, str, str], tuple[list[str], list[str]]] = {}
    for one in offers():
        for column, why in one.null_columns.items():
            columns, markets = found.setdefault((one.series.exchange, _name(one.series), why), ([], []))
            columns += [column] if column not in columns else []
            markets += [one.series.market_type] if one.series.market_type not in markets else []
    rows = [
        (exchange, name, ", ".join(markets), ", ".join(f"`{column}`" for column in columns), why)
        for (exchange, name, why), (columns, markets) in found.items()
    ]
    return table(("source", "dataset", "market types", "columns that are null", "why"), rows)


def _name(series: Series) -> str:
    return f"`{series.table}`"
