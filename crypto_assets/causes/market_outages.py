"""Read the known and the found outages of a market, and the minutes in which nothing is expected of its days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg

from crypto_assets.causes.incidents import read_incidents
from crypto_assets.causes.known_outages import known_outages
from crypto_assets.checks._minutes import MINUTES
from crypto_assets.ledger.minutes import covered, start_of
from crypto_assets.model import DAY, days_between
from crypto_assets.model.kinds import Kind


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of a market over [start, end), UTC; `reference` is the source of a known one, None for a found one."""

    start: datetime
    end: datetime
    reference: str | None = None
    symbols: int = 0

    def touches(self, day: date) -> bool:
        return self.start < start_of(day + DAY) and start_of(day) < self.end

    def __str__(self) -> str:
        if self.reference:
            return f"known outage: {self.reference}"
        return f"found: all {self.symbols} stored symbols were silent at once"

    def as_json(self) -> dict[str, Any]:
        return {"start": self.start.isoformat(), "end": self.end.isoformat(), "what": str(self)}


def read_outages(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, first: date, last: date
) -> list[Outage]:
    """Return the outages of a market that overlap some days, both included, by time: known and found ones.

    A listed outage counts even if it was never refreshed.
    """
    found = [
        Outage(incident.start_time, incident.end_time, incident.reference, len(incident.symbols))
        for incident in read_incidents(
            connection,
            exchange=exchange,
            market_type=market_type,
            kinds=[Kind.EXCHANGE_OUTAGE],
            first=first,
            last=last,
        )
    ]
    for one in known_outages(exchange, market_type, start_of(first), start_of(last + DAY)):
        # The incident of a known outage is as long as the outage, or longer by the silence that touches it.
        if one.kind is Kind.EXCHANGE_OUTAGE and not any(o.start <= one.start and one.end <= o.end for o in found):
            found.append(Outage(one.start, one.end, one.source))
    return sorted(found, key=lambda one: one.start)


def outage_minutes(
    connection: psycopg.Connection[Any], exchange: str, market_type: str, day_first: date, day_last: date
) -> dict[date, np.ndarray]:
    """Return the minutes of each day that are entirely inside an outage, known or found: 1,440 booleans a day.

    Only days with such minutes are in the result; both days are included.
    """
    found: dict[date, int] = {}
    for one in read_outages(connection, exchange, market_type, day_first, day_last):
        for day in days_between(max(one.start.date(), day_first), min(one.end.date(), day_last)):
            if minutes := covered(one.start, one.end, day):
                found[day] = found.get(day, 0) | minutes
    return {
        day: np.unpackbits(np.frombuffer(minutes.to_bytes(MINUTES // 8, "big"), np.uint8)).astype(bool)
        for day, minutes in sorted(found.items())
    }
