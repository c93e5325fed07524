"""Tables of instruments: what exchanges say about their symbols, versioned in time, and the looks at them."""

from crypto_assets.storage.reader import readable

STATEMENTS = (
    """
    CREATE TABLE market.instruments (
        exchange text NOT NULL,
        market_type text NOT NULL,
        symbol text NOT NULL,
        exchange_symbol text NOT NULL,
        base text NOT NULL,
        quote text NOT NULL,
        settle text,
        contract_size numeric NOT NULL CHECK (contract_size > 0),
        inverse boolean NOT NULL,
        tick_size numeric,
        lot_size numeric,
        listed_at timestamptz,
        delisted_at timestamptz,
        status text NOT NULL,
        renamed_from text,
        valid_from timestamptz NOT NULL,
        valid_until timestamptz,
        PRIMARY KEY (exchange, market_type, exchange_symbol, valid_from),
        CHECK (valid_until > valid_from)
    )
    """,
    (
        "CREATE UNIQUE INDEX instruments_now ON market.instruments (exchange, market_type, symbol) "
        "WHERE valid_until IS NULL"
    ),
    "CREATE INDEX instruments_symbol ON market.instruments (exchange, market_type, symbol, valid_from)",
    (
        "COMMENT ON TABLE market.instruments IS 'What each exchange said about its symbols: a row for each version. "
        "Written only when an answer differs from the one before.'"
    ),
    "COMMENT ON COLUMN market.instruments.exchange IS 'the ccxt id: binance'",
    "COMMENT ON COLUMN market.instruments.market_type IS 'spot, linear or inverse'",
    "COMMENT ON COLUMN market.instruments.base IS 'the asset that is bought and sold'",
    "COMMENT ON COLUMN market.instruments.quote IS 'the asset of prices'",
    "COMMENT ON COLUMN market.instruments.settle IS 'the asset of margin and profit; null on spot'",
    "COMMENT ON COLUMN market.instruments.inverse IS 'whether a contract is an amount of quote'",
    "COMMENT ON COLUMN market.instruments.symbol IS 'unified: BTC/USDT, BTC/USDT:USDT'",
    "COMMENT ON COLUMN market.instruments.exchange_symbol IS 'the exchange''s own name: BTCUSDT'",
    "COMMENT ON COLUMN market.instruments.contract_size IS 'amount of a contract in base, or in quote if inverse; 1: none'",
    "COMMENT ON COLUMN market.instruments.tick_size IS 'step of prices, quote per base'",
    "COMMENT ON COLUMN market.instruments.lot_size IS 'step of amounts: base, or contracts if contract_size is not 1'",
    "COMMENT ON COLUMN market.instruments.listed_at IS 'as the exchange says; null: it does not'",
    "COMMENT ON COLUMN market.instruments.delisted_at IS 'end of trading as the exchange says; null: it does not'",
    "COMMENT ON COLUMN market.instruments.status IS 'the exchange''s own word'",
    "COMMENT ON COLUMN market.instruments.renamed_from IS 'earlier name at the exchange, where it says so'",
    "COMMENT ON COLUMN market.instruments.valid_from IS 'when an answer first said this; earlier it may have been so too'",
    (
        "COMMENT ON COLUMN market.instruments.valid_until IS "
        "'when an answer first said something else, or did not have the symbol any more; null: it is so now'"
    ),
    # The reader's rights on `market` are granted before these tables exist.
    readable("market"),
    """
    CREATE TABLE collection.instrument_looks (
        exchange text NOT NULL,
        market_type text NOT NULL,
        asked_at timestamptz NOT NULL,
        instruments integer NOT NULL,
        added integer NOT NULL,
        changed integer NOT NULL,
        gone integer NOT NULL,
        PRIMARY KEY (exchange, market_type, asked_at)
    )
    """,
    "COMMENT ON TABLE collection.instrument_looks IS 'Each time an exchange was asked for its instruments.'",
    "COMMENT ON COLUMN collection.instrument_looks.instruments IS 'symbols in the answer'",
    "COMMENT ON COLUMN collection.instrument_looks.gone IS 'symbols of the answer before that are not in this one'",
)
