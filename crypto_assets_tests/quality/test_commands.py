"""`lock`, `verify` and `quarantine` as a user runs them, and what the UI and Dagster hear of refused files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest

from crypto_assets.defs import recovery
from crypto_assets.defs.observed import observed_key
from crypto_assets.defs.observed.quarantine import QUARANTINE
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series
from crypto_assets.quality.quarantine.refused_files import refused_files
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.command import no_traceback
from crypto_assets_tests.defs.observed.ticks import Ticks
from crypto_assets_tests.project import key
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
FIRST, SECOND, MISSING, LAST = (date(2024, 1, day) for day in (1, 2, 3, 4))
OF = f"data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{SECOND}.zip"


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, LAST, trades_per_day=300)) as server:
        yield server


def test_the_command_locks_verifies_and_exits_by_what_it_found(sandbox, tmp_path, postgres_url, monkeypatch) -> None:
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, project.entry(["ohlcv_1m"], [BTC], FIRST))
    work = Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], FIRST))
    work.hide(work.key(BARS, BTC, MISSING))
    work.collect(FIRST, LAST)
    path, edited = tmp_path / "dataset.lock", tmp_path / "edited.lock"
    made, same, quick, unknown, none = mine.command.sequence(
        f"lock -o {path} --symbol BTC/USDT --from {FIRST} --to {LAST}",
        f"verify {path}",
        f"verify {path} --quick",
        f"lock -o {edited} --symbol ETH/USDT",
        f"verify {tmp_path / 'absent.lock'}",
    )
    assert made.code == 0, made.err
    assert made.out == f"{path}: 3 files, 4,320 rows; days without a file: 1 missing\n"
    assert (same.code, same.out) == (0, "3 of 3 files are the same, by their bytes\n")
    assert (quick.code, quick.out) == (0, "3 of 3 files are the same, by the ledger\n")
    assert (unknown.code, edited.exists()) == (2, False)
    assert unknown.message.endswith("--symbol ETH/USDT: no such value is known; known: BTC/USDT")
    assert none.code == 2
    assert "expected a lock file, found: No such file" in none.message

    lines = text_of(work.bytes_at(OF)).splitlines()
    cells = lines[700].split(",")
    cells[5] = str(Decimal(cells[5]) + Decimal("12.5"))
    work.publish(OF, zip_of(OF, "\n".join([*lines[:700], ",".join(cells), *lines[701:]]) + "\n"))
    work.collect(SECOND, SECOND)
    sandbox.app.state.overrides.pop(work.key(BARS, BTC, MISSING))
    sandbox.app.state.overrides.pop(work.key(BARS, BTC, MISSING) + ".CHECKSUM")
    work.collect(MISSING, MISSING)
    edited.write_text(path.read_text().replace("available", "degraded", 1))
    other, as_json, damaged = mine.command.sequence(
        f"verify {path}", f"verify {path} --json --quick", f"verify {edited}"
    )
    assert other.code == 1
    lines = other.out.splitlines()
    assert lines[0].startswith(f"binance spot {BTC} ohlcv_1m {SECOND}: replaced: rows 1 changed; columns volume")
    assert lines[1:] == [
        f"binance spot {BTC} ohlcv_1m {MISSING}: appeared, not in the lock",
        "2 of 3 files are the same, by their bytes",
    ]
    assert as_json.code == 1
    assert as_json.json["counts"] == {"same": 2, "replaced": 1, "changed": 0, "missing": 0}
    assert [problem["day"] for problem in as_json.json["problems"]] == [str(SECOND)]
    assert [(one["first"], one["last"]) for one in as_json.json["appeared"]] == [(str(MISSING), str(MISSING))]
    assert damaged.code == 2
    assert "it was edited or damaged" in damaged.message
    assert all(map(no_traceback, (made, same, quick, unknown, none, other, as_json, damaged)))


def test_every_command_says_of_a_lost_file_what_gaps_says(sandbox, tmp_path, postgres_url, monkeypatch) -> None:
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, project.entry(["ohlcv_1m"], [BTC], FIRST))
    mine.command.configure({**mine.content, "series": [{**mine.content["series"][0], "end": LAST}]})
    work = Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], FIRST))
    work.collect(FIRST, LAST)
    lake, lock = tmp_path / "lake", tmp_path / "dataset.lock"
    file = lake / work.lake.path(BARS, Partition(BTC, SECOND))
    file.unlink()
    status, gaps, report, refused, mended, made, after = mine.command.sequence(
        "status --json",
        "gaps --json",
        f"report -o {tmp_path / 'report'}",
        f"lock -o {lock}",
        "fill",
        f"lock -o {lock}",
        "status --json",
    )
    [one], [gap] = status.json, gaps.json
    assert (status.code, one["complete"], one["missing"], one["rows"]) == (1, 3, 1, 3 * 1_440)
    assert (gap["state"], gap["day"], gap["cause"]) == ("missing", str(SECOND), "our_failure")
    assert report.out.startswith("Incomplete: 1 of 4 days is missing or partial\n"), report.err
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"its file is missing in the lake {lake}" in page
    assert "our failure" in page.replace("_", " ")
    assert refused.code == 1
    assert "expected the files of 4 stored days, found 1 of them missing or damaged" in refused.message
    assert "`crypto-assets fill` collects them again" in refused.message
    assert f"binance spot {BTC} ohlcv_1m {SECOND}: missing: its file is missing in the lake {lake}" in refused.message
    assert (mended.code, made.code) == (0, 0), mended.err
    assert made.out == f"{lock}: 4 files, 5,760 rows\n"
    [one] = after.json
    assert (after.code, one["complete"], one["rows"]) == (0, 4, 4 * 1_440)
    assert all(map(no_traceback, (status, gaps, report, refused, mended, made, after)))


def test_the_command_lists_shows_restores_and_drops_and_dagster_hears_of_it(
    sandbox, tmp_path, postgres_url, monkeypatch
):
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, project.entry(["ohlcv_1m"], [BTC], FIRST))
    work = Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], FIRST))
    content = work.bytes_at(OF)
    work.publish(OF, content, b"0" * 64 + b"\n")
    other = OF.replace(str(SECOND), str(LAST))
    work.publish(other, b"<html>busy")
    work.collect(FIRST, LAST)
    paths = {file.days[0]: file.path for file in refused_files(work.lake)}
    work.publish(OF, content)

    tick = Ticks(QUARANTINE, mine.collection, str(tmp_path / "lake"), postgres_url)
    assert tick.spec.key == observed_key("quarantine", "binance")
    (observed,) = tick()
    assert (observed.metadata["files"].value, observed.metadata["files whose days are missing"].value) == (2, 2)
    assert paths[SECOND] in observed.metadata["refused files"].value
    assert "|missing|ChecksumMismatch|" in observed.metadata["refused files"].value
    assert tick() == []

    listed, as_json, one, shown, restored, unsure, dropped, rest, wrong = mine.command.sequence(
        "quarantine",
        "quarantine --json --symbol BTC-USDT --from 2024-01-02 --to 2024-01-02",
        "quarantine --symbol ETH/USDT",
        f"quarantine show {paths[LAST]}",
        "quarantine restore --all",
        f"quarantine drop {paths[LAST]}",
        f"quarantine drop {paths[LAST][-12:]} --yes",
        "quarantine --json",
        "quarantine restore",
    )
    assert listed.code == 0, listed.err
    assert f"binance spot {BTC} ohlcv_1m {SECOND} · missing · ChecksumMismatch · {len(content)} bytes" in listed.out
    assert all(path in listed.out for path in paths.values())
    [found] = as_json.json
    assert (found["path"], found["available"], found["days"]) == (
        paths[SECOND],
        False,
        [{"day": str(SECOND), "state": "missing"}],
    )
    assert one.out == "the quarantine is empty\n"
    assert "cannot be unpacked" in shown.out
    assert "<html>busy" in shown.out
    assert restored.code == 1
    assert restored.out == f"binance spot {BTC} ohlcv_1m {SECOND}: available\n"
    assert "still refused" in restored.err
    assert "expected a whole zip" in restored.err
    assert (unsure.code, unsure.message) == (
        2,
        "error: quarantine drop: expected --yes where no terminal can ask; nothing was removed",
    )
    assert (dropped.code, dropped.out) == (0, f"removed {paths[LAST]}\n")
    assert rest.json == []
    assert wrong.code == 2
    assert "expected either a PATH or --all" in wrong.message
    assert list(work.lake.store.paths("quarantine/")) == []
    expected = work.published(BARS, BTC, SECOND)
    assert len(expected) == 1440
    assert work.in_lake(BARS, BTC, SECOND) == work.in_warehouse("ohlcv", BTC, SECOND, "timeframe = '1m'") == expected

    (observed,) = tick()
    assert (observed.metadata["files"].value, observed.metadata["refused files"].value) == (0, "none")
    with mine.instance() as instance, Ledger(postgres_url) as ledger:
        told = recovery.report_unreported(instance, mine.collection, ledger, settled=timedelta(0))
        assert told >= 1
        assert str(SECOND) in instance.get_materialized_partitions(key("binance/spot/ohlcv_1m/BTC-USDT"))
