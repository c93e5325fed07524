"""The causes of missing days and minutes; docs/incidents.md says how each is told."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Why a day or some minutes are not there, or nothing traded in them."""

    EXCHANGE_OUTAGE = "exchange_outage"  # every symbol of the exchange and market was silent at once
    ILLIQUID = "illiquid"  # nothing traded in this symbol: the bar is there, or the ids of the trades run on
    NOT_YET_PUBLISHED = "not_yet_published"
    DELISTED = "delisted"
    BEFORE_LISTING = "before_listing"
    UPSTREAM_ABSENT_FILE = "upstream_absent_file"  # the archive should have a file and has none
    UPSTREAM_PARTIAL_FILE = "upstream_partial_file"  # the file lacks rows that there were
    UPSTREAM_BAD_FILE = "upstream_bad_file"  # a file that was refused: wrong checksum, no zip, invalid rows
    OUR_FAILURE = "our_failure"  # never asked for, stopped, or no way to the host
    UNEXPLAINED = "unexplained"
