"""The places in the code that make an asset, as Dagster links them: a file of this installation and the line in it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import dagster as dg

from crypto_assets import datasets, sources

Place = tuple[str, str, str]
"""A module, the beginning of the line, and the words of the link."""


def code_references(*places: Place) -> dg.CodeReferencesMetadataValue:
    """Return the links to some places; a module without a file, as in a zip, has none."""
    links: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
        link for place in places if (link := _link(place)) is not None
    ]
    return dg.CodeReferencesMetadataValue(code_references=links)


@cache
def _link(place: Place) -> dg.LocalFileCodeReference | None:
    module, begin, label = place
    found = find_spec(module)
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return None
    lines = Path(found.origin).read_text(encoding="utf-8").splitlines()
    line = next((number for number, text in enumerate(lines, 1) if text.startswith(begin)), 1)
    return dg.LocalFileCodeReference(file_path=found.origin, line_number=line, label=label)


def code_of_table(table: str) -> Place:
    """Return the declaration of a dataset."""
    return datasets.module_of(table), "DATASET = ", "its columns"


def code_of_source(exchange: str) -> Place:
    """Return the module of an exchange."""
    return type(sources.get(exchange)).__module__, "class ", "its source"
