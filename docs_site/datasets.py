"""The data dictionary: every column of every dataset, from `crypto_assets/datasets/`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crypto_assets import datasets
from crypto_assets.datasets.types import KEYS, SOURCE, TIMEFRAME
from crypto_assets.model import Column, Dataset
from docs_site.tables import table


def columns_of_all() -> str:
    """Return the table of the columns that every table of the warehouse has."""
    return _table((*KEYS, TIMEFRAME, SOURCE))


def markdown() -> str:
    """Return a section for each dataset, those that are built from others last."""
    collected = datasets.all_datasets()
    built = {name: one for name, one in datasets.in_warehouse().items() if name not in collected}
    return "\n\n".join("\n\n".join(_section(name, one)) for name, one in (collected | built).items())


def _section(name: str, dataset: Dataset) -> Iterator[str]:
    yield f"## {name}"
    yield dataset.description
    keys = ", ".join(f"`{name}`" for name in dataset.key)
    place = [f"Key: {keys}", f"time: `{dataset.time_column}`"]
    if dataset.leaf:
        loaded = "" if dataset.to_warehouse or dataset.built_from else ", loaded if an entry lists it in `warehouse`"
        place.append(f"Postgres: `market.{dataset.table}`, one leaf a {dataset.leaf}{loaded}")
    if dataset.built_from:
        place.append(f"built from `{dataset.built_from}`, in Postgres only")
    yield "; ".join(place) + "."
    yield _table(dataset.columns)
    for rule in dataset.rules:
        yield f"In every row: {rule.name}."


def _table(columns: Iterable[Column]) -> str:
    return table(
        ("column", "type", "unit", "values", "meaning"),
        ((f"`{one.name}`", _type(one), one.unit, _values(one), one.doc) for one in columns),
    )


def _values(column: Column) -> str:
    words = (column.bounds, "may be null" * column.nullable, "not everywhere" * column.optional)
    return "; ".join(filter(None, words))


def _type(column: Column) -> str:
    if column.words:
        return "word"
    return {"decimal128(38, 18)": "decimal", "timestamp[us, tz=UTC]": "instant", "string": "text"}.get(
        str(column.type), str(column.type)
    )
