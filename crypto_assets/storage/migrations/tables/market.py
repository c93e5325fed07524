"""The warehouse: schema `market`, one table a dataset, partitioned by time."""

from collections.abc import Iterator

from crypto_assets.storage.reader import readable

_KEYS = """
    exchange text NOT NULL,
    market_type text NOT NULL,
    symbol text NOT NULL,
"""

_MARKET = {
    "ohlcv": f"""{_KEYS}
        timeframe text NOT NULL,
        open_time timestamptz NOT NULL,
        open numeric NOT NULL,
        high numeric NOT NULL,
        low numeric NOT NULL,
        close numeric NOT NULL,
        volume numeric NOT NULL,
        quote_volume numeric NOT NULL,
        trade_count bigint,
        taker_buy_volume numeric,
        taker_buy_quote_volume numeric,
        source text NOT NULL,
        PRIMARY KEY (exchange, market_type, symbol, timeframe, open_time)
    ) PARTITION BY RANGE (open_time""",
    "trades": f"""{_KEYS}
        trade_time timestamptz NOT NULL,
        trade_id bigint NOT NULL,
        price numeric NOT NULL,
        amount numeric NOT NULL,
        quote_amount numeric NOT NULL,
        side text NOT NULL,
        PRIMARY KEY (exchange, market_type, symbol, trade_time, trade_id)
    ) PARTITION BY RANGE (trade_time""",
    "agg_trades": f"""{_KEYS}
        trade_time timestamptz NOT NULL,
        agg_trade_id bigint NOT NULL,
        price numeric NOT NULL,
        amount numeric NOT NULL,
        first_trade_id bigint NOT NULL,
        last_trade_id bigint NOT NULL,
        side text NOT NULL,
        PRIMARY KEY (exchange, market_type, symbol, trade_time, agg_trade_id)
    ) PARTITION BY RANGE (trade_time""",
    "funding_rates": f"""{_KEYS}
        funding_time timestamptz NOT NULL,
        funding_rate numeric NOT NULL,
        funding_interval_hours smallint NOT NULL,
        PRIMARY KEY (exchange, market_type, symbol, funding_time)
    ) PARTITION BY RANGE (funding_time""",
    "trade_statistics_1m": f"""{_KEYS}
        open_time timestamptz NOT NULL,
        vwap numeric NOT NULL,
        buy_volume numeric NOT NULL,
        sell_volume numeric NOT NULL,
        quote_volume numeric NOT NULL,
        trade_count bigint NOT NULL,
        largest_trade numeric NOT NULL,
        PRIMARY KEY (exchange, market_type, symbol, open_time)
    ) PARTITION BY RANGE (open_time""",
}

_COMMENTS = {
    "ohlcv": {
        "": "Bars of [open_time, open_time + timeframe), UTC.",
        "open_time": "first instant of the bar",
        "volume": "traded amount in base",
        "quote_volume": "traded amount in quote",
        "taker_buy_volume": "base amount of trades whose taker bought",
        "taker_buy_quote_volume": "quote amount of trades whose taker bought",
        "source": "archive or rest: as published there; derived: built from 1m bars, all of which were there",
    },
    "trades": {
        "": "Trades as the exchange numbers them.",
        "price": "quote per base",
        "amount": "base",
        "quote_amount": "quote",
        "side": "what the taker did: buy or sell",
    },
    "agg_trades": {
        "": "Trades of one taker order at one price, merged by the exchange.",
        "price": "quote per base",
        "amount": "base",
        "side": "what the taker did: buy or sell",
    },
    "funding_rates": {
        "": "Funding events of perpetual contracts.",
        "funding_rate": "share of the position; longs pay shorts where it is positive",
    },
    "trade_statistics_1m": {
        "": "Statistics of the trades of each minute that has any, built from trades.",
        "vwap": "quote amount over base amount, 18 decimals",
        "buy_volume": "base amount of trades whose taker bought",
        "sell_volume": "base amount of trades whose taker sold",
        "quote_volume": "quote amount of all trades",
        "largest_trade": "base amount of the largest trade",
    },
}


def _statements() -> Iterator[str]:
    yield "CREATE SCHEMA IF NOT EXISTS market"
    yield readable("market")
    for table, definition in _MARKET.items():
        yield f"CREATE TABLE market.{table} ({definition})"
        for column, text in _COMMENTS[table].items():
            what = f"COLUMN market.{table}.{column}" if column else f"TABLE market.{table}"
            yield f"COMMENT ON {what} IS '{text}'"


STATEMENTS = tuple(_statements())
