"""Tables of the ledger's days, of lakes and loads, and of the program versions that migrated the tables."""

STATEMENTS = (
    """
    CREATE TABLE collection.migrated (
        revision text PRIMARY KEY,
        program text NOT NULL,
        migrated_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    (
        "COMMENT ON TABLE collection.migrated IS "
        "'Which version of crypto_assets brought the tables to which revision, and when.'"
    ),
    """
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
        source_published_digest text,
        source_last_modified timestamptz,
        source_files jsonb NOT NULL DEFAULT '[]',
        source_contract_size text,
        failed_checks text[] NOT NULL DEFAULT '{}',
        findings jsonb NOT NULL DEFAULT '{}',
        judged_by text NOT NULL DEFAULT '',
        attempt_error text,
        run_id text,
        collected_at timestamptz,
        known_from timestamptz,
        corrections integer NOT NULL DEFAULT 0,
        reported_at timestamptz,
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (exchange, market_type, symbol, dataset, day)
    )
    """,
    "CREATE INDEX partitions_updated_at ON collection.partitions (updated_at)",
    """
    CREATE INDEX partitions_edges ON collection.partitions (exchange, market_type, symbol, dataset, day)
        WHERE evidence ?| ARRAY['listed_from', 'listed_until']
    """,
    """
    CREATE INDEX partitions_without_data ON collection.partitions (exchange, market_type, symbol, dataset, day)
        WHERE state = 'no_data' AND NOT evidence ? 'opens'
    """,
    "COMMENT ON TABLE collection.partitions IS 'The state of every symbol and day ever requested.'",
    "COMMENT ON COLUMN collection.partitions.size_bytes IS 'of the Parquet file'",
    "COMMENT ON COLUMN collection.partitions.content_sha256 IS 'of the Parquet file'",
    """
    COMMENT ON COLUMN collection.partitions.source_key IS 'of the file in the archive; of several, joined with +'
    """,
    "COMMENT ON COLUMN collection.partitions.source_sha256 IS 'of the downloaded bytes; of several files, of their sha256'",
    "COMMENT ON COLUMN collection.partitions.source_published_digest IS 'of the exchange, as sha256:… or md5:…'",
    (
        "COMMENT ON COLUMN collection.partitions.source_contract_size IS "
        "'contract size by which amounts in contracts were converted; null: they were not'"
    ),
    """
    COMMENT ON COLUMN collection.partitions.source_files IS
        'key, size, etag, digests and time of each file, if the day came from several; empty: the one file of source_key'
    """,
    """
    COMMENT ON COLUMN collection.partitions.attempt_error IS
        'why the last attempt to collect the day again failed, while the former version stays in force'
    """,
    """
    COMMENT ON COLUMN collection.partitions.judged_by IS
        'names what findings depend on besides the rows; while it is the same, no new check is needed. Empty: always check'
    """,
    "COMMENT ON COLUMN collection.partitions.known_from IS 'since when the stored rows are known'",
    "COMMENT ON COLUMN collection.partitions.corrections IS 'how often stored rows were replaced by others'",
    "COMMENT ON COLUMN collection.partitions.reported_at IS 'when this outcome was reported to Dagster; null: not yet'",
    "CREATE INDEX partitions_unreported ON collection.partitions (updated_at) WHERE reported_at IS NULL",
    """
    CREATE TABLE collection.lakes (
        id text PRIMARY KEY,
        url text NOT NULL,
        first_used timestamptz NOT NULL DEFAULT clock_timestamp(),
        last_used timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    COMMENT ON TABLE collection.lakes IS 'Lakes that days were collected into; the ledger describes the last used one.'
    """,
    """
    COMMENT ON COLUMN collection.lakes.id IS 'from _lake.json in its root; a copy of the lake has the same id'
    """,
    """
    CREATE TABLE collection.origins (
        exchange text NOT NULL,
        origin text NOT NULL,
        first_used timestamptz NOT NULL DEFAULT clock_timestamp(),
        last_used timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (exchange, origin)
    )
    """,
    """
    COMMENT ON TABLE collection.origins IS
        'Archives that days were collected from; another archive than the last used one is refused.'
    """,
    """
    COMMENT ON COLUMN collection.origins.origin IS
        'scheme and host of the archive; a sandbox is "a server on this machine", and its prices are not real'
    """,
    """
    CREATE TABLE collection.asset_days (
        table_name text NOT NULL,
        day date NOT NULL,
        rows bigint NOT NULL,
        stored_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (table_name, day)
    )
    """,
    """
    COMMENT ON TABLE collection.asset_days IS 'Stored days of assets of your own, in the schema assets.'
    """,
    """
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
    )
    """,
    """
    COMMENT ON TABLE collection.warehouse_loads IS 'The content id of each day in each table of the warehouse.'
    """,
)
