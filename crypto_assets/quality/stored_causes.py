"""Keep the stored causes of incomplete days equal to those that `crypto-assets gaps` gives; `collection.gaps` shows them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from crypto_assets.causes.incidents import DAYS_BESIDE
from crypto_assets.ledger.day_causes import days_to_judge, forget_complete, store_causes
from crypto_assets.ledger.incidents import lock_incidents
from crypto_assets.model import DAY, Outcome
from crypto_assets.quality.gap_causes import explain_with
from crypto_assets.storage.database import Database
from crypto_assets.storage.sessions import lock_wait, of_connection


def refresh_causes(database: Database, exchange: str, market_type: str, first: date, last: date) -> None:
    """Judge the incomplete days of a market around some days, and all whose record has changed since they were judged.

    Around: a day is judged by the symbols, datasets and days beside it. Waits for another process that does the same in the
    market: what is stored last follows from what was recorded last.

    Args:
        first, last: the days whose rows may have changed, both included.
    """
    with database.transaction() as connection:
        with lock_wait(of_connection(connection), f"the lock on the incidents of {exchange} {market_type}"):
            lock_incidents(connection, exchange, market_type)
        beside = DAYS_BESIDE * DAY
        days = days_to_judge(connection, exchange, market_type, first - beside, last + beside)
        explained = explain_with(connection, [day.gap for day in days])
        store_causes(connection, [(day, one.cause.kind.value) for day, one in zip(days, explained, strict=True)])
        forget_complete(connection, exchange, market_type)


def refresh_causes_of(database: Database, outcomes: Iterable[Outcome]) -> None:
    """Do the same for days that were recorded outside a run."""
    days: dict[tuple[str, str], list[date]] = {}
    for one in outcomes:
        days.setdefault((one.series.exchange, one.series.market_type), []).append(one.partition.day)
    for market, some in sorted(days.items()):
        refresh_causes(database, *market, min(some), max(some))
