"""Files too large for memory, from the host to lake and warehouse: the same days as from memory, and the same refusals."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from crypto_assets import datasets
from crypto_assets.engine.run_context import Stores
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State, Track
from crypto_assets.quality.quarantine.refused_files import refused_files
from crypto_assets.quality.quarantine.retry import restorer
from crypto_assets.rows.arrange import arranged
from crypto_assets.rows.on_disk import RowsOnDisk
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources import formats_zip, packing
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.parquet_writing import describe, encode
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets.transport import body
from crypto_assets_tests.parsed import rows_of_file
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry, total

DAY, NEXT, END = date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 2)
BTC = "BTC/USDT"
TRADES = Series("binance", "spot", "trades")


@pytest.fixture(scope="module")
def served() -> Iterator[SandboxServer]:
    with SandboxServer(
        SyntheticArchive({"spot": {"BTCUSDT": (date(2024, 1, 1), END)}}, trades_per_day=1_440)
    ) as server:
        yield server


@pytest.fixture
def work(
    served: SandboxServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workbench]:
    """A workbench for which every file is too large: of the download, the text and the rows only pieces are in memory."""
    monkeypatch.setattr(body, "MOST_IN_MEMORY", 3_000)
    monkeypatch.setattr(packing, "MOST_WHOLE_BYTES", 15_000)
    monkeypatch.setattr(packing, "PIECE_BYTES", 7_000)
    monkeypatch.setattr(formats_zip, "_CHUNK", 4_000)
    monkeypatch.setattr(RowsOnDisk.pieces, "__defaults__", (300,))
    monkeypatch.setattr("crypto_assets.rows.arrange_on_disk.PIECE_ROWS", 300)
    tables = ["trades", "trade_statistics_1m"]
    yield Workbench(served, postgres_url, tmp_path / "lake", entry("spot", ["trades"], [BTC], DAY, warehouse=tables))
    served.app.state.overrides.clear()


def republish(work: Workbench, change: Callable[[list[str]], list[str]], stamp: date | str = DAY) -> str:
    """Publish a file with other lines; return its key."""
    key = work.key(TRADES, BTC, stamp, "daily" if isinstance(stamp, date) else "monthly")
    lines = text_of(work.bytes_at(key)).splitlines(keepends=True)
    header = [] if lines[0][0].isdigit() else [lines.pop(0)]
    work.publish(key, zip_of(key, "".join([*header, *change(lines)])))
    return key


def shuffled(lines: list[str]) -> list[str]:
    return random.Random(7).sample(lines, len(lines))


def bytes_from_memory(work: Workbench, day: date) -> bytes:
    """Return the file of a day that is read and written at once."""
    record = work.records()[BTC, "trades", day]
    assert record.source_file is not None
    rows = rows_of_file(Track(TRADES, BTC), record.source_file.key, work.bytes_at(record.source_file.key))
    dataset = datasets.get("trades")
    return encode(arranged(rows, dataset).rows, describe(TRADES, Partition(BTC, day), record.source_file), dataset)


def test_a_large_day_is_the_day_that_fits_into_memory(work: Workbench):
    expected = work.published(TRADES, BTC, DAY)
    outcome = work.collect(DAY, DAY).of(DAY, "trades")
    assert (outcome.state, list(outcome.failed_checks)) == (State.AVAILABLE, [])
    assert work.in_lake(TRADES, BTC, DAY) == expected
    assert outcome.stored is not None
    assert work.lake.get_bytes(outcome.stored.path) == bytes_from_memory(work, DAY)
    assert work.in_warehouse("trades", BTC, DAY) == expected
    minutes = work.in_warehouse("trade_statistics_1m", BTC, DAY)
    assert total(minutes, 3) == total(expected, 4)
    assert sum(row[4] for row in minutes) == len(expected)
    again = work.collect(DAY, DAY).of(DAY, "trades")
    assert again.unchanged
    assert again.warehouse_rows == outcome.warehouse_rows


def not_at_once(*_: object, **__: object) -> None:
    raise AssertionError("expected that a large day is handled in pieces, found that it is in memory at once")


def test_a_large_day_that_is_stored_is_checked_again_from_disk(work: Workbench, monkeypatch: pytest.MonkeyPatch):
    first = work.collect(DAY, DAY).of(DAY, "trades")
    monkeypatch.setattr("crypto_assets.engine.publication.stored_file.MOST_ROWS", 1_000)
    monkeypatch.setattr(Lake, "open", not_at_once)
    # Judged by another version of the checks: the stored day is checked anew.
    with psycopg.connect(work.url) as connection:
        connection.execute("UPDATE collection.partitions SET judged_by = 'before'")
    again = work.collect(DAY, DAY).of(DAY, "trades")
    assert (again.state, list(again.failed_checks), again.unchanged) == (State.AVAILABLE, [], True)
    assert again.warehouse_rows == first.warehouse_rows
    assert work.records()[BTC, "trades", DAY].judged_by != "before"


def test_a_large_month_in_no_order_gives_its_days_in_order(work: Workbench):
    expected = {day: work.published(TRADES, BTC, day) for day in (DAY, NEXT)}
    for day in expected:
        work.hide(work.key(TRADES, BTC, day))
    republish(work, shuffled, "2024-01")
    result = work.collect(DAY, NEXT)
    for day, rows in expected.items():
        outcome = result.of(day, "trades")
        assert (outcome.state, list(outcome.failed_checks)) == (State.AVAILABLE, ["file_order"])
        assert work.in_lake(TRADES, BTC, day) == rows
        assert work.in_warehouse("trades", BTC, day) == rows


def test_a_large_day_that_changed_is_compared_with_its_former_version(work: Workbench):
    work.collect(DAY, DAY)
    republish(work, lambda lines: lines[:700] + lines[701:])
    outcome = work.collect(DAY, DAY).of(DAY, "trades")
    assert outcome.correction is not None
    assert outcome.correction.difference is not None
    assert (outcome.correction.difference.removed, outcome.correction.difference.added) == (1, 0)
    assert work.in_warehouse("trades", BTC, DAY) == work.published(TRADES, BTC, DAY)


def exchanged_times(lines: list[str]) -> list[str]:
    one, other = lines[700].split(","), lines[900].split(",")
    one[4], other[4] = other[4], one[4]
    return [*lines[:700], ",".join(one), *lines[701:900], ",".join(other), *lines[901:]]


def wrong_number(lines: list[str]) -> list[str]:
    return [*lines[:1_300], lines[1_300].replace(",", ",4e", 1), *lines[1_301:]]


def price_of_zero(lines: list[str]) -> list[str]:
    number, _, rest = lines[1_300].split(",", 2)
    return [*lines[:1_300], f"{number},0.00,{rest}", *lines[1_301:]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (exchanged_times, "times and ids contradict each other"),
        (wrong_number, "scientific notation"),
        (price_of_zero, "not allowed"),
    ],
)
def test_a_large_file_that_is_refused_is_kept_whole(work: Workbench, change, reason: str):
    key = republish(work, change)
    outcome = work.collect(DAY, DAY).of(DAY, "trades")
    assert outcome.state is State.MISSING
    assert reason in outcome.reason
    ((path, why),) = work.quarantined().items()
    assert work.lake.get_bytes(path) == work.bytes_at(key)
    assert why["size_bytes"] == len(work.bytes_at(key))
    assert work.in_warehouse("trades", BTC, DAY) == []


def test_a_large_file_that_is_cut_is_refused_though_its_first_pieces_were_good(work: Workbench):
    key = work.key(TRADES, BTC, DAY)
    content = bytearray(work.bytes_at(key))
    content[len(content) - 300] ^= 1
    work.publish(key, bytes(content))
    outcome = work.collect(DAY, DAY).of(DAY, "trades")
    assert outcome.state is State.MISSING
    assert "expected a whole zip" in outcome.reason
    assert work.in_warehouse("trades", BTC, DAY) == []


def test_a_large_refused_file_is_restored_in_pieces(work: Workbench, monkeypatch: pytest.MonkeyPatch):
    expected = work.published(TRADES, BTC, DAY)
    key = work.key(TRADES, BTC, DAY)
    work.publish(key, work.bytes_at(key), checksum=b"0" * 64 + b"  x\n")
    assert work.collect(DAY, DAY).of(DAY, "trades").state is State.MISSING
    work.publish(key, work.bytes_at(key))
    monkeypatch.setattr("crypto_assets.engine.archive.read_files.split_days", not_at_once)
    with (
        Ledger(work.url) as ledger,
        Warehouse(work.url) as warehouse,
        restorer(work.collection, Stores(work.lake, warehouse, ledger)) as judge,
    ):
        (file,) = refused_files(work.lake, work.collection)
        result = judge.restore(file)
    assert result.stored == {DAY: (State.AVAILABLE, "")}
    assert work.in_lake(TRADES, BTC, DAY) == expected
