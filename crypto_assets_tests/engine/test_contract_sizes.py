"""Amounts in contracts: by which size a day was converted stands with it, and `validate` finds a day with another one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from crypto_assets import sources
from crypto_assets.engine.instruments import refresh_instruments
from crypto_assets.ledger.instruments import days_with_other_size, instruments_at, write_instruments
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State
from crypto_assets.model.epoch import EPOCH
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
MONTH = "data/futures/cm/monthly/aggTrades/BTCUSD_PERP/BTCUSD_PERP-aggTrades-2024-01.zip"


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


def test_each_day_of_a_month_is_converted_by_its_own_size(tmp_path, postgres_url, monkeypatch):
    """A month's file of COIN-M futures: the contract is halved on 16 January, and the daily files are missing."""
    market, symbol, first, last = ("binance", "inverse"), "BTC/USD:BTC", date(2024, 1, 1), date(2024, 1, 31)
    archive = SyntheticArchive({"inverse": ["BTCUSD_PERP"]}, first, date(2024, 2, 19), seed=5, trades_per_day=48)
    archive.now = datetime(2024, 2, 10, tzinfo=UTC)
    with SandboxServer(archive) as server:
        server.app.state.faults.on("late", pattern="*/daily/*", kinds=("listing", "object", "checksum"))
        wanted = entry(["agg_trades"], [symbol], first, "inverse") | {"end": last}
        mine = project.make(server, tmp_path, postgres_url, monkeypatch, wanted)
        migrate(postgres_url)
        asked, halved_at = datetime(2023, 12, 1, tzinfo=UTC), datetime(2024, 1, 16, 12, tzinfo=UTC)
        with Ledger(postgres_url) as ledger:
            refresh_instruments(mine.collection, ledger, now=asked)
            with ledger.transaction() as connection:
                known = instruments_at(connection, *market, asked)[symbol].instrument
                connection.execute("UPDATE market.instruments SET valid_until = %s", (halved_at,))
                connection.execute("DELETE FROM collection.instrument_looks")
                write_instruments(connection, *market, [replace(known, contract_size=Decimal(50))], halved_at)
        assert known.contract_size == 100
        work = Workbench(server, postgres_url, tmp_path / "lake", *mine.content["series"])
        days = [date(2024, 1, 15), date(2024, 1, 16), date(2024, 1, 17)]
        result = work.collect(first, last)
        assert {result.of(day, "agg_trades", symbol, "inverse").state for day in days} == {State.AVAILABLE}
        records = {key[-1]: one for key, one in mine.records().items()}
        assert {day: records[day].source_contract_size for day in days} == dict(
            zip(days, ("100", "50", "50"), strict=True)
        )
        assert {one.source_key for one in records.values()} == {MONTH}
        with zipfile.ZipFile(io.BytesIO(server.app.state.source.read(MONTH))) as packed:
            lines = packed.read(packed.namelist()[0]).decode().splitlines()[1:]
        series = Series.named(*market, "agg_trades")
        for day, size in zip(days, (100, 50, 50), strict=True):
            rows = work.lake.read_partition(series, Partition(symbol, day)).to_pylist()
            expected = [
                cells
                for cells in (line.split(",") for line in lines)
                if str(EPOCH + timedelta(milliseconds=int(cells[5])))[:10] == str(day)
            ]
            assert [row["agg_trade_id"] for row in rows] == [int(cells[0]) for cells in expected]
            assert rows
            for row, cells in zip(rows, expected, strict=True):
                assert abs(row["amount"] - Decimal(cells[2]) * size / Decimal(cells[1])) < Decimal("1e-17")
