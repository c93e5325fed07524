"""How long after the end of a period its object appeared, as far as that was seen, and what checks of the file make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from crypto_assets import sources
from crypto_assets.checks import of_kind
from crypto_assets.checks.published_in_time import WATCHED, period_end
from crypto_assets.model import Finding, Partition, Series, SourceCheck, SourceFile

if TYPE_CHECKING:
    from crypto_assets.storage.database import Database

_OBJECTS = 400
"""So many of the latest objects of a series tell what is usual."""


class Delays:
    """What is usual for the series of one run, asked once for each; safe to use from one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._usual: dict[Series, dict[str, float]] = {}

    def findings(self, series: Series, sources: Mapping[Partition, SourceFile]) -> dict[Partition, dict[str, Finding]]:
        """Return what the checks of files say of the files that some days came from."""
        checks = of_kind(series, SourceCheck)
        if not checks or not sources:
            return {partition: {} for partition in sources}
        keys = [source.key for source in sources.values() if source.source == "archive"]
        with self._database.transaction() as connection:
            if series not in self._usual:
                self._usual[series] = _seen(connection, series, _latest_keys(connection, series))
            self._usual[series] |= _seen(connection, series, keys)
        usual = sorted(self._usual[series].values())
        return {
            partition: {check.name: check.judge(source, partition, series, usual) for check in checks}
            for partition, source in sources.items()
        }


def _latest_keys(connection: psycopg.Connection[Any], series: Series) -> list[str]:
    rows = connection.execute(
        """SELECT source_key FROM collection.partitions
        WHERE (exchange, market_type, dataset) = (%s, %s, %s) AND source = 'archive'
        GROUP BY 1 ORDER BY max(day) DESC LIMIT %s""",
        (series.exchange, series.market_type, series.dataset, _OBJECTS),
    ).fetchall()
    return [key for (key,) in rows]


def _seen(connection: psycopg.Connection[Any], series: Series, keys: Sequence[str]) -> dict[str, float]:
    """Return the seconds from the end of the period to the publication, by key, of objects that were seen to appear."""
    if not keys:
        return {}
    exchange = sources.get(series.exchange)
    rows = connection.execute(
        """SELECT key, first_modified, first_seen FROM collection.archive_objects
        WHERE exchange = %s AND key = ANY(%s) AND first_modified IS NOT NULL""",
        (series.exchange, list(set(keys))),
    ).fetchall()
    return {
        key: (modified - end).total_seconds()
        for key, modified, seen in rows
        if seen - (end := period_end(exchange, key)) <= WATCHED
    }
