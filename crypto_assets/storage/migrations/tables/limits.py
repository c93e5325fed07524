"""Tables of limits, cool-downs and circuit breakers, shared by every process."""

_BUDGETS = (
    """
CREATE TABLE collection.budgets (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text NOT NULL,
    egress text NOT NULL,
    budget text NOT NULL,
    limits text[] NOT NULL DEFAULT '{}',
    log_began boolean NOT NULL DEFAULT false,
    clock_low_s double precision,
    clock_high_s double precision,
    cool_until timestamptz,
    cool_status integer NOT NULL DEFAULT 0,
    cool_reason text NOT NULL DEFAULT '',
    strikes integer NOT NULL DEFAULT 0,
    cool_is_ban boolean NOT NULL DEFAULT false,
    bans integer NOT NULL DEFAULT 0,
    UNIQUE (exchange, egress, budget)
)
""",
    "COMMENT ON TABLE collection.budgets IS 'A set of limits with one cool-down, for one of our addresses.'",
    "COMMENT ON COLUMN collection.budgets.egress IS 'our name for the address that the exchange sees'",
    "COMMENT ON COLUMN collection.budgets.log_began IS 'whether grants were ever written: if so, an empty log was lost'",
    (
        "COMMENT ON COLUMN collection.budgets.clock_low_s IS "
        "'the exchange''s clock minus this server''s lies between clock_low_s and clock_high_s, by its Date headers'"
    ),
    "COMMENT ON COLUMN collection.budgets.cool_until IS 'no requests before; requested by the exchange, or after a refusal'",
    "COMMENT ON COLUMN collection.budgets.cool_status IS 'HTTP status of the refusal'",
    "COMMENT ON COLUMN collection.budgets.strikes IS 'slow-downs without Retry-After in a row: each doubles the cool-down'",
    "COMMENT ON COLUMN collection.budgets.cool_is_ban IS 'whether a ban, not only a slow-down, began or prolonged the pause'",
    "COMMENT ON COLUMN collection.budgets.bans IS 'bans without Retry-After in a row: each doubles the next one'",
    # Not in the WAL: a grant is worth nothing an hour later. A crash of the server empties the table; log_began shows that.
    """
CREATE UNLOGGED TABLE collection.grants (
    budget_id integer NOT NULL,
    id bigint NOT NULL,
    granted_at timestamptz NOT NULL,
    weight bigint NOT NULL,
    requests bigint NOT NULL DEFAULT 1,
    weight_before bigint NOT NULL,
    requests_before bigint NOT NULL,
    is_foreign boolean NOT NULL DEFAULT false,
    PRIMARY KEY (budget_id, id)
)
""",
    "CREATE INDEX grants_weight_before ON collection.grants (budget_id, weight_before, id)",
    "CREATE INDEX grants_requests_before ON collection.grants (budget_id, requests_before, id)",
    "CREATE INDEX grants_granted_at ON collection.grants (budget_id, granted_at)",
    "COMMENT ON TABLE collection.grants IS 'Recently granted requests, in time order.'",
    (
        "COMMENT ON COLUMN collection.grants.granted_at IS "
        "'by this server''s clock; the request reached the exchange at most a pad later, or the instant is moved'"
    ),
    "COMMENT ON COLUMN collection.grants.weight_before IS 'sum of the weights of all earlier rows, deleted ones included'",
    "COMMENT ON COLUMN collection.grants.is_foreign IS 'use by others from our address, as the exchange reported it'",
)

# Appends one row to the log; the caller holds the lock of the budget.
_APPEND = """
CREATE FUNCTION collection.append_grant(
    the_budget integer, its_instant timestamptz, its_weight bigint, its_requests bigint, others boolean
) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO collection.grants
    SELECT the_budget, coalesce(l.id, 0) + 1, its_instant, its_weight, its_requests,
           coalesce(l.weight_before + l.weight, 0), coalesce(l.requests_before + l.requests, 0), others
    FROM (SELECT 1) one LEFT JOIN
         (SELECT * FROM collection.grants WHERE budget_id = the_budget ORDER BY id DESC LIMIT 1) l ON true
    RETURNING id
$$
"""

# Adds the use by others: the exchange's count in a calendar window minus the log's sum in that window.
# Both ends are read conservatively, so that our own use never counts as use by others.
_ADD_FOREIGN = """
CREATE FUNCTION collection.add_foreign_use(
    the_budget integer, counted bigint, sent timestamptz, answered timestamptz, window_s double precision,
    pad_s double precision, low_s double precision, high_s double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    number bigint := floor((extract(epoch FROM sent) + low_s) / window_s);
    first_instant timestamptz;
    ours bigint;
BEGIN
    IF number <> floor((extract(epoch FROM answered) + high_s) / window_s) THEN
        RETURN;  -- it may have been counted in the window before
    END IF;
    first_instant := to_timestamp(number * window_s - high_s - pad_s);
    SELECT coalesce(sum(weight), 0) INTO ours FROM collection.grants
    WHERE budget_id = the_budget AND granted_at >= first_instant AND (granted_at <= answered OR is_foreign);
    IF counted > ours THEN
        PERFORM collection.append_grant(the_budget, clock_timestamp(), counted - ours, 0, true);
    END IF;
END $$
"""

# One call is one grant. The lock is first come, first served, so processes take turns, even with many threads each; it is
# held during the wait, so smaller requests cannot overtake a heavy one again and again. A process killed while waiting
# loses lock and grant.
_TAKE = """
CREATE FUNCTION collection.take_grant(
    the_budget integer, its_weight bigint, spacing_s double precision, pad_s double precision,
    amounts bigint[], windows_s double precision[], pads_s double precision[], in_weights boolean[], aligned boolean[],
    counted bigint, counted_sent timestamptz, counted_answered timestamptz, counted_window_s double precision,
    OUT grant_id bigint, OUT grant_instant timestamptz,
    OUT cool_s double precision, OUT cool_status integer, OUT cool_reason text
) LANGUAGE plpgsql AS $$
DECLARE
    budget collection.budgets;
    latest collection.grants;
    now_instant timestamptz;
    due timestamptz;
    blocking timestamptz;
    number bigint;
    used bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7214301, the_budget);
    LOOP
        SELECT * INTO STRICT budget FROM collection.budgets WHERE id = the_budget;
        now_instant := clock_timestamp();
        IF budget.cool_until > now_instant THEN
            cool_s := extract(epoch FROM budget.cool_until - now_instant);
            cool_status := budget.cool_status;
            cool_reason := budget.cool_reason;
            RETURN;
        END IF;
        SELECT * INTO latest FROM collection.grants WHERE budget_id = the_budget ORDER BY id DESC LIMIT 1;
        IF NOT FOUND THEN
            -- Nothing was granted yet; or a crash emptied the log, then the whole limit counts as used.
            used := CASE WHEN budget.log_began THEN (SELECT max(amount) FROM unnest(amounts) amount) ELSE 0 END;
            UPDATE collection.budgets SET log_began = true WHERE id = the_budget AND NOT log_began;
            PERFORM collection.append_grant(the_budget, now_instant, used, used, used > 0);
            IF used > 0 THEN
                RETURN;  -- without a grant: the row must be committed even if the caller stops waiting
            END IF;
            CONTINUE;
        END IF;
        IF latest.granted_at > now_instant + interval '1 second' THEN
            -- This server's clock was put back.
            UPDATE collection.grants SET granted_at = now_instant
            WHERE budget_id = the_budget AND granted_at > now_instant;
            CONTINUE;
        END IF;
        IF counted IS NOT NULL AND budget.clock_low_s IS NOT NULL THEN
            PERFORM collection.add_foreign_use(the_budget, counted, counted_sent, counted_answered, counted_window_s,
                pad_s, budget.clock_low_s, budget.clock_high_s);
            counted := NULL;
            CONTINUE;
        END IF;
        due := latest.granted_at + make_interval(secs => spacing_s);
        FOR n IN 1 .. cardinality(amounts) LOOP
            blocking := NULL;
            IF aligned[n] AND budget.clock_high_s - budget.clock_low_s < windows_s[n] / 4 THEN
                -- The window that has surely begun; all grants that may fall into it count, else wait for the next window.
                number := floor((extract(epoch FROM now_instant) + budget.clock_low_s) / windows_s[n]);
                blocking := to_timestamp(number * windows_s[n] - budget.clock_high_s - pad_s);
                SELECT CASE WHEN in_weights[n] THEN latest.weight_before + latest.weight - g.weight_before
                            ELSE latest.requests_before + latest.requests - g.requests_before END
                INTO used FROM collection.grants g WHERE budget_id = the_budget AND granted_at >= blocking
                ORDER BY granted_at, id LIMIT 1;
                IF used + (CASE WHEN in_weights[n] THEN its_weight ELSE 1 END) > amounts[n] THEN
                    due := greatest(due, to_timestamp((number + 1) * windows_s[n] - budget.clock_low_s));
                END IF;
            ELSIF in_weights[n] THEN
                SELECT g.granted_at INTO blocking FROM collection.grants g
                WHERE budget_id = the_budget
                    AND weight_before < latest.weight_before + latest.weight + its_weight - amounts[n]
                ORDER BY weight_before DESC, id DESC LIMIT 1;
                due := greatest(due, blocking + make_interval(secs => windows_s[n] + pads_s[n]));
            ELSE
                SELECT g.granted_at INTO blocking FROM collection.grants g
                WHERE budget_id = the_budget
                    AND requests_before < latest.requests_before + latest.requests + 1 - amounts[n]
                ORDER BY requests_before DESC, id DESC LIMIT 1;
                due := greatest(due, blocking + make_interval(secs => windows_s[n] + pads_s[n]));
            END IF;
        END LOOP;
        EXIT WHEN due <= now_instant;
        PERFORM pg_sleep(extract(epoch FROM due - now_instant));
        -- Start again: instants may have been moved, and a cool-down may have begun.
    END LOOP;
    grant_instant := clock_timestamp();
    grant_id := collection.append_grant(the_budget, grant_instant, its_weight, 1, false);
    IF grant_id % 50 = 0 THEN
        DELETE FROM collection.grants
        WHERE budget_id = the_budget AND id < grant_id AND granted_at < grant_instant
            - make_interval(secs => (SELECT 2 * max(window_s) + 60 FROM unnest(windows_s) window_s));
    END IF;
END $$
"""

# A measurement that contradicts the known interval replaces it: a clock was corrected.
_LEARN = """
CREATE FUNCTION collection.learn_clock(the_budget integer, low_s double precision, high_s double precision)
RETURNS void LANGUAGE sql AS $$
    UPDATE collection.budgets SET
        clock_low_s = CASE WHEN low_s <= clock_high_s AND high_s >= clock_low_s
            THEN greatest(clock_low_s, low_s) ELSE low_s END,
        clock_high_s = CASE WHEN low_s <= clock_high_s AND high_s >= clock_low_s
            THEN least(clock_high_s, high_s) ELSE high_s END
    WHERE id = the_budget
$$
"""

# Moves a request that may have arrived later than its pad, and later grants with it: the log stays in order.
_MOVE = """
CREATE FUNCTION collection.move_grant(the_budget integer, its_id bigint, ago_s double precision)
RETURNS void LANGUAGE sql AS $$
    UPDATE collection.grants SET granted_at = clock_timestamp() - make_interval(secs => ago_s)
    WHERE budget_id = the_budget AND id >= its_id AND granted_at < clock_timestamp() - make_interval(secs => ago_s)
$$
"""

_BREAKERS = (
    """
CREATE TABLE collection.breakers (
    exchange text NOT NULL,
    egress text NOT NULL,
    kind text NOT NULL,
    host text NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    openings integer NOT NULL DEFAULT 0,
    open_until timestamptz,
    probe_until timestamptz,
    last_error text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (exchange, egress, kind, host)
)
""",
    (
        "COMMENT ON TABLE collection.breakers IS 'Hosts with recent failures. Open until open_until, then half-open "
        "until a probe succeeds; closed if open_until is null.'"
    ),
    "COMMENT ON COLUMN collection.breakers.failures IS 'in a row'",
    "COMMENT ON COLUMN collection.breakers.failing_since IS 'when the first failure in a row began'",
    "COMMENT ON COLUMN collection.breakers.openings IS 'in a row: each doubles the time until the next probe'",
    "COMMENT ON COLUMN collection.breakers.probe_until IS 'one process probes until then; if it dies, another one may'",
)

STATEMENTS = (*_BUDGETS, _APPEND, _ADD_FOREIGN, _TAKE, _LEARN, _MOVE, *_BREAKERS)
