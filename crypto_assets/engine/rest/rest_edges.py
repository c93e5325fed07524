"""Finds where a symbol's life begins or ends inside a day from REST."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.engine.archive.life_span import Edge, LifeSpan
from crypto_assets.engine.archive.lifetime import Asks
from crypto_assets.model import Partition, Series
from crypto_assets.rows.bar_calendar import LONG_TIMEFRAMES
from crypto_assets.rows.row_ends import instant, is_open, row_length


def of_rest(
    asks: Asks, series: Series, partition: Partition, rows: pa.Table, now: datetime, *, may_begin: bool
) -> LifeSpan:
    """Return where a symbol begins and ends in a past day from REST; only the exchange is asked.

    Args:
        may_begin: false if the symbol is known to be older than the day.

    Raises:
        CryptoAssetsError: the exchange does not answer.
    """
    symbol = partition.symbol
    times = rows.column(datasets.get(series.table).time_column).cast(pa.int64()).to_numpy()
    expires_at = sources.get(series.exchange).expires_at(symbol)
    ends = Edge(expires_at, {"source": "name"}) if expires_at and expires_at.date() == partition.day else None
    if not len(times) or series.timeframe in LONG_TIMEFRAMES:
        return LifeSpan(None, ends)
    first, last = instant(times.min()), instant(times.max()) + row_length(series)
    asked = {"source": "exchange", "exchange_asked": now.isoformat(), "looked_at": now.isoformat()}
    begins = None
    if may_begin and is_open(series, partition.start, first):
        said = asks.first(series, symbol)
        if said is not None and partition.start <= said < partition.end:
            begins = Edge(min(first, said), {**asked, "exchange_first": said.isoformat()})
    if ends is None and is_open(series, last, partition.end, rows):
        latest = asks.latest(series, symbol)
        if latest.ended and latest.until is not None and partition.start < latest.until < partition.end:
            ends = Edge(max(last, latest.until), {**asked, "exchange_status": latest.status})
    return LifeSpan(begins, ends)
