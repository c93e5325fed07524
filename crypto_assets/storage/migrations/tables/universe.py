"""Tables of the symbols that exchanges list and listed, and of those that were in a top."""

STATEMENTS = (
    """
    CREATE TABLE collection.universe (
        exchange text NOT NULL,
        market_type text NOT NULL,
        symbol text NOT NULL,
        source text NOT NULL CHECK (source IN ('archive', 'instruments')),
        exchange_symbol text NOT NULL,
        first_listed date,
        last_listed date,
        looked_at timestamptz,
        seen_from timestamptz NOT NULL,
        seen_until timestamptz,
        PRIMARY KEY (exchange, market_type, symbol, source)
    )
    """,
    "COMMENT ON TABLE collection.universe IS 'Every symbol that an archive or an API ever listed; rows are never removed.'",
    "COMMENT ON COLUMN collection.universe.exchange_symbol IS 'the exchange''s own name'",
    (
        "COMMENT ON COLUMN collection.universe.first_listed IS "
        "'first day with a file, or of trading as the exchange says; null: not known'"
    ),
    (
        "COMMENT ON COLUMN collection.universe.last_listed IS "
        "'last day of trading as the exchange says, or last day with a file when it was looked at; null: not known'"
    ),
    "COMMENT ON COLUMN collection.universe.looked_at IS 'when the files of the symbol were looked at; null: never'",
    "COMMENT ON COLUMN collection.universe.seen_from IS 'when a listing first had the symbol'",
    "COMMENT ON COLUMN collection.universe.seen_until IS 'when a listing had it no more; null: the last one has it'",
    """
    CREATE TABLE collection.universe_looks (
        exchange text NOT NULL,
        market_type text NOT NULL,
        source text NOT NULL,
        looked_at timestamptz NOT NULL,
        symbols integer NOT NULL,
        added integer NOT NULL,
        gone integer NOT NULL,
        PRIMARY KEY (exchange, market_type, source, looked_at)
    )
    """,
    "COMMENT ON TABLE collection.universe_looks IS 'Each time the symbols of a market were listed.'",
    """
    CREATE TABLE collection.universe_top (
        exchange text NOT NULL,
        market_type text NOT NULL,
        rule text NOT NULL,
        symbol text NOT NULL,
        first_day date NOT NULL,
        ranked_on date NOT NULL,
        quote_volume numeric NOT NULL,
        place integer NOT NULL,
        PRIMARY KEY (exchange, market_type, rule, symbol)
    )
    """,
    "COMMENT ON TABLE collection.universe_top IS 'Symbols that were in a top on any day; they stay collected.'",
    "COMMENT ON COLUMN collection.universe_top.rule IS 'as collection.yaml says it: top 50 by quote volume of */USDT'",
    "COMMENT ON COLUMN collection.universe_top.first_day IS 'first day on which the symbol was in the top'",
    "COMMENT ON COLUMN collection.universe_top.ranked_on IS 'the day before first_day, whose quote volume decided'",
)
