"""Tables of former versions of partitions, corrections, and the publication journal."""

from crypto_assets.storage.migrations.tables.keys import PARTITION

STATEMENTS = (
    f"""
    CREATE TABLE collection.versions ({PARTITION}
        number integer NOT NULL,
        content_sha256 text NOT NULL,
        path text,
        rows bigint NOT NULL,
        source text NOT NULL,
        source_key text NOT NULL,
        source_etag text NOT NULL,
        source_sha256 text NOT NULL,
        source_files jsonb NOT NULL DEFAULT '[]',
        known_from timestamptz NOT NULL,
        known_to timestamptz NOT NULL,
        state text,
        state_reason text,
        until timestamptz,
        PRIMARY KEY (exchange, market_type, symbol, dataset, day, number)
    )
    """,
    "CREATE INDEX versions_path ON collection.versions (path)",
    "COMMENT ON TABLE collection.versions IS 'Former versions of stored days, with other rows; the first is number 1.'",
    "COMMENT ON COLUMN collection.versions.path IS 'of the kept file in the lake; null: it was damaged or missing already'",
    "COMMENT ON COLUMN collection.versions.source_files IS 'as in partitions'",
    "COMMENT ON COLUMN collection.versions.known_to IS 'when the next version replaced it'",
    "COMMENT ON COLUMN collection.versions.state IS 'of the day when the next version replaced it; null: unknown'",
    "COMMENT ON COLUMN collection.versions.until IS 'how far an unfinished day from REST went; null: to its end'",
    f"""
    CREATE TABLE collection.growth ({PARTITION}
        known_to timestamptz NOT NULL,
        rows bigint NOT NULL,
        PRIMARY KEY (exchange, market_type, symbol, dataset, day, known_to)
    )
    """,
    "COMMENT ON TABLE collection.growth IS 'Provisional days that grew: until known_to only the first rows were known.'",
    f"""
    CREATE TABLE collection.corrections (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {PARTITION}
        found_at timestamptz NOT NULL,
        run_id text,
        text text NOT NULL,
        version integer,
        former_sha256 text NOT NULL,
        sha256 text NOT NULL,
        former_source text NOT NULL,
        source text NOT NULL,
        former_source_key text NOT NULL,
        source_key text NOT NULL,
        former_source_sha256 text NOT NULL,
        source_sha256 text NOT NULL,
        former_rows bigint NOT NULL,
        rows bigint NOT NULL,
        rows_added bigint,
        rows_removed bigint,
        rows_changed bigint,
        columns text[] NOT NULL,
        price_change double precision,
        price_column text,
        price_key text,
        price_before numeric,
        price_after numeric,
        volume_change numeric,
        volume_column text,
        volume_key text,
        volume_before numeric,
        volume_after numeric,
        examples jsonb NOT NULL
    )
    """,
    "CREATE INDEX corrections_partition ON collection.corrections (exchange, market_type, symbol, dataset, day)",
    "CREATE INDEX corrections_found_at ON collection.corrections (found_at)",
    "COMMENT ON TABLE collection.corrections IS 'Every replacement of a stored day, also with equal rows.'",
    "COMMENT ON COLUMN collection.corrections.version IS 'number in collection.versions; null: the rows are equal'",
    "COMMENT ON COLUMN collection.corrections.former_sha256 IS 'of the former Parquet file; sha256: of the new one'",
    "COMMENT ON COLUMN collection.corrections.rows_changed IS 'same key, another value; null: the former rows are lost'",
    "COMMENT ON COLUMN collection.corrections.price_change IS 'greatest relative change; Infinity if it was 0 before'",
    "COMMENT ON COLUMN collection.corrections.price_key IS 'key of the row, an instant in UTC or an id'",
    "COMMENT ON COLUMN collection.corrections.volume_change IS 'greatest absolute change in the first changed amount column'",
    "COMMENT ON COLUMN collection.corrections.examples IS 'the first differences in key order'",
    """
    CREATE TABLE collection.journal (
        lake text NOT NULL,
        path text NOT NULL,
        folder text NOT NULL,
        staged text NOT NULL,
        kept text,
        former_sha256 text,
        sha256 text NOT NULL,
        run_id text,
        host text NOT NULL,
        pid integer NOT NULL,
        began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (lake, path)
    )
    """,
    "COMMENT ON TABLE collection.journal IS 'Files being published; see journal.py of the engine.'",
    "COMMENT ON COLUMN collection.journal.folder IS 'the publishing process holds an advisory lock on it'",
    "COMMENT ON COLUMN collection.journal.kept IS 'path of the former file meanwhile; null: there was none'",
)
