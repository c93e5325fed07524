"""Instruments in the ledger: equal answers make no version, others do, and each instant has the version that was valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crypto_assets.ledger.instruments import (
    InstrumentChanges,
    instrument_at,
    instrument_versions,
    instruments_at,
    last_asked,
    write_instruments,
)
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Instrument
from crypto_assets.storage.migrations import migrate

T0 = datetime(2024, 1, 5, 0, 20, tzinfo=UTC)
DAY = timedelta(days=1)
BTC = Instrument(
    exchange="binance",
    market_type="inverse",
    symbol="BTC/USD:BTC",
    exchange_symbol="BTCUSD_PERP",
    base="BTC",
    quote="USD",
    settle="BTC",
    contract_size=Decimal(100),
    inverse=True,
    tick_size=Decimal("0.1"),
    lot_size=Decimal(1),
    listed_at=datetime(2020, 8, 10, 7, tzinfo=UTC),
    status="TRADING",
)
ETH = replace(
    BTC, symbol="ETH/USD:ETH", exchange_symbol="ETHUSD_PERP", base="ETH", settle="ETH", contract_size=Decimal(10)
)
MARKET = ("binance", "inverse")


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as one:
        yield one


def write(ledger: Ledger, at: datetime, *answered: Instrument) -> InstrumentChanges:
    with ledger.transaction() as connection:
        return write_instruments(connection, *MARKET, answered, at)


def size(ledger: Ledger, symbol: str, at: datetime) -> tuple[Decimal, bool]:
    """Return the contract size at an instant, and whether it is inferred."""
    with ledger.transaction() as connection:
        known = instrument_at(connection, *MARKET, symbol, at)
    assert known is not None
    return known.instrument.contract_size, known.is_inferred(at)


def test_an_equal_answer_makes_no_version_and_a_changed_contract_size_makes_one(ledger):
    assert write(ledger, T0, BTC, ETH) == InstrumentChanges(2, ("BTC/USD:BTC", "ETH/USD:ETH"))
    assert write(ledger, T0 + DAY, ETH, BTC) == InstrumentChanges(2)
    smaller = replace(BTC, contract_size=Decimal(10))
    assert write(ledger, T0 + 2 * DAY, smaller, ETH) == InstrumentChanges(2, changed=("BTC/USD:BTC",))
    with ledger.transaction() as connection:
        versions = instrument_versions(connection, *MARKET, "BTC/USD:BTC")
        assert [(one.instrument, one.valid_from, one.valid_until) for one in versions] == [
            (BTC, T0, T0 + 2 * DAY),
            (smaller, T0 + 2 * DAY, None),
        ]
        assert last_asked(connection, *MARKET) == T0 + 2 * DAY
        assert last_asked(connection, "binance", "spot") is None
    assert size(ledger, "BTC/USD:BTC", T0 + DAY) == (Decimal(100), False)
    assert size(ledger, "BTC/USD:BTC", T0 + 2 * DAY) == (Decimal(10), False)


def test_before_the_first_answer_the_first_version_is_used_and_said_to_be_inferred(ledger):
    write(ledger, T0, BTC)
    assert size(ledger, "BTC/USD:BTC", T0 - 900 * DAY) == (Decimal(100), True)
    with ledger.transaction() as connection:
        assert instrument_at(connection, *MARKET, "SOL/USD:SOL", T0) is None


def test_a_delisted_symbol_keeps_its_last_version_and_may_be_listed_again(ledger):
    write(ledger, T0, BTC, ETH)
    assert write(ledger, T0 + DAY, BTC) == InstrumentChanges(1, gone=("ETH/USD:ETH",))
    assert size(ledger, "ETH/USD:ETH", T0) == (Decimal(10), False)
    assert size(ledger, "ETH/USD:ETH", T0 + 5 * DAY) == (Decimal(10), True)
    again = replace(ETH, contract_size=Decimal(20))
    assert write(ledger, T0 + 9 * DAY, BTC, again) == InstrumentChanges(2, added=("ETH/USD:ETH",))
    assert size(ledger, "ETH/USD:ETH", T0 + 5 * DAY) == (Decimal(10), True)
    assert size(ledger, "ETH/USD:ETH", T0 + 9 * DAY) == (Decimal(20), False)


def test_an_instrument_that_could_not_be_read_stays_as_it_is_known(ledger):
    write(ledger, T0, BTC, ETH)
    with ledger.transaction() as connection:
        changes = write_instruments(connection, *MARKET, [BTC], T0 + DAY, [ETH.exchange_symbol, "NEWUSD_PERP"])
    assert changes == InstrumentChanges(1)
    assert size(ledger, "ETH/USD:ETH", T0 + 5 * DAY) == (Decimal(10), False)


def test_a_renamed_symbol_is_two_names_and_one_history(ledger):
    old = replace(BTC, exchange_symbol="XBTUSD_PERP")
    write(ledger, T0, old)
    changes = write(ledger, T0 + DAY, replace(BTC, renamed_from="XBTUSD_PERP"))
    assert changes == InstrumentChanges(1, added=("BTC/USD:BTC",), gone=("BTC/USD:BTC",))
    with ledger.transaction() as connection:
        names = [
            instruments_at(connection, *MARKET, at)["BTC/USD:BTC"].instrument.exchange_symbol for at in (T0, T0 + DAY)
        ]
    assert names == ["XBTUSD_PERP", "BTCUSD_PERP"]


def test_an_answer_that_is_not_newer_changes_nothing(ledger):
    write(ledger, T0 + DAY, BTC)
    assert write(ledger, T0, replace(BTC, contract_size=Decimal(1))) == InstrumentChanges(1)
    assert write(ledger, T0 + DAY, replace(BTC, contract_size=Decimal(1))) == InstrumentChanges(1)
    assert size(ledger, "BTC/USD:BTC", T0 + 2 * DAY) == (Decimal(100), False)
