"""Columns of words (`buy`, `sell`) in one form: equal rows give equal bytes."""

from __future__ import annotations

from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets.model import Column, Dataset


def in_order_of_words(rows: pa.Table, dataset: Dataset) -> pa.Table:
    """Return rows whose columns of words have the dataset's words, in alphabetical order, as dictionaries."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(place, field, _canonical(rows.column(place), dataset.column(field.name)))
    return rows


def _canonical(column: pa.ChunkedArray, declared: Column) -> pa.ChunkedArray:
    vocabulary = _vocabulary(declared.words)
    if column.num_chunks and all(chunk.dictionary.equals(vocabulary) for chunk in column.chunks):
        return column
    text = column.cast(pa.string())
    indices = pc.index_in(text, vocabulary)
    if indices.null_count > (text.null_count if declared.nullable else 0):
        raise ValueError(f"{declared.name}: expected the words {', '.join(sorted(declared.words))}, found others")
    chunks = [pa.DictionaryArray.from_arrays(part.cast(pa.int8()), vocabulary) for part in indices.chunks]
    return pa.chunked_array(chunks, column.type)


@cache
def _vocabulary(words: tuple[str, ...]) -> pa.Array:
    # Made late: the first `pa.array` of a list imports pandas, 0.3 CPU seconds; commands like `status` do not need it.
    return pa.array(sorted(words))
