"""The views of schema `market`, with comments; `migrate` creates missing ones after the tables that they read."""

from __future__ import annotations

from collections.abc import Mapping

from crypto_assets.model.series import TIMEFRAME_LENGTHS
from crypto_assets.storage.comments import KEY_COMMENTS, commented

_LENGTHS = ", ".join(
    [f"('{name}', interval '{length.total_seconds():.0f} s')" for name, length in TIMEFRAME_LENGTHS.items()]
    + ["('1mo', interval '1 month')"]
)

# The symbols come from the recorded loads, one index probe for each (a loose scan); the newest bar of each is one probe of
# the newest leaf that has the symbol: leaves are ordered by time, so the scan stops at the first row. Reading the symbols
# from the bars, or with DISTINCT, would read every bar.
_LATEST_PRICES = f"""
CREATE VIEW market.latest_prices AS
WITH RECURSIVE loaded AS (
    (SELECT exchange, market_type, symbol, dataset FROM collection.warehouse_loads WHERE table_name = 'ohlcv'
        ORDER BY exchange, market_type, symbol, dataset LIMIT 1)
    UNION ALL
    SELECT next.* FROM loaded CROSS JOIN LATERAL (
        SELECT w.exchange, w.market_type, w.symbol, w.dataset FROM collection.warehouse_loads w
        WHERE w.table_name = 'ohlcv' AND (w.exchange, w.market_type, w.symbol, w.dataset)
            > (loaded.exchange, loaded.market_type, loaded.symbol, loaded.dataset)
        ORDER BY w.exchange, w.market_type, w.symbol, w.dataset LIMIT 1) AS next
)
SELECT DISTINCT ON (l.exchange, l.market_type, l.symbol) l.exchange, l.market_type, l.symbol, bar.close AS price,
    bar.open_time + t.length AS time, l.dataset, now() - (bar.open_time + t.length) AS age
FROM loaded l JOIN (VALUES {_LENGTHS}) AS t (timeframe, length) ON l.dataset = 'ohlcv_' || t.timeframe
CROSS JOIN LATERAL (
    SELECT o.open_time, o.close FROM market.ohlcv o
    WHERE (o.exchange, o.market_type, o.symbol, o.timeframe) = (l.exchange, l.market_type, l.symbol, t.timeframe)
    ORDER BY o.open_time DESC LIMIT 1) AS bar
ORDER BY l.exchange, l.market_type, l.symbol, bar.open_time + t.length DESC, t.length
"""

VIEWS: Mapping[str, tuple[str, ...]] = {
    "latest_prices": (
        _LATEST_PRICES,
        *commented(
            "market.latest_prices",
            "The newest price of each symbol with bars in Postgres: the close of its newest bar, of the shortest timeframe "
            "if several end together. It may be old: see age. Symbols in the lake only, or with trades only, are not in it.",
            KEY_COMMENTS
            | {
                "price": "the close of the bar; quote per base",
                "time": "the end of the bar; UTC",
                "dataset": "the dataset that the bar is from: ohlcv_1m",
                "age": "from the end of the bar to now",
            },
        ),
    ),
}
"""The statements that create each view, by its name."""
