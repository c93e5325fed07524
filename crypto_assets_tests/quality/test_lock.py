"""Lock files: the same bytes for the same data, and what became of each file when somebody asks later."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

import crypto_assets
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Partition, Series, SourceFile, State, StoredFile
from crypto_assets.quality.lock.content import Lock, to_text, write_lock
from crypto_assets.quality.lock.create import make_lock
from crypto_assets.quality.lock.file import read_lock
from crypto_assets.quality.lock.verify import Found, Verification, verify
from crypto_assets.quality.query import Query
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.published import days, text_of, zip_of
from crypto_assets_tests.sources.files import zipped
from crypto_assets_tests.workbench import Workbench, entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC, ETH = "BTC/USDT", "ETH/USDT"
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 4)
SECOND = date(2024, 1, 2)
MISSING = date(2024, 1, 3)


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"]}, FIRST, LAST, trades_per_day=300)) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    yield running
    running.app.state.overrides.clear()


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Workbench:
    """Three days of BTC of four, for the exchange does not publish one; ETH is in the collection and was never collected."""
    work = Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], FIRST))
    work.hide(work.key(BARS, BTC, MISSING))
    work.collect(FIRST, LAST)
    return work


def lock(work: Workbench, *, as_of: datetime | None = None, whole: bool = False, **query: Any) -> Lock:
    with Ledger(work.url) as ledger:
        return make_lock(ledger, Query(**query), as_of=as_of, collection=work.collection if whole else None)


def check(work: Workbench, locked: Lock, *, quick: bool = False) -> Verification:
    with Ledger(work.url) as ledger:
        return verify(locked, None if quick else work.lake, ledger)


def found(result: Verification) -> dict[date, Found]:
    return {verdict.file.day: verdict.found for verdict in result.verdicts}


def republish(work: Workbench, day: date, change: Callable[[str], str]) -> None:
    """Let the exchange correct one volume of a day, and collect it."""
    of = work.key(BARS, BTC, day)
    lines = text_of(work.bytes_at(of)).splitlines()
    cells = lines[700].split(",")
    cells[5] = change(cells[5])
    lines[700] = ",".join(cells)
    work.publish(of, zip_of(of, "\n".join(lines) + "\n"))
    work.collect(day, day)


def more(text: str) -> str:
    return str(Decimal(text) + Decimal("12.5"))


# ---- what is written -------------------------------------------------------------------------------------------------


def test_a_lock_names_every_file_and_every_day_without_one(work: Workbench) -> None:
    locked = lock(work)
    assert [file.day for file in locked.files] == [FIRST, SECOND, LAST]
    records = work.records()
    for file in locked.files:
        record = records[BTC, "ohlcv_1m", file.day]
        _, stored, source = work.lake.open(BARS, Partition(BTC, file.day))
        assert (file.path, file.rows, file.sha256) == (stored.path, 1440, stored.sha256)
        assert (file.source_key, file.source_sha256, file.source) == (source.key, source.sha256, "archive")
        assert (file.version, file.state, file.known_from) == (1, "available", record.known_from)
    [without] = locked.without_file
    assert (without.first, without.last, without.state) == (MISSING, MISSING, "missing")
    assert without.reason == records[BTC, "ohlcv_1m", MISSING].reason
    assert "does not list it" in without.reason


def test_a_lock_names_every_file_of_a_day_that_came_from_several(work: Workbench, tmp_path: Path) -> None:
    series, partition = BARS, Partition(BTC, FIRST)
    record = work.records()[BTC, "ohlcv_1m", FIRST]
    files = SourceFile.joined([record.source_file, SourceFile("more.gz", 9, "", "b" * 64, f"md5:{'1' * 32}")])
    stored = StoredFile(record.path, record.rows, record.size_bytes, record.content_sha256)
    with Ledger(work.url) as ledger:
        ledger.record_outcomes([Outcome(series, partition, State.AVAILABLE, source=files, stored=stored)])
    locked = lock(work)
    assert [len(file.source_files) for file in locked.files] == [2, 0, 0]
    assert locked.files[0].source_key == f"{record.source_key} + more.gz"
    assert locked.files[0].source_files[1] == files.described_parts[1]
    write_lock(locked, tmp_path / "a.lock")
    assert read_lock(tmp_path / "a.lock").files == locked.files


def test_the_same_data_locked_twice_is_the_same_text_but_for_the_time(work: Workbench, tmp_path: Path) -> None:
    first, second = to_text(lock(work)), to_text(lock(work))
    different = [pair for pair in zip(first.splitlines(), second.splitlines(), strict=True) if pair[0] != pair[1]]
    assert [pair[0].partition(":")[0] for pair in different] == ['"created_at"']
    assert sum(line.startswith('{"exchange"') and '"sha256"' in line for line in first.splitlines()) == 3
    write_lock(lock(work), tmp_path / "a.lock")
    assert read_lock(tmp_path / "a.lock").files == lock(work).files

    republish(work, SECOND, more)
    third = to_text(lock(work))
    changed = [a for a, b in zip(first.splitlines(), third.splitlines(), strict=True) if a != b]
    assert [line[:12] for line in changed] == ['{"exchange":', '"created_at"', '"digest": "s']
    assert str(SECOND) in changed[0]


def test_days_that_were_never_collected_and_symbols_too_are_named(work: Workbench) -> None:
    work.entries = [entry("spot", ["ohlcv_1m"], [BTC, ETH], date(2023, 12, 30))]
    locked = lock(work, whole=True, last=date(2024, 1, 6))
    assert [
        (a.symbol, a.first, a.last, a.state, a.reason) for a in locked.without_file if a.state == "not collected yet"
    ] == [
        (BTC, date(2023, 12, 30), date(2023, 12, 31), "not collected yet", "not collected yet"),
        (BTC, date(2024, 1, 5), date(2024, 1, 6), "not collected yet", "not collected yet"),
        (ETH, date(2023, 12, 30), date(2024, 1, 6), "not collected yet", "not collected yet"),
    ]
    every = {(file.symbol, file.day) for file in locked.files}
    every |= {
        (a.symbol, a.first + timedelta(days=n)) for a in locked.without_file for n in range((a.last - a.first).days + 1)
    }
    assert every == {(symbol, day) for symbol in (BTC, ETH) for day in days(date(2023, 12, 30), 8)}
    assert lock(work, whole=True, symbols=("BTC-USDT",), first=FIRST, last=SECOND).without_file == ()


def test_a_question_that_chooses_nothing_is_an_error(work: Workbench) -> None:
    with pytest.raises(ConfigError, match="--symbol BTC/USDC: no such value is known; did you mean BTC/USDT"):
        lock(work, symbols=("BTC/USDC",))
    with pytest.raises(ConfigError, match="--dataset ohlcv_1h"):
        lock(work, datasets=("ohlcv_1h",))
    with pytest.raises(ConfigError, match="expected the form BTC/USDT"):
        lock(work, symbols=("BTCUSDT",))
    with pytest.raises(ConfigError, match="nothing is stored for this query"):
        lock(work, first=MISSING, last=MISSING)
    with pytest.raises(ConfigError, match="expected an instant in the past"):
        lock(work, as_of=datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace('"rows": 1440', '"rows": 1439', 1), "it was edited or damaged"),
        (lambda text: text.replace('"state": "missing"', '"state": "no_data"'), "it was edited or damaged"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "expected format 1, found 2.*update it"),
        (lambda text: text[:-40], "expected the JSON of `crypto-assets lock`, found other text"),
        (lambda text: "[1, 2]", "found other JSON"),
        (lambda text: '{"format": 1, "digest": "sha256:0"}', "edited or damaged"),
    ],
    ids=["rows", "state", "format", "cut", "list", "empty"],
)
def test_a_file_that_is_no_lock_is_refused(work: Workbench, tmp_path: Path, change, says: str) -> None:
    path = tmp_path / "dataset.lock"
    write_lock(lock(work), path)
    assert len(read_lock(path).files) == 3
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(ConfigError, match=says):
        read_lock(path)


def test_another_time_of_making_is_no_edit(work: Workbench, tmp_path: Path) -> None:
    path = tmp_path / "dataset.lock"
    locked = lock(work)
    write_lock(locked, path)
    at = locked.created_at.isoformat()
    path.write_text(path.read_text().replace(at, "2020-01-01T00:00:00+00:00"))
    assert read_lock(path).created_at == datetime(2020, 1, 1, tzinfo=UTC)


# ---- what became of it -----------------------------------------------------------------------------------------------


def test_what_was_not_touched_is_the_same_here_and_in_a_copy(work: Workbench, tmp_path: Path) -> None:
    locked = lock(work)
    expected = dict.fromkeys((FIRST, SECOND, LAST), Found.SAME)
    for quick in (False, True):
        result = check(work, locked, quick=quick)
        assert result.same
        assert found(result) == expected
        assert result.appeared == ()
    shutil.copytree(work.folder, tmp_path / "copy")
    elsewhere = verify(locked, Lake(str(tmp_path / "copy")), None)
    assert elsewhere.same
    assert found(elsewhere) == expected


def test_a_replaced_day_is_named_with_the_way_to_the_former_rows(work: Workbench, monkeypatch) -> None:
    locked = lock(work)
    former = work.published(BARS, BTC, SECOND)
    republish(work, SECOND, more)
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(work.folder))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", work.url)
    for quick in (False, True):
        result = check(work, locked, quick=quick)
        assert found(result) == {FIRST: Found.SAME, SECOND: Found.REPLACED, LAST: Found.SAME}
        [verdict] = [verdict for verdict in result.verdicts if verdict.found is not Found.SAME]
        assert "rows 1 changed; columns volume" in verdict.text
        assert verdict.as_of is not None
        assert f'read(..., as_of="{verdict.as_of.isoformat()}")' in verdict.text
        rows = crypto_assets.read("binance", BTC, "ohlcv_1m", SECOND, SECOND, exact=True, as_of=verdict.as_of)
        assert list(rows["volume"]) == [row[5] for row in former]
    alone = verify(locked, work.lake, None)
    [verdict] = [verdict for verdict in alone.verdicts if verdict.found is not Found.SAME]
    assert (verdict.found, verdict.as_of) == (Found.REPLACED, locked.created_at)
    rows = crypto_assets.read("binance", BTC, "ohlcv_1m", SECOND, SECOND, exact=True, as_of=verdict.as_of)
    assert list(rows["volume"]) == [row[5] for row in former]

    relocked = lock(work)
    assert [file.version for file in relocked.files] == [1, 2, 1]
    assert check(work, relocked).same


def test_damaged_and_lost_files_are_told_from_replaced_ones(work: Workbench) -> None:
    locked = lock(work)
    paths = {file.day: work.folder / file.path for file in locked.files}
    damaged = bytearray(paths[FIRST].read_bytes())
    damaged[200] ^= 1
    paths[FIRST].write_bytes(damaged)
    paths[SECOND].unlink()
    result = check(work, locked)
    assert found(result) == {FIRST: Found.CHANGED, SECOND: Found.MISSING, LAST: Found.SAME}
    assert not result.same
    assert "which was never published" in result.verdicts[0].text
    assert check(work, locked, quick=True).same, "the ledger does not look at the disk"
    with Ledger(work.url) as ledger, ledger.transaction() as connection:
        connection.execute("DELETE FROM collection.partitions WHERE day = %s", (SECOND,))
    assert found(check(work, locked, quick=True))[SECOND] is Found.MISSING


def test_a_day_that_was_published_again_with_equal_rows_is_not_the_same_file(work: Workbench) -> None:
    locked = lock(work)
    of = work.key(BARS, BTC, SECOND)
    member = of.rpartition("/")[2].replace(".zip", ".csv")
    work.publish(of, zipped(member, text_of(work.bytes_at(of)), zipfile.ZIP_STORED))
    work.collect(SECOND, SECOND)
    assert work.records()[BTC, "ohlcv_1m", SECOND].known_from == locked.files[1].known_from
    for quick in (False, True):
        result = check(work, locked, quick=quick)
        assert found(result)[SECOND] is Found.REPLACED
        assert (
            "published again, rows equal; the earlier file was not kept, create the lock again"
            in result.verdicts[1].text
        )


def test_days_that_appear_are_information(work: Workbench) -> None:
    locked = lock(work)
    work.sandbox.app.state.overrides.clear()
    work.collect(MISSING, MISSING)
    for quick in (False, True):
        result = check(work, locked, quick=quick)
        assert result.same
        assert result.appeared == (((BARS, BTC), (MISSING,)),)
    assert check(work, lock(work, last=SECOND)).appeared == (), "what was not asked for does not appear"


def test_a_lock_of_a_former_instant_has_the_versions_of_then(work: Workbench) -> None:
    republish(work, SECOND, more)
    [former] = [file for file in _versions(work) if file[0] == SECOND]
    before = former[2] - timedelta(microseconds=1)
    work.sandbox.app.state.overrides.pop(work.key(BARS, BTC, MISSING))
    work.sandbox.app.state.overrides.pop(work.key(BARS, BTC, MISSING) + ".CHECKSUM")
    work.collect(MISSING, MISSING)
    locked = lock(work, as_of=before)
    files = {file.day: file for file in locked.files}
    assert sorted(files) == [FIRST, SECOND, LAST]
    assert (files[SECOND].path, files[SECOND].version, files[SECOND].state) == (former[1], 1, "available")
    assert [(a.first, a.state) for a in locked.without_file] == [(MISSING, "not collected yet")]
    assert "collected later" in locked.without_file[0].reason
    for quick in (False, True):
        result = check(work, locked, quick=quick)
        assert result.same
        assert result.appeared == (((BARS, BTC), (MISSING,)),)


def test_of_a_day_that_has_grown_only_the_rows_of_then_are_locked(work: Workbench, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(work.folder))
    monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", work.url)
    known_from = work.records()[BTC, "ohlcv_1m", SECOND].known_from
    assert known_from is not None
    now_whole = lock(work)
    _grew(work, 700, known_from + timedelta(microseconds=5))
    locked = lock(work, as_of=known_from, first=SECOND, last=SECOND)
    [file] = locked.files
    assert (file.rows, file.sha256) == (700, now_whole.files[1].sha256)
    write_lock(locked, tmp_path / "then.lock")
    rows = crypto_assets.read("binance", BTC, "ohlcv_1m", SECOND, SECOND, exact=True, lock=tmp_path / "then.lock")
    assert list(rows["volume"]) == [row[5] for row in work.published(BARS, BTC, SECOND)[:700]]

    # The day grows once more: another file, of which the first rows are those that were locked.
    until = known_from + timedelta(microseconds=9)
    other = (work.folder / now_whole.files[0].path).read_bytes()
    (work.folder / now_whole.files[1].path).write_bytes(other)
    _grew(work, 1440, until)
    with psycopg.connect(work.url) as connection:
        connection.execute(
            "UPDATE collection.partitions SET content_sha256 = %s WHERE day = %s", (now_whole.files[0].sha256, SECOND)
        )
    for quick in (False, True):
        verdict = check(work, now_whole, quick=quick).verdicts[1]
        assert (verdict.found, verdict.as_of) == (Found.REPLACED, until - timedelta(microseconds=1))
        assert "the day has grown" in verdict.text


def _grew(work: Workbench, rows: int, until: datetime) -> None:
    with psycopg.connect(work.url) as connection:
        connection.execute(
            "INSERT INTO collection.growth (exchange, market_type, symbol, dataset, day, known_to, rows) "
            "VALUES ('binance', 'spot', %s, 'ohlcv_1m', %s, %s, %s)",
            (BTC, SECOND, until, rows),
        )


def _versions(work: Workbench) -> list[tuple[date, str, datetime]]:
    with psycopg.connect(work.url) as connection:
        return connection.execute("SELECT day, path, known_to FROM collection.versions").fetchall()
