"""The causes of missing days and minutes, and their text for people; docs/concepts/incidents.md has their rules."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Why a day or some minutes are missing, or nothing traded in them."""

    EXCHANGE_OUTAGE = "exchange_outage"  # every symbol of the exchange and market was silent at once
    ILLIQUID = "illiquid"  # nothing traded in this symbol: the bar exists, or no trade id is missing
    NOT_YET_PUBLISHED = "not_yet_published"
    DELISTED = "delisted"
    BEFORE_LISTING = "before_listing"
    UPSTREAM_ABSENT_FILE = "upstream_absent_file"  # the archive should have a file and does not
    UPSTREAM_PARTIAL_FILE = "upstream_partial_file"  # rows are missing from the published file
    UPSTREAM_BAD_FILE = "upstream_bad_file"  # a file that was refused: wrong checksum, not a zip, invalid rows
    OUR_FAILURE = "our_failure"  # stopped, no host reached, our code failed on it, or the lake's file was deleted
    NOT_COLLECTED = "not_collected"  # no run has requested the day yet
    UNEXPLAINED = "unexplained"

    @property
    def sentence(self) -> str:
        """The meaning for people: one sentence without its full stop."""
        return _SENTENCES[self]


_SENTENCES = {
    Kind.EXCHANGE_OUTAGE: "the exchange was down",
    Kind.ILLIQUID: "nothing traded in this symbol",
    Kind.NOT_YET_PUBLISHED: "the archive may still publish it",
    Kind.DELISTED: "the symbol was no longer listed",
    Kind.BEFORE_LISTING: "the symbol was not listed yet",
    Kind.UPSTREAM_ABSENT_FILE: "the archive should have a file and has none",
    Kind.UPSTREAM_PARTIAL_FILE: "the exchange's file has only some of the rows",
    Kind.UPSTREAM_BAD_FILE: "the exchange's file was refused",
    Kind.OUR_FAILURE: "it could not be collected, or its file is missing",
    Kind.NOT_COLLECTED: "it was not collected yet",
    Kind.UNEXPLAINED: "nothing explains it",
}
