"""The summary over all days of an asset counts provisional days among the complete ones, and says how many they are."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg

from crypto_assets.defs.asset_checks import all_days
from crypto_assets.ledger.completeness import Span, standings
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Partition, Series, State, StoredFile, TrackDay
from crypto_assets.storage.migrations import migrate

BARS, BTC = Series("binance", "spot", "ohlcv", "1m"), "BTC/USDT"
FIRST, TODAY = date(2024, 1, 1), date(2024, 1, 5)


def test_provisional_days_are_complete_and_counted_again(postgres_url: str) -> None:
    migrate(postgres_url)
    states = [State.AVAILABLE, *[State.PROVISIONAL] * 4]  # the last one is today
    with Ledger(postgres_url) as ledger:
        ledger.record_outcomes(
            Outcome(BARS, Partition(BTC, day), state, "", stored=StoredFile(f"{day}", 1, 1, f"{day}"))
            for number, state in enumerate(states)
            for day in [FIRST + timedelta(days=number)]
        )
        span = Span(BARS, BTC, FIRST, TODAY)
        standing = standings(ledger, [span], TODAY)
        (result,) = all_days(dg.AssetKey("a"), standing, TODAY)
        found = {name: value.value for name, value in result.metadata.items()}
        assert (result.passed, found) == (True, {"days": 4, "days complete": 4, "days provisional": 3})
        assert result.description == "All 4 days are complete. 3 days of the complete ones are provisional."
        lost = [TrackDay(BARS, BTC, FIRST + timedelta(days=1))]
        (result,) = all_days(dg.AssetKey("a"), standings(ledger, [span], TODAY, lost), TODAY)
        found = {name: value.value for name, value in result.metadata.items()}
        assert found == {"days": 4, "days complete": 3, "days provisional": 2, "days missing": 1}
