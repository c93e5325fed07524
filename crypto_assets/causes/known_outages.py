"""Read documented outages and defects of an exchange's files: `known/<exchange>.csv`, one line each, with its source.

Columns: exchange, market_type, kind, start and end (UTC, half-open), precision (of the times), what, source (a URL). Times
of precision `second` come from the 1s bars of one symbol: from the second after the last bar to the next bar. `kind` is
`exchange_outage`, or `upstream_partial_file` if trading continued and only the bars are missing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

from crypto_assets.model.kinds import Kind

_FOLDER = "known"


@dataclass(frozen=True, slots=True, order=True)
class KnownOutage:
    """One line of the list; [start, end) in UTC."""

    exchange: str
    market_type: str
    start: datetime
    end: datetime
    kind: Kind
    precision: str
    what: str
    source: str


@cache
def all_known() -> tuple[KnownOutage, ...]:
    """Return every known outage, by exchange, market type and time."""
    found: list[KnownOutage] = []
    for file in (files(__package__) / _FOLDER).iterdir():
        if file.name.endswith(".csv"):
            with file.open(encoding="utf-8") as lines:
                found += read_known(lines, file.name)
    return tuple(sorted(found))


def known_outages(exchange: str, market_type: str, start: datetime, end: datetime) -> list[KnownOutage]:
    """Return the known outages of a market that overlap [start, end), by time."""
    return [
        one
        for one in all_known()
        if (one.exchange, one.market_type) == (exchange, market_type) and one.start < end and start < one.end
    ]


def read_known(lines: Iterable[str], name: str) -> list[KnownOutage]:
    """Return the outages of a CSV.

    Raises:
        ValueError: a line has wrong columns, no source, or times not in UTC or not in order; the message gives the line.
    """
    found = []
    for number, row in enumerate(csv.DictReader(lines), start=2):
        try:
            start, end = (datetime.fromisoformat(row[column]) for column in ("start", "end"))
            if start.utcoffset() is None or end.utcoffset() is None or not start < end:
                raise ValueError(f"expected start before end, both with Z, found {row['start']} and {row['end']}")
            if not row["source"].startswith("https://"):
                raise ValueError(f"expected a source that starts with https://, found {row['source']!r}")
            found.append(
                KnownOutage(
                    row["exchange"],
                    row["market_type"],
                    start,
                    end,
                    Kind(row["kind"]),
                    row["precision"],
                    row["what"],
                    row["source"],
                )
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{name}, line {number}: {error}; correct the line") from error
    return found
