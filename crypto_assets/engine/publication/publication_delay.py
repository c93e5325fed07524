"""Observed delays from the end of a period to the publication of its object, and the findings of file checks on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_assets import sources
from crypto_assets.checks import of_kind
from crypto_assets.checks.published_in_time import WATCHED
from crypto_assets.ledger.objects import latest_keys, seen_objects
from crypto_assets.model import Finding, Partition, Series, SourceCheck, SourceFile

if TYPE_CHECKING:
    from crypto_assets.storage.database import Database

_OBJECTS = 400
"""The number of latest objects of a series that define the usual delay."""


class Delays:
    """The usual delays of the series of one run, read once for each; safe to use from one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._usual: dict[Series, dict[str, float]] = {}

    def findings(self, series: Series, sources: Mapping[Partition, SourceFile]) -> dict[Partition, dict[str, Finding]]:
        """Return the findings of the file checks for the files that some days came from."""
        checks = of_kind(series, SourceCheck)
        if not checks or not sources:
            return {partition: {} for partition in sources}
        keys = [source.key for source in sources.values() if source.source == "archive"]
        with self._database.transaction() as connection:
            if series not in self._usual:
                self._usual[series] = _seen(connection, series, latest_keys(connection, series, _OBJECTS))
            self._usual[series] |= _seen(connection, series, keys)
        usual = sorted(self._usual[series].values())
        return {
            partition: {check.name: check.judge(source, partition, series, usual) for check in checks}
            for partition, source in sources.items()
        }


def _seen(connection: psycopg.Connection[Any], series: Series, keys: Sequence[str]) -> dict[str, float]:
    """Return the seconds from the end of the period to the publication, by key, for objects whose appearance was observed."""
    if not keys:
        return {}
    return {
        one.key: (one.first_modified - end).total_seconds()
        for one in seen_objects(connection, series.exchange, keys)
        if one.first_seen - (end := sources.span_of(series, one.key).end) <= WATCHED
    }
