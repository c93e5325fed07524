"""What `crypto-assets up` does when an exchange lists a new symbol that a rule of collection.yaml chooses."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import make_fault
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.instance.test_up import Up
from crypto_assets_tests.instance.test_up_automation import ask
from crypto_assets_tests.project import entry
from crypto_assets_tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")

START, LAST = date(2024, 1, 5), date(2024, 1, 8)


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"]}, START, LAST, seed=11, trades_per_day=1_440)
    with SandboxServer(archive) as running:
        yield running


def symbols_shown(url: str) -> set[str]:
    """Return the symbols whose bars are assets in the UI; empty while the code is loaded."""
    nodes = ask(url, "{ assetNodes { assetKey { path } } }")["assetNodes"]
    return {path[3] for node in nodes if (path := node["assetKey"]["path"])[2:3] == ["ohlcv_1d"] and len(path) == 4}


def test_a_new_listing_has_its_assets_without_a_restart_by_hand(sandbox, tmp_path, postgres_url, monkeypatch):
    unlisted = make_fault(fault="late", pattern="*/ETHUSDT/*", kinds=("listing", "object", "checksum"))
    sandbox.app.state.faults.on(unlisted)
    mine = project.make(
        sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1d"], ["*/USDT"], START) | {"automation": False}
    )
    del mine.content["exchanges"]["binance"]["rest_url"]  # the archive alone is asked
    mine.command.configure(mine.content)
    with Up(mine.command) as up:
        up.ready()
        assert wait_for("the assets are shown", lambda: symbols_shown(up.url)) == {"BTC-USDT"}
        before = up.children()
        sandbox.app.state.faults.off()
        assert mine.command("symbols", "--refresh").code == 0
        wait_for("the new symbol is shown", lambda: "ETH-USDT" in symbols_shown(up.url))
        changed = {before[pid] for pid in before.keys() - up.children().keys()}
        assert len(changed) == 1, "only the code server was started again"
        up.process.send_signal(signal.SIGTERM)
        out, err = up.process.communicate(timeout=90)
    assert "there are new symbols; the code server is started again" in err
    assert up.process.returncode == 0, (out, err)
