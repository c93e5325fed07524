"""Find stored days whose rows collection.yaml loads into Postgres, but which its tables do not have."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

from crypto_assets.model import STORED_STATES, Track, TrackDay

if TYPE_CHECKING:
    import psycopg

    from crypto_assets.config.collection import Collection

# The third part of a content id of 1m bars names the timeframes that were built (`crypto_assets.rows.loads`).
_QUERY = """
SELECT w.n, p.day, CASE WHEN coalesce(l.content, '') = '' THEN 'none'
    WHEN starts_with(l.content, p.content_sha256) THEN 'built' ELSE 'version' END
FROM unnest(%(tables)s::text[], %(exchanges)s::text[], %(market_types)s::text[], %(symbols)s::text[], %(datasets)s::text[],
        %(firsts)s::date[], %(lasts)s::date[], %(built)s::text[]) WITH ORDINALITY
    AS w (table_name, exchange, market_type, symbol, dataset, first, last, built, n)
JOIN collection.partitions p USING (exchange, market_type, symbol, dataset)
LEFT JOIN collection.warehouse_loads l USING (table_name, exchange, market_type, symbol, dataset, day)
WHERE p.path IS NOT NULL AND p.state = ANY(%(states)s) AND p.day BETWEEN w.first AND w.last
    AND (l.content IS NULL OR NOT starts_with(l.content, p.content_sha256) OR split_part(l.content, '/', 3) <> w.built)
ORDER BY w.n, p.day
"""

_REASONS = {
    "none": "its rows are not in Postgres: market.{table} does not have them",
    "version": "its rows in Postgres are of another version: market.{table} has not loaded the stored file",
    "built": "its built bars in Postgres are of other timeframes than `derived_timeframes` in collection.yaml",
}


def days_not_loaded(
    connection: psycopg.Connection[Any],
    collection: Collection,
    tracks: Container[Track] | None = None,
    first: date | None = None,
    last: date | None = None,
) -> dict[TrackDay, str]:
    """Return the stored days whose rows a table should have and does not, with the reason.

    Three kinds: not loaded, or the leaf was emptied or dropped; loaded from another version of the file; built bars of other
    timeframes. `crypto-assets fill` loads them from the lake. One query, and the size of each leaf.
    """
    # PyArrow costs 0.1 CPU seconds to import; a lake-only collection does not need it here.
    from crypto_assets.rows.loads import derivation
    from crypto_assets.storage.warehouse import emptied_loads

    wanted: list[tuple[str, Track, date, date, str | None]] = []
    for table, track, begin, end in _tables(collection, tracks):
        built = None
        if (table, track.series.dataset) == ("ohlcv", "ohlcv_1m"):
            names = track.series.exchange, track.series.market_type, track.symbol
            built = derivation(collection.built_timeframes(*names))
        wanted.append((table, track, max(begin, first or begin), min(end, last or end), built))
    if not wanted:
        return {}
    values = {
        "tables": [table for table, *_ in wanted],
        "exchanges": [track.series.exchange for _, track, *_ in wanted],
        "market_types": [track.series.market_type for _, track, *_ in wanted],
        "symbols": [track.symbol for _, track, *_ in wanted],
        "datasets": [track.series.dataset for _, track, *_ in wanted],
        "firsts": [begin for *_, begin, _, _ in wanted],
        "lasts": [end for *_, end, _ in wanted],
        "built": [built for *_, built in wanted],
        "states": sorted(STORED_STATES),
    }
    found = {}
    for number, day, kind in connection.execute(_QUERY, values).fetchall():
        table, (series, symbol), *_ = wanted[number - 1]
        found[TrackDay(series, symbol, day)] = _REASONS[kind].format(table=table)
    configured = {(table, track) for table, track, *_ in wanted}
    for leaf, table, series, symbol, days in emptied_loads(connection, first, last):
        if (table, Track(series, symbol)) in configured:
            emptied = f"its rows are missing in Postgres: market.{leaf} was emptied"
            found |= {TrackDay(series, symbol, day): emptied for day in days}
    return found


def _tables(collection: Collection, tracks: Container[Track] | None) -> Iterator[tuple[str, Track, date, date]]:
    """Yield every table of every symbol of a collection, with the first and the last day of its entry."""
    for entry in collection.series:
        tables = {series: entry.tables_of(series) for series in entry.series}
        for track in entry.tracks:
            if tracks is None or track in tracks:
                for table in tables[track.series]:
                    yield table, track, entry.start, entry.until(date.max)
