"""Tables of archives: objects, watched feeds with their next listing times, and discoveries."""

STATEMENTS = (
    """
    CREATE TABLE collection.archive_objects (
        exchange text NOT NULL,
        key text NOT NULL,
        size_bytes bigint NOT NULL,
        etag text NOT NULL,
        last_modified timestamptz,
        first_modified timestamptz,
        published_digest text,
        computed_sha256 text,
        first_seen timestamptz NOT NULL DEFAULT now(),
        last_seen timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (exchange, key)
    )
    """,
    "COMMENT ON TABLE collection.archive_objects IS 'Every archive object seen in a listing.'",
    "COMMENT ON COLUMN collection.archive_objects.published_digest IS 'of the exchange, as sha256:… or md5:…'",
    "COMMENT ON COLUMN collection.archive_objects.computed_sha256 IS 'of the downloaded bytes'",
    "COMMENT ON COLUMN collection.archive_objects.first_modified IS 'last_modified when the object was first seen'",
    """
    CREATE TABLE collection.watched_feeds (
        exchange text NOT NULL,
        path text NOT NULL,
        market_type text NOT NULL,
        symbol text NOT NULL,
        dataset text NOT NULL,
        entry text NOT NULL,
        since date,
        first_day date,
        last_day date,
        objects integer NOT NULL DEFAULT 0,
        recent bytea NOT NULL DEFAULT '',
        delay_s integer,
        tries integer NOT NULL DEFAULT 0,
        looked_at timestamptz,
        next_look_at timestamptz NOT NULL,
        walked_at timestamptz,
        next_walk_at timestamptz,
        probed_at timestamptz,
        problem text,
        PRIMARY KEY (exchange, path)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX watched_feeds_next_look ON collection.watched_feeds (entry, next_look_at)",
    "CREATE INDEX watched_feeds_next_walk ON collection.watched_feeds (entry, next_walk_at)",
    "COMMENT ON TABLE collection.watched_feeds IS 'The preferred archive feed of each watched symbol.'",
    (
        "COMMENT ON COLUMN collection.watched_feeds.entry IS "
        "'digest of the watching entry of collection.yaml: exchange, market type, datasets, symbols, start'"
    ),
    "COMMENT ON COLUMN collection.watched_feeds.path IS 'market type, dataset, symbol and feed'",
    "COMMENT ON COLUMN collection.watched_feeds.since IS 'marks are complete from this day on; null: never listed'",
    "COMMENT ON COLUMN collection.watched_feeds.first_day IS 'first day in the archive, also if before since'",
    "COMMENT ON COLUMN collection.watched_feeds.recent IS 'marks of the last objects, as in feed_marks'",
    (
        "COMMENT ON COLUMN collection.watched_feeds.delay_s IS "
        "'shortest time from the end of a period to its publication, for the last objects'"
    ),
    "COMMENT ON COLUMN collection.watched_feeds.tries IS 'listings in a row without the expected object'",
    "COMMENT ON COLUMN collection.watched_feeds.problem IS 'why the last listing of this feed failed'",
    """
    CREATE TABLE collection.feed_marks (
        exchange text NOT NULL,
        path text NOT NULL,
        marks bytea NOT NULL,
        PRIMARY KEY (exchange, path)
    )
    """,
    "ALTER TABLE collection.feed_marks ALTER COLUMN marks SET STORAGE EXTERNAL",
    (
        "COMMENT ON TABLE collection.feed_marks IS 'Every object listed for a feed, eight bytes each: the first day "
        "of its span (uint16, days since 2000-01-01) and BLAKE2b-48 of etag, size and last_modified. "
        "The key follows from the day.'"
    ),
    """
    CREATE TABLE collection.discoveries (
        discovery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        entry text NOT NULL,
        exchange text NOT NULL,
        market_type text NOT NULL,
        symbol text NOT NULL,
        dataset text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('history', 'new', 'late', 'probed', 'republished')),
        priority smallint NOT NULL,
        first_day date NOT NULL,
        last_day date NOT NULL,
        content text NOT NULL,
        found_at timestamptz NOT NULL,
        run_key text,
        requested_at timestamptz,
        delivered_at timestamptz,
        stops integer NOT NULL DEFAULT 0
    )
    """,
    (
        "CREATE INDEX discoveries_open ON collection.discoveries (entry, priority DESC, discovery_id) "
        "WHERE delivered_at IS NULL"
    ),
    "CREATE INDEX discoveries_run_key ON collection.discoveries (run_key)",
    "CREATE INDEX discoveries_symbol ON collection.discoveries (exchange, market_type, symbol, dataset, first_day)",
    (
        "COMMENT ON TABLE collection.discoveries IS "
        "'Days with new or changed objects, written together with the marks; requested until Dagster has the run.'"
    ),
    "COMMENT ON COLUMN collection.discoveries.content IS 'digest of days and marks of the objects'",
    "COMMENT ON COLUMN collection.discoveries.run_key IS 'of its run request; the same when requested again'",
    "COMMENT ON COLUMN collection.discoveries.delivered_at IS 'when the sensor cursor showed that Dagster has the run'",
    "COMMENT ON COLUMN collection.discoveries.stops IS 'runs for it that were stopped with `up`; it was requested again'",
    """
    CREATE TABLE collection.listing_hosts (
        exchange text NOT NULL,
        host text NOT NULL,
        failures integer NOT NULL,
        message text NOT NULL,
        failed_at timestamptz NOT NULL,
        retry_at timestamptz NOT NULL,
        PRIMARY KEY (exchange, host)
    )
    """,
    "COMMENT ON TABLE collection.listing_hosts IS 'Listing hosts whose last listings failed, and their next attempt.'",
)
