"""Tables of pauses and of the progress of runs."""

STATEMENTS = (
    """
    CREATE TABLE collection.controls (
        scope text NOT NULL CHECK (scope ~ '^(all|exchange:.+|run:.+)$'),
        action text NOT NULL CHECK (action IN ('pause', 'cancel')),
        reason text NOT NULL DEFAULT '',
        who text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (scope, action)
    )
    """,
    "COMMENT ON TABLE collection.controls IS 'Active pauses and cancellations, until somebody resumes.'",
    "COMMENT ON COLUMN collection.controls.scope IS 'all, exchange:<id> or run:<run id>'",
    """
    CREATE TABLE collection.progress (
        run_id text PRIMARY KEY,
        kind text NOT NULL DEFAULT '',
        what text NOT NULL DEFAULT '',
        state text NOT NULL CHECK (state IN ('running', 'paused', 'done', 'failed', 'cancelled')),
        total bigint NOT NULL,
        done bigint NOT NULL,
        failed bigint NOT NULL,
        rows bigint NOT NULL,
        bytes bigint NOT NULL,
        days_per_s double precision NOT NULL,
        rows_per_s double precision NOT NULL,
        eta_s double precision,
        last_partition text NOT NULL DEFAULT '',
        reason text NOT NULL DEFAULT '',
        host text NOT NULL,
        pid integer NOT NULL,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX progress_updated_at ON collection.progress (updated_at)",
    "COMMENT ON TABLE collection.progress IS 'Progress of each run; written only by the run, every 5 s at least.'",
    "COMMENT ON COLUMN collection.progress.kind IS 'who started the run: command line, a sensor, a schedule …'",
    "COMMENT ON COLUMN collection.progress.total IS 'partitions: symbols × days of every series'",
    "COMMENT ON COLUMN collection.progress.done IS 'partitions with an outcome, failed ones included'",
    "COMMENT ON COLUMN collection.progress.failed IS 'incomplete partitions'",
    "COMMENT ON COLUMN collection.progress.bytes IS 'of the Parquet files of the finished partitions'",
    "COMMENT ON COLUMN collection.progress.days_per_s IS 'partitions a second, over the last 30 s'",
)
