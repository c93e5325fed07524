"""A day that is published again, as a user sees it: on the asset in Dagster, in the ledger and on the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import dagster as dg
import pytest

import crypto_assets
from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.project import entry, key
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench

DAY, NEXT = date(2024, 1, 1), date(2024, 1, 2)
BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
ASSET = "binance/spot/ohlcv_1m/BTC-USDT"


@pytest.fixture
def sandbox():
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, DAY, NEXT, trades_per_day=1_440)) as server:
        yield server


def materialize(mine: project.Project, instance: dg.DagsterInstance) -> dict[str, dg.MetadataValue]:
    """Collect both days in one run; return what the asset's newest materialisation of the first one says."""
    tags = {"dagster/asset_partition_range_start": str(DAY), "dagster/asset_partition_range_end": str(NEXT)}
    assert mine.execute(dg.RunRequest(asset_selection=[key(ASSET)], tags=tags), instance).success
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key(ASSET), asset_partitions=[str(DAY)]), limit=1
    ).records
    [materialization] = [record.asset_materialization for record in records]
    assert materialization is not None
    return dict(materialization.metadata)


def test_a_correction_is_shown_on_the_asset_and_can_be_asked_for(sandbox, tmp_path, postgres_url, monkeypatch):
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, entry(["ohlcv_1m"], [BTC], DAY))
    work = Workbench(sandbox, postgres_url, tmp_path / "lake")
    of = work.key(BARS, BTC, DAY)
    with mine.instance() as instance:
        assert "correction" not in materialize(mine, instance)
        assert all(record.reported_at for record in mine.records().values())
        before = datetime.now(UTC)
        published = work.published(BARS, BTC, DAY)
        lines = text_of(work.bytes_at(of)).splitlines()
        cells = lines[700].split(",")
        cells[5] = str(Decimal(cells[5]) + Decimal("12.5"))
        lines[700] = ",".join(cells)
        work.publish(of, zip_of(of, "\n".join(lines) + "\n"))
        metadata = materialize(mine, instance)
    volume = published[700][5]
    text = "rows 1 changed; columns volume; volume at 2024-01-01 11:40:00: "
    assert metadata["correction"].value.startswith(text)
    assert "|2024-01-01 11:40:00|volume|" in metadata["correction"].value
    record = mine.records()[BTC, "ohlcv_1m", DAY]
    assert (record.state, record.corrections) == ("available", 1)
    assert record.reported_at is not None
    assert record.reported_at > before

    shown, as_json, none, wrong, status = mine.command.sequence(
        "corrections --symbol BTC-USDT --dataset ohlcv_1m --from 2024-01-01 --to 2024-01-01",
        "corrections --json --all --exchange binance --market-type spot",
        "corrections --symbol ETH/USDT",
        "corrections --symbol BTCUSDT",
        "status --json",
    )
    assert shown.code == as_json.code == none.code == 0
    assert shown.out.startswith(f"binance spot BTC/USDT ohlcv_1m {DAY}: {datetime.now(UTC):%Y-%m-%d} ")
    assert text in shown.out
    [found] = as_json.json
    assert (found["day"], found["rows_changed"], found["columns"]) == (str(DAY), 1, ["volume"])
    assert Decimal(found["volume_change"]) == Decimal("12.5")
    assert (Decimal(found["volume_before"]), Decimal(found["volume_after"])) == (volume, volume + Decimal("12.5"))
    assert none.out == "nothing was corrected\n"
    assert wrong.code == 2
    assert "expected the form BTC/USDT" in wrong.message
    assert status.json[0]["corrections"] == 1

    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(tmp_path / "lake"))
    former = crypto_assets.read("binance", BTC, "ohlcv_1m", DAY, NEXT, as_of=before, exact=True)
    assert list(former["volume"]) == [row[5] for row in published + work.published(BARS, BTC, NEXT)]
    now = crypto_assets.read("binance", BTC, "ohlcv_1m", DAY, DAY, exact=True)
    assert list(now["volume"]) == [row[5] for row in work.published(BARS, BTC, DAY)] != list(former["volume"])[:1440]
