"""Amounts in contracts: by which size a day was converted stands with it, and `validate` finds a day with another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from crypto_assets import sources
from crypto_assets.engine.instruments import refresh_instruments
from crypto_assets.ledger.instruments import days_with_other_size, instruments_at, write_instruments
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.facts import Facts
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests import project
from crypto_assets_tests.project import entry
from crypto_assets_tests.workbench import Workbench

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 4)
LINEAR = ("binance", "linear")
SYMBOL = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"linear": ["BTCUSDT"]}, FIRST, LAST, seed=5, trades_per_day=1_440)
    archive.now = datetime(2024, 1, 4, 12, tzinfo=UTC)
    with SandboxServer(archive) as server:
        yield server


def test_the_size_stands_in_file_and_ledger_and_a_day_with_another_size_is_found(
    sandbox, tmp_path, postgres_url, monkeypatch
):
    migrate(postgres_url)
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    mine = project.make(
        sandbox, tmp_path, postgres_url, monkeypatch, entry(["trades"], [SYMBOL], FIRST, "linear") | {"end": days[-1]}
    )
    # A series of contracts, as the source says it.
    monkeypatch.setattr(sources, "facts", lambda _: Facts("holes", 100, amounts="contracts"))
    asked = datetime(2023, 12, 1, tzinfo=UTC)
    with Ledger(postgres_url) as ledger:
        refresh_instruments(mine.collection, ledger, now=asked)
        work = Workbench(sandbox, postgres_url, tmp_path / "lake", *mine.content["series"])
        assert {work.collect(*days).of(day, "trades", SYMBOL, "linear").state for day in days} == {State.AVAILABLE}
        with ledger.transaction() as connection:
            known = instruments_at(connection, *LINEAR, asked)[SYMBOL].instrument
            assert days_with_other_size(connection) == []
        records = mine.records()
        assert {(key[-1], one.source_contract_size) for key, one in records.items()} == {(day, "1") for day in days}
        for record in records.values():
            metadata = pq.read_metadata(tmp_path / "lake" / record.path).metadata
            assert [value for name, value in metadata.items() if name.endswith(b"source_contract_size")] == [b"1"]
        assert mine.command("validate").code == 0
        # The exchange halves the contract in the middle of 2 January: the day ended with the new size.
        with ledger.transaction() as connection:
            halved_at = datetime(2024, 1, 2, 12, tzinfo=UTC)
            connection.execute("UPDATE market.instruments SET valid_until = %s", (halved_at,))
            connection.execute("DELETE FROM collection.instrument_looks")
            halved = replace(known, contract_size=Decimal("0.5"))
            assert write_instruments(connection, *LINEAR, [halved], halved_at).added == (SYMBOL,)
            (other,) = days_with_other_size(connection)
    assert (other.symbol, other.first, other.last, other.days) == (SYMBOL, days[1], days[1], 1)
    assert (other.used, other.known) == ("1", "0.5")
    checked = mine.command("validate")
    assert checked.code == 1
    assert f"{SYMBOL} trades: 1 day (2024-01-02) converted with a contract size of 1, and 0.5" in checked.out
    assert mine.command("validate", "--to", "2024-01-01").code == 1, "the symbol has such a day"
    assert mine.command("collect", "--from", "2024-01-01", "--to", "2024-01-02").code == 0
    assert {one.source_contract_size for one in mine.records().values()} == {"1"}, "what is stored stays as it is"
