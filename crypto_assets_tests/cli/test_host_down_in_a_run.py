"""A host that a run finds down costs only what it alone has: later runs ask the other hosts of its exchange."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.command import Command

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 2)
SWAP = "BTC/USDT:USDT"
NOWHERE = "http://127.0.0.1:9"

# As `collect` does after it has asked the hosts: they all answered then, and one of them is down since.
CODE = """
import json
from crypto_assets.config import selection
from crypto_assets.config.collection import load_collection
from crypto_assets.config.environment import settings
from crypto_assets.defs import runs
collection = load_collection(settings().config)
requests = [selection.Request(one, tuple(one.tracks), one.start, one.end) for one in collection.series]
skipped = runs.execute(collection, requests, lambda step: None)
print(json.dumps([skipped.failures, sorted(track.series.dataset for track in skipped.tracks)]))
"""


def test_later_runs_ask_the_hosts_of_the_exchange_that_still_answer(postgres_url: str, tmp_path: Path) -> None:
    command = Command.at(tmp_path / "home", postgres_url)
    with SandboxServer(SyntheticArchive({"linear": {"BTCUSDT": (FIRST, LAST)}}, trades_per_day=300)) as server:
        urls = server.urls("bybit") | {"archive_url": NOWHERE, "listing_url": NOWHERE}
        part = {"exchange": "bybit", "market_type": "linear", "symbols": [SWAP], "start": FIRST, "end": LAST}
        entries = [
            {**part, "name": name, "datasets": [dataset], "rest": dataset != "trades"} | more
            for name, dataset, more in (
                ("first", "trades", {}),
                ("second", "ohlcv_1h", {}),
                ("third", "trades", {"symbols": ["ETH/USDT:USDT"]}),
                ("fourth", "funding_rates", {}),
            )
        ]
        command.configure({"exchanges": {"bybit": urls}, "series": entries})
        done = command.python(CODE)
        assert done.returncode == 0, done.stderr
        asked = [one.path for one in server.app.state.requests]
    failures, tracks = json.loads(done.stdout.splitlines()[-1])
    assert list(failures) == ["bybit"]
    assert "127.0.0.1:9 refuses connections" in failures["bybit"]
    assert tracks == ["trades"], "the third run is left out, the second and the fourth are not"
    with Ledger(postgres_url) as ledger:
        found = {(one.symbol, one.dataset, one.day.day): one.state for one in ledger.partitions()}
    assert found == {
        **{(SWAP, "trades", day): State.MISSING for day in (1, 2)},
        **{(SWAP, "ohlcv_1h", day): State.AVAILABLE for day in (1, 2)},
        **{(SWAP, "funding_rates", day): State.AVAILABLE for day in (1, 2)},
    }
    assert "/bybit/rest/v5/market/kline" in asked
