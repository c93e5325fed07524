"""The columns of the newest revision: a start says so if a database of the same revision does not have one of them.

No revision tells two states of the tables apart that were made before the first release, or tables that somebody changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

_TEXT = """
acknowledgements: id exchange market_type symbol dataset day reason by at state state_reason cause content_sha256
    source_etag objects withdrawn_at withdrawn_because
archive_objects: exchange key size_bytes etag last_modified first_modified published_digest computed_sha256 first_seen
    last_seen
asset_days: table_name day rows stored_at
breakers: exchange egress kind host failures failing_since openings open_until probe_until last_error changed_at
budgets: id exchange egress budget limits log_began clock_low_s clock_high_s cool_until cool_status cool_reason strikes
    cool_is_ban bans
controls: scope action reason who at
corrections: id exchange market_type symbol dataset day found_at run_id text version former_sha256 sha256 former_source
    source former_source_key source_key former_source_sha256 source_sha256 former_rows rows rows_added rows_removed
    rows_changed columns price_change price_column price_key price_before price_after volume_change volume_column
    volume_key volume_before volume_after examples
day_causes: exchange market_type symbol dataset day cause record judged_at
discoveries: discovery_id entry exchange market_type symbol dataset kind priority first_day last_day content found_at
    run_key requested_at delivered_at stops
feed_marks: exchange path marks
grants: budget_id id granted_at weight requests weight_before requests_before is_foreign
growth: exchange market_type symbol dataset day known_to rows
incidents: incident_id exchange market_type symbol dataset kind start_time end_time symbols evidence source reference
    found_at updated_at
instrument_looks: exchange market_type asked_at instruments added changed gone
journal: lake path folder staged kept former_sha256 sha256 run_id host pid began_at
lakes: id url first_used last_used
listing_hosts: exchange host failures message failed_at retry_at
migrated: revision program migrated_at
migrations: version_num
origins: exchange origin first_used last_used
partitions: exchange market_type symbol dataset day state reason evidence rows size_bytes content_sha256 path source
    source_key source_etag source_size_bytes source_sha256 source_published_digest source_last_modified source_files
    source_contract_size failed_checks findings judged_by attempt_error run_id collected_at known_from corrections
    reported_at updated_at
profiles: exchange market_type symbol dataset day content_sha256 rows first_time last_time first_id last_id missing_ids
    first_trade_id last_trade_id first_price last_price largest_step silent absent hours traded
progress: run_id kind what state total done failed rows bytes days_per_s rows_per_s eta_s last_partition reason host pid
    started_at updated_at
quality: exchange market_type symbol dataset day scored_at state accuracy completeness timeliness agreement total
universe: exchange market_type symbol source exchange_symbol first_listed last_listed looked_at seen_from seen_until
universe_looks: exchange market_type source looked_at symbols added gone
universe_top: exchange market_type rule symbol first_day ranked_on quote_volume place
versions: exchange market_type symbol dataset day number content_sha256 path rows source source_key source_etag
    source_sha256 source_files known_from known_to state state_reason until
warehouse_loads: table_name exchange market_type symbol dataset day content rows loaded_at
watched_feeds: exchange path market_type symbol dataset entry since first_day last_day objects recent delay_s tries
    looked_at next_look_at walked_at next_walk_at probed_at problem
acknowledgements_now: id exchange market_type symbol dataset day reason by at state state_reason cause content_sha256
    source_etag objects withdrawn_at withdrawn_because withdrawn
coverage: exchange market_type symbol dataset first_day last_day days complete provisional partial missing not_collected
    no_data acknowledged pending corrected rows size_bytes is_complete
gaps: exchange market_type symbol dataset first_day last_day days state reason cause acknowledged acknowledged_by
    acknowledged_reason
incomplete_days: exchange market_type symbol dataset day state reason evidence findings record cause
quality_now: exchange market_type symbol dataset day scored_at state accuracy completeness timeliness agreement total
"""


def _columns() -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in _TEXT.split():
        if word.endswith(":"):
            found[word[:-1]] = []
        else:
            next(reversed(found.values())).append(word)
    return found


COLUMNS = _columns()
"""The columns of each table of schema `collection`, then of each view, which needs its tables; a test compares them with a
new database."""

_FOUND = """
SELECT c.relname::text, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace('collection') AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY 1
"""

_SHOWN = 3


def missing_columns(connection: psycopg.Connection[Any]) -> str:
    """Return which columns of `collection` a database does not have, in words; "" if it has all. Further ones are fine."""
    found: dict[str, list[str]] = dict(connection.execute(_FOUND).fetchall())
    there = [(relation, name) for relation in COLUMNS if relation in found for name in COLUMNS[relation]]
    missing = [f"no column collection.{relation}.{name}" for relation, name in there if name not in found[relation]]
    missing += [f'relation "collection.{relation}" does not exist' for relation in COLUMNS if relation not in found]
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return ", ".join(missing[:_SHOWN]) + more
