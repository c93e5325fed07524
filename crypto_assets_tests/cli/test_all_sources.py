"""One `collect` over every exchange: one of them hangs, one has banned us, and the others are complete."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from crypto_assets import sources
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.command import Command
from crypto_assets_tests.sources.contract.truth import differences, true_rows
from crypto_assets_tests.workbench import Workbench

FIRST, LAST, DAY = date(2024, 1, 1), date(2024, 1, 10), date(2024, 1, 2)
BTC = "BTC/USDT"


def test_an_exchange_that_hangs_and_one_that_bans_leave_the_others_alone(postgres_url: str, tmp_path: Path) -> None:
    names = [name for name in sources.names() if "trades" in sources.get(name).dataset_names("spot")]
    hanging, banning, *others = names
    assert len(others) >= 2
    world = SyntheticArchive(
        {"spot": {"BTCUSDT": (FIRST, LAST)}}, trades_per_day=500, now=datetime(2024, 1, 15, tzinfo=UTC)
    )
    with SandboxServer(world) as server:
        server.app.state.faults.on("hang", exchange=hanging)
        server.app.state.faults.on("http-418", exchange=banning, retry_after_s=600)
        command = Command.at(tmp_path / "home", postgres_url)
        entry = {
            "market_type": "spot",
            "datasets": ["trades"],
            "symbols": [BTC],
            "start": FIRST.isoformat(),
            "rest": True,
        }
        urls = {name: server.urls(name) for name in names}
        command.configure({"exchanges": urls, "series": [{"exchange": name, **entry} for name in names]})
        answer = command("collect", "--from", str(DAY), "--to", str(DAY))
        assert answer.code == 1
        assert f"no answer within 10 s; {hanging} is not asked again in this run" in answer.err
        assert "requests are paused because" in answer.out
        assert f"all of {banning} listing waits until" in answer.out
        assert "4 days requested: 2 available, 1 missing, 1 not collected yet" in answer.out
        bench = Workbench(server, postgres_url, tmp_path / "home" / "lake")
        with Ledger(postgres_url) as ledger:
            states = {record.exchange: record.state for record in ledger.partitions()}
        assert {name: states[name] for name in others} == dict.fromkeys(others, State.AVAILABLE)
        for name in others:
            series = Series.named(name, "spot", "trades")
            rows = bench.lake.read_partition(series, Partition(BTC, DAY))
            assert differences(series, rows, true_rows(world, series, BTC, DAY)) == []
        asked = {name: sum(one.exchange == name for one in server.app.state.requests) for name in names}
        assert asked[banning] == 1
        assert asked[hanging] <= 2
        assert [one for one in server.app.state.limits.arrivals() if one.refused] == []
