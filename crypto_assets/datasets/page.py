"""Build docs/datasets.md from the declared datasets: `python -m crypto_assets.datasets > docs/datasets.md`."""

from __future__ import annotations

from collections.abc import Iterator

from crypto_assets import datasets
from crypto_assets.datasets.types import KEYS, SOURCE, TIMEFRAME
from crypto_assets.model import Column, Dataset

_HEAD = """# Datasets

`python -m crypto_assets.datasets > docs/datasets.md` writes this page from `crypto_assets/datasets/`, where each column is
declared once. The same declaration gives the files of the lake, the contract that rows must meet (`contract` in
[checks](checks.md)) and the tables of the warehouse with their comments.

Decimals are `decimal(38,18)` in the lake and `numeric` in Postgres: what was published, digit for digit. *may be null*: the
column may be empty in single rows. *not everywhere*: some exchanges do not publish the column; Postgres has NULL there.

To add a dataset, write one file in `crypto_assets/datasets/` with a `DATASET`. `migrate`, which every command runs, creates
its table. Every check whose columns it has judges it. Then a source adds the dataset to its own (`crypto_assets/sources/`).

## Columns of every table

In the lake these values are in the path; `source` is in the metadata of the file.
"""


def page() -> str:
    blocks = [_HEAD, _table((*KEYS, TIMEFRAME, SOURCE)), ""]
    blocks.append("`timeframe` and `source` are columns of `ohlcv` only, whose table has bars of all timeframes.\n")
    collected = datasets.all_datasets()
    built = {name: one for name, one in datasets.in_warehouse().items() if name not in collected}
    for name, dataset in (collected | built).items():
        blocks += [f"## {name}\n", *_section(dataset), ""]
    return "\n".join(blocks).rstrip() + "\n"


def _section(dataset: Dataset) -> Iterator[str]:
    yield f"{dataset.description}\n"
    keys = ", ".join(f"`{name}`" for name in dataset.key)
    place = [f"Key: {keys}", f"time: `{dataset.time_column}`"]
    if dataset.leaf:
        loaded = "" if dataset.to_warehouse or dataset.built_from else ", loaded if an entry lists it in `warehouse`"
        place.append(f"Postgres: `market.{dataset.table}`, one leaf a {dataset.leaf}{loaded}")
    if dataset.built_from:
        place.append(f"built from `{dataset.built_from}`, in Postgres only")
    yield "; ".join(place) + ".\n"
    yield _table(dataset.columns)
    for rule in dataset.rules:
        yield f"\nIn every row: {rule.name}."


def _table(columns: tuple[Column, ...]) -> str:
    rows = ["| column | type | unit | values | meaning |", "|---|---|---|---|---|"]
    for one in columns:
        values = "; ".join(filter(None, (one.bounds, "may be null" * one.nullable, "not everywhere" * one.optional)))
        rows.append(f"| `{one.name}` | {_type(one)} | {one.unit} | {values} | {one.doc} |")
    return "\n".join(rows)


def _type(column: Column) -> str:
    if column.words:
        return "word"
    return {"decimal128(38, 18)": "decimal", "timestamp[us, tz=UTC]": "instant", "string": "text"}.get(
        str(column.type), str(column.type)
    )
