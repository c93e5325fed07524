"""A sandbox of past days, as a person starts it: its instruments are those of its days, and contracts are collected."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxProcess
from crypto_assets.sandbox.world import named_for
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.command import Command
from crypto_assets_tests.sources.contract.truth import differences, true_rows

FIRST, DAY, LAST = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
SYMBOLS = {"linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}
MARKETS = [("binance", "inverse"), ("bybit", "inverse"), ("bybit", "linear"), ("okx", "inverse"), ("okx", "linear")]


def test_contracts_of_a_past_sandbox_are_collected_in_base_by_its_instruments(
    postgres_url: str, tmp_path: Path
) -> None:
    command, file = Command.at(tmp_path / "home", postgres_url), tmp_path / "exchanges.yaml"
    options = ("--symbols", "BTCUSDT", "--market-types", "spot,linear,inverse", "--trades-per-day", "300")
    days = ("--from", str(FIRST), "--to", str(LAST))
    with SandboxProcess(*options, *days, "--collection", str(file)):
        part = {"datasets": ["trades"], "start": FIRST, "end": LAST}
        series = [
            {"exchange": exchange, "market_type": kind, "symbols": [SYMBOLS[kind]], **part}
            for exchange, kind in MARKETS
        ]
        command.configure({**yaml.safe_load(file.read_text()), "series": series})
        collect, told = command.sequence(f"collect --from {DAY} --to {DAY}", "instruments --json")
    assert (collect.code, told.code) == (0, 0), collect.out + collect.err
    sizes = {(one["exchange"], one["symbol"]): one["contract_size"] for one in told.json}
    assert {market for market in sizes if market[0] == "okx"} == {("okx", symbol) for symbol in SYMBOLS.values()}
    assert [float(sizes["binance", SYMBOLS["inverse"]]), float(sizes["okx", SYMBOLS["linear"]])] == [100.0, 0.01]
    world = SyntheticArchive({"linear": ["BTCUSDT"], "inverse": ["BTCUSD_PERP"]}, FIRST, LAST, trades_per_day=300)
    with Ledger(postgres_url) as ledger:
        assert {record.state for record in ledger.partitions()} == {State.AVAILABLE}
    lake = Lake(str(tmp_path / "home" / "lake"))
    for exchange, kind in MARKETS:
        one = Series.named(exchange, kind, "trades")
        rows = lake.read_partition(one, Partition(SYMBOLS[kind], DAY))
        assert differences(one, rows, true_rows(world, one, SYMBOLS[kind], DAY)) == []


def test_symbols_belong_to_the_market_types_that_have_them() -> None:
    names = ["BTCUSDT", "ETHBTC", "BTCUSDT_240628", "BTCUSD_240628", "ETHUSD_PERP"]
    assert named_for("spot", names) == ["BTCUSDT", "ETHBTC"]
    assert named_for("linear", names) == ["BTCUSDT", "BTCUSDT_240628"]
    assert named_for("inverse", names) == ["BTCUSD_PERP", "BTCUSD_240628", "ETHUSD_PERP"]
    with pytest.raises(ValueError, match="market type inverse: expected a symbol of it, such as BTCUSDT, found ETHBTC"):
        named_for("inverse", ["ETHBTC"])
