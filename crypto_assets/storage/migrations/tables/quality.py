"""Tables of day profiles, incidents, quality scores, and acknowledged gaps."""

from crypto_assets.storage.migrations.tables.keys import PARTITION
from crypto_assets.storage.reader import readable

STATEMENTS = (
    f"""
    CREATE TABLE collection.profiles ({PARTITION}
        content_sha256 text NOT NULL,
        rows bigint NOT NULL,
        first_time timestamptz NOT NULL,
        last_time timestamptz NOT NULL,
        first_id bigint,
        last_id bigint,
        missing_ids bigint,
        first_trade_id bigint,
        last_trade_id bigint,
        first_price double precision,
        last_price double precision,
        largest_step double precision,
        silent bytea,
        absent bytea,
        hours bytea,
        traded boolean NOT NULL,
        PRIMARY KEY (exchange, market_type, symbol, dataset, day)
    )
    """,
    "COMMENT ON TABLE collection.profiles IS 'Facts about a stored day that checks need without reading it.'",
    "COMMENT ON COLUMN collection.profiles.content_sha256 IS 'of the profiled Parquet file'",
    "COMMENT ON COLUMN collection.profiles.missing_ids IS 'ids that are missing between the first and the last one'",
    "COMMENT ON COLUMN collection.profiles.largest_step IS 'greatest |log(price / price before)| between rows'",
    "COMMENT ON COLUMN collection.profiles.silent IS 'a bit for each minute without trades; null: no such minute'",
    "COMMENT ON COLUMN collection.profiles.absent IS 'a bit for each minute whose bar is missing; null: no such minute'",
    "COMMENT ON COLUMN collection.profiles.traded IS 'false: the day has bars, but no trades in any of its bars'",
    "COMMENT ON COLUMN collection.profiles.hours IS 'float32, see crypto_assets/checks/outliers.py'",
    """
    CREATE TABLE collection.incidents (
        incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        exchange text NOT NULL,
        market_type text NOT NULL,
        symbol text,
        dataset text,
        kind text NOT NULL CHECK (kind IN ('exchange_outage', 'illiquid', 'not_yet_published', 'delisted',
            'before_listing', 'upstream_absent_file', 'upstream_partial_file', 'upstream_bad_file', 'our_failure',
            'not_collected', 'unexplained')),
        start_time timestamptz NOT NULL,
        end_time timestamptz NOT NULL CHECK (end_time > start_time),
        symbols text[] NOT NULL DEFAULT '{}',
        evidence jsonb NOT NULL DEFAULT '{}',
        source text NOT NULL CHECK (source IN ('known', 'found')),
        reference text,
        found_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE NULLS NOT DISTINCT (exchange, market_type, symbol, dataset, kind, start_time)
    )
    """,
    "CREATE INDEX incidents_time ON collection.incidents (exchange, market_type, start_time, end_time)",
    "COMMENT ON TABLE collection.incidents IS 'Spans [start_time, end_time) without data, and why.'",
    "COMMENT ON COLUMN collection.incidents.symbol IS 'null: every symbol of the market'",
    "COMMENT ON COLUMN collection.incidents.symbols IS 'the stored symbols with this gap'",
    "COMMENT ON COLUMN collection.incidents.source IS 'known: ships with crypto_assets; found: seen in stored data'",
    f"""
    CREATE TABLE collection.quality ({PARTITION}
        scored_at timestamptz NOT NULL,
        state text,
        accuracy double precision,
        completeness double precision,
        timeliness double precision,
        agreement double precision,
        total double precision,
        PRIMARY KEY (exchange, market_type, symbol, dataset, day, scored_at)
    )
    """,
    "CREATE INDEX quality_scored_at ON collection.quality (scored_at)",
    "COMMENT ON TABLE collection.quality IS 'Scores from 0 to 1, docs/concepts/quality.md; a new row at each change.'",
    "COMMENT ON COLUMN collection.quality.state IS 'of the day when it was scored; null: not collected yet'",
    "COMMENT ON COLUMN collection.quality.total IS 'weighted mean of the known scores; null: none was known'",
    """
    CREATE VIEW collection.quality_now AS
    SELECT DISTINCT ON (exchange, market_type, symbol, dataset, day) *
    FROM collection.quality ORDER BY exchange, market_type, symbol, dataset, day, scored_at DESC
    """,
    f"""
    CREATE TABLE collection.acknowledgements (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {PARTITION}
        reason text NOT NULL,
        by text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        state text NOT NULL,
        state_reason text NOT NULL,
        cause text,
        content_sha256 text,
        source_etag text,
        objects jsonb NOT NULL DEFAULT '{{}}',
        withdrawn_at timestamptz,
        withdrawn_because text
    )
    """,
    "CREATE INDEX acknowledgements_day ON collection.acknowledgements (exchange, market_type, symbol, dataset, day, id)",
    "COMMENT ON TABLE collection.acknowledgements IS 'Gaps that a person accepted, and the facts known then.'",
    "COMMENT ON COLUMN collection.acknowledgements.objects IS 'etags of the day''s files then; null: not published'",
    # The last acknowledgement of each day, and why it is no longer valid.
    """
    CREATE VIEW collection.acknowledgements_now AS
    SELECT a.*, CASE
        WHEN a.withdrawn_because IS NOT NULL THEN a.withdrawn_because
        WHEN p.state IS DISTINCT FROM a.state THEN 'the day is ' || coalesce(p.state, 'unknown') || ' now, it was ' || a.state
        WHEN p.content_sha256 IS DISTINCT FROM a.content_sha256 THEN 'its rows have changed'
        WHEN p.source_etag IS DISTINCT FROM a.source_etag THEN 'the archive has published its file again'
        ELSE (SELECT 'the archive has ' || CASE WHEN o.etag IS NULL THEN 'a' ELSE 'another' END || ' file now: ' || o.key
            FROM jsonb_each_text(a.objects) AS o (key, etag)
            JOIN collection.archive_objects t ON t.exchange = a.exchange AND t.key = o.key
            WHERE t.etag IS DISTINCT FROM o.etag ORDER BY o.key LIMIT 1)
        END AS withdrawn
    FROM (SELECT DISTINCT ON (exchange, market_type, symbol, dataset, day) * FROM collection.acknowledgements
        ORDER BY exchange, market_type, symbol, dataset, day, id DESC) a
    LEFT JOIN collection.partitions p USING (exchange, market_type, symbol, dataset, day)
    """,
    readable("collection", ["quality_now", "acknowledgements_now"]),
)
