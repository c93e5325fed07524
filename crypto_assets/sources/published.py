"""What the exchange of a series publishes of its dataset: the columns, and the key of a row (`Facts`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from crypto_assets import datasets, sources
from crypto_assets.model import Dataset, Series


@cache
def dataset_of(series: Series) -> Dataset:
    """Return the dataset as the series has it: without the columns that its exchange does not publish, and with its key.

    Raises:
        KeyError: an unknown exchange. ValueError: its facts leave out a column that every source must have.
    """
    return datasets.get(series.table).published(unpublished(series), numbered=sources.facts(series).numbered)


@cache
def unpublished(series: Series) -> frozenset[str]:
    """Return the columns of the dataset that the exchange does not publish; they are null."""
    return frozenset(why_unpublished(series))


@cache
def why_unpublished(series: Series) -> Mapping[str, str]:
    """Return the columns that are null in every row of a series, in the order of the dataset, each with the reason.

    Numbers and places are never both there: rows have a place only if they have no number.
    """
    dataset, facts = datasets.get(series.table), sources.facts(series)
    if dataset.unnumbered_key == dataset.key:
        return facts.without  # no source numbers such rows
    why: dict[str, str] = {}
    if dataset.unnumbered_key:
        if facts.numbered:
            row = f"{dataset.row}s are numbered"
            why |= dict.fromkeys((one for one in dataset.unnumbered_key if one != dataset.time_column), row)
        else:
            beside = f"{dataset.row}s have no number; the key is {' and '.join(dataset.unnumbered_key)}"
            why |= dict.fromkeys(dataset.key, beside)
    if dataset.text_id is not None and facts.numbering != "text":
        numbered = f"{dataset.row}s have numbers, no texts"
        why[dataset.text_id] = numbered if facts.numbered else f"{dataset.row}s have no text of their own"
    why |= facts.without
    return {one.name: why[one.name] for one in dataset.columns if one.name in why} | why
