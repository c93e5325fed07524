"""The tables of the warehouse and of the ledger."""

from alembic import op

from crypto_assets.storage.reader import readable

revision = "0001"
down_revision = None

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

_COLLECTION = """
CREATE TABLE collection.migrated (
    revision text PRIMARY KEY,
    program text NOT NULL,
    migrated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE collection.migrated IS 'Which version of crypto_assets has brought the tables to which revision, and when.';

CREATE TABLE collection.archive_objects (
    exchange text NOT NULL,
    key text NOT NULL,
    size_bytes bigint NOT NULL,
    etag text NOT NULL,
    last_modified timestamptz,
    published_sha256 text,
    computed_sha256 text,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (exchange, key)
);
COMMENT ON TABLE collection.archive_objects IS 'Every archive object seen in a listing.';

CREATE TABLE collection.partitions (
    exchange text NOT NULL,
    market_type text NOT NULL,
    symbol text NOT NULL,
    dataset text NOT NULL,
    day date NOT NULL,
    state text NOT NULL CHECK (state IN
        ('pending', 'available', 'provisional', 'degraded', 'missing', 'no_data', 'corrected')),
    reason text NOT NULL DEFAULT '',
    evidence jsonb NOT NULL DEFAULT '{}',
    rows bigint,
    size_bytes bigint,
    content_sha256 text,
    path text,
    source text,
    source_key text,
    source_etag text,
    source_size_bytes bigint,
    source_sha256 text,
    source_published_sha256 text,
    source_last_modified timestamptz,
    failed_checks text[] NOT NULL DEFAULT '{}',
    findings jsonb NOT NULL DEFAULT '{}',
    attempt_error text,
    run_id text,
    collected_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (exchange, market_type, symbol, dataset, day)
);
CREATE INDEX partitions_updated_at ON collection.partitions (updated_at);
CREATE INDEX partitions_edges ON collection.partitions (exchange, market_type, symbol, dataset, day)
    WHERE evidence ?| ARRAY['listed_from', 'listed_until'];
CREATE INDEX partitions_without_data ON collection.partitions (exchange, market_type, symbol, dataset, day)
    WHERE state = 'no_data' AND NOT evidence ? 'opens';
COMMENT ON TABLE collection.partitions IS 'The state of every symbol and day that was ever asked for.';
COMMENT ON COLUMN collection.partitions.size_bytes IS 'of the Parquet file';
COMMENT ON COLUMN collection.partitions.content_sha256 IS 'of the Parquet file';
COMMENT ON COLUMN collection.partitions.source_sha256 IS 'of the downloaded bytes';
COMMENT ON COLUMN collection.partitions.attempt_error IS
    'why the last attempt to collect the day again failed, while the former version stays in force';

CREATE TABLE collection.lakes (
    id text PRIMARY KEY,
    url text NOT NULL,
    first_used timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE collection.lakes IS 'The lakes that days were collected into; the ledger speaks of the one used last.';
COMMENT ON COLUMN collection.lakes.id IS 'of _lake.json in its root; a copy of the lake at another place has the same';

CREATE TABLE collection.asset_days (
    table_name text NOT NULL,
    day date NOT NULL,
    rows bigint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, day)
);
COMMENT ON TABLE collection.asset_days IS 'The days that assets of your own are stored for in the schema assets.';

CREATE TABLE collection.warehouse_loads (
    table_name text NOT NULL,
    exchange text NOT NULL,
    market_type text NOT NULL,
    symbol text NOT NULL,
    dataset text NOT NULL,
    day date NOT NULL,
    content text NOT NULL,
    rows bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, exchange, market_type, symbol, dataset, day)
);
COMMENT ON TABLE collection.warehouse_loads IS 'What each table of the warehouse holds of each day, by content.';
"""


def upgrade() -> None:
    """Create everything."""
    op.execute("CREATE SCHEMA IF NOT EXISTS market")
    op.execute(readable("market"))
    for table, definition in _MARKET.items():
        op.execute(f"CREATE TABLE market.{table} ({definition})")
        for column, text in _COMMENTS[table].items():
            what = f"COLUMN market.{table}.{column}" if column else f"TABLE market.{table}"
            op.execute(f"COMMENT ON {what} IS '{text}'")
    # A driver would read the colons of a bound parameter; there are none here.
    for statement in _COLLECTION.split(";\n"):
        if statement.strip():
            op.execute(statement)
