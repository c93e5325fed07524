"""Filters by exchange, market type, symbol and dataset. An unknown value is an error: an empty answer would be wrong."""

from __future__ import annotations

from difflib import get_close_matches

from crypto_assets.access.problem import Problem
from crypto_assets.api.context import Context
from crypto_assets.api.parameters import Tracks
from crypto_assets.config.collection import Collection
from crypto_assets.ledger.series_names import NAMES, has_records
from crypto_assets.model.symbols import similar_symbols

_SHOWN = 12


def series_filters(asked: Tracks, here: Context) -> dict[str, list[str] | None]:
    """Return the values of each of `NAMES` in a request, None if it is not a filter.

    Raises:
        Problem: a value that neither collection.yaml nor the ledger has.
    """
    given: dict[str, list[str] | None] = {name: getattr(asked, name) or None for name in NAMES}
    if any(given.values()):
        known = _names(here.load_collection())
        for name, values in given.items():
            for value in values or ():
                if value not in known[name] and not has_records(here.ledger, name, value):
                    raise _unknown(name, value, known[name])
    return given


def _unknown(name: str, value: str, known: set[str]) -> Problem:
    close = similar_symbols(value, known) if name == "symbol" else get_close_matches(value, known, n=1)
    there = ", ".join(close[:1] or sorted(known)[:_SHOWN])
    return Problem(400, f"unknown {name}", f"such as {there}", value, "GET /v1/status names all")


def _names(collection: Collection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in NAMES}
    for entry in (*collection.series, *collection.ruled):
        found["symbol"].update(entry.symbols)
        for series in entry.series:
            for name in ("exchange", "market_type", "dataset"):
                found[name].add(getattr(series, name))
    return found
