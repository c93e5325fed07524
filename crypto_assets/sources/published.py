"""What the exchange of a series publishes of its dataset: the columns, and the key of a row (`Facts`)."""

from __future__ import annotations

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
    """Return the columns of the dataset that the exchange does not publish; they are null.

    Numbers and places are never both there: rows have a place only if they have no number.
    """
    dataset, facts = datasets.get(series.table), sources.facts(series)
    names = set(facts.without)
    if dataset.unnumbered_key == dataset.key:
        return frozenset(names)  # no source numbers such rows
    if dataset.unnumbered_key:
        place = {name for name in dataset.unnumbered_key if name != dataset.time_column}
        names |= place if facts.numbered else set(dataset.key)
    if dataset.text_id is not None and facts.numbering != "text":
        names.add(dataset.text_id)
    return frozenset(names)
