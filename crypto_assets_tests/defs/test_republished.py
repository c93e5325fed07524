"""A day that is published again, through all steps: one run, the shown difference, and the versions before and after."""

from __future__ import annotations

from datetime import UTC, date, datetime

import dagster as dg
import numpy as np

import crypto_assets
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import parse_fault
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.defs.test_automation import Sensor
from crypto_assets_tests.project import entry, key

FIRST, DAY, LAST = date(2024, 1, 5), date(2024, 1, 6), date(2024, 1, 7)
LAKE = key("binance/spot/ohlcv_1m/BTC-USDT")


def test_a_republished_day_is_one_run_a_correction_and_two_truths(tmp_path, postgres_url, monkeypatch):
    source = SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}}, seed=3, trades_per_day=1_440)
    source.now = datetime(2024, 1, 8, 9, tzinfo=UTC)
    with SandboxServer(source) as server:
        mine = project.make(server, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], ["BTC/USDT"], FIRST))

        def closes(as_of: datetime | None = None) -> np.ndarray:
            return crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", FIRST, LAST, as_of=as_of)["close"].to_numpy()

        with mine.instance() as instance:
            sensor = Sensor(mine, instance).at(20)
            (request,) = sensor.tick()
            assert mine.execute(request, instance).success
            before, known_then = datetime.now(UTC), closes()
            assert len(known_then) == 3 * 1_440

            server.app.state.faults.on(parse_fault(f"republished:*BTCUSDT-1m-{DAY}*"))
            (again,) = sensor.at(20, 12).tick()
            assert again.tags["dagster/asset_partition_range_start"] == str(DAY)
            assert again.tags["dagster/asset_partition_range_end"] == str(DAY)
            assert mine.execute(again, instance).success
            assert str(sensor.at(20, 15).tick()).startswith("the archive lists nothing new")

            record = mine.records()["BTC/USDT", "ohlcv_1m", DAY]
            assert (record.state, record.corrections) == (State.AVAILABLE, 1)
            with Ledger(postgres_url) as ledger:
                (correction,) = ledger.corrections()
            changed = np.flatnonzero(closes() != known_then)
            assert correction.rows_changed
            assert (correction.rows_added, correction.rows_removed) == (0, 0)
            assert len(changed) <= correction.rows_changed
            assert set(changed // 1_440) <= {1}  # of that day only
            event = instance.get_latest_materialization_event(LAKE)
            assert event is not None
            assert event.asset_materialization is not None
            assert event.asset_materialization.partition == str(DAY)
            shown = event.asset_materialization.metadata["correction"]
            assert isinstance(shown, dg.MarkdownMetadataValue)
            assert f"{correction.rows_changed} changed" in shown.value

        assert np.array_equal(closes(as_of=before), known_then)
        assert np.array_equal(closes(as_of=datetime.now(UTC)), closes())
        assert not np.array_equal(
            crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", DAY, DAY, as_of=before).to_numpy(),
            crypto_assets.read("binance", "BTC/USDT", "ohlcv_1m", DAY, DAY).to_numpy(),
        )
