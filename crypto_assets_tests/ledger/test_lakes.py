"""The ledger against the lake: another lake, a lost file, a damaged one, a table that was emptied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psycopg
import pytest

from crypto_assets.errors import StoredDataError
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.lakes import LostDays, known_lake, lost_days, remember_lake
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State
from crypto_assets.quality.validate import Validator
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.command import Command
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.published import days
from crypto_assets_tests.workbench import Workbench, entry

FIRST = date(2024, 1, 1)
DAYS = days(FIRST, 4)
TODAY = date(2024, 1, 5)
BTC, ETH = "BTC/USDT", "ETH/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"]}, FIRST, date(2024, 1, 9), trades_per_day=1_440)
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture(scope="module")
def collected(sandbox: SandboxServer, module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Four days of two symbols."""
    folder = tmp_path_factory.mktemp("collected") / "lake"
    work = Workbench(sandbox, module_postgres_url, folder, entry("spot", ["ohlcv_1m"], [BTC, ETH], FIRST))
    assert not work.collect(DAYS[0], DAYS[-1]).tally.problems
    return work


@pytest.fixture
def work(collected: Workbench, postgres_server_url: str, tmp_path: Path) -> Iterator[Workbench]:
    """A copy of what was collected, of this test's own."""
    folder = shutil.copytree(collected.folder, tmp_path / "lake")
    with new_database(postgres_server_url, collected.url) as url:
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE collection.lakes SET url = %s", (str(folder),))
        yield Workbench(collected.sandbox, url, folder, *collected.entries)


@dataclass
class Seen:
    """What a comparison came to, and the gaps that follow."""

    lost: LostDays
    gaps: list[tuple[str, date, State | None, str]]


def look(work: Workbench, lake: Lake) -> Seen:
    with Ledger(work.url) as ledger:
        lost = lost_days(ledger, lake, collection=work.collection)
        found = gaps(work.collection, ledger, TODAY, lost=lost.reasons)
        return Seen(lost, [(gap.symbol, gap.day, gap.state, gap.reason) for gap in found])


def move(work: Workbench, folder: Path) -> Lake:
    """Let the bench work with another lake."""
    work.folder, work.lake = folder, Lake(str(folder))
    return work.lake


def file_of(work: Workbench, day: date, symbol: str = BTC) -> Path:
    return work.folder / work.lake.path(BARS, Partition(symbol, day))


def test_a_lake_that_has_everything_is_silent(work: Workbench) -> None:
    seen = look(work, work.lake)
    assert (seen.gaps, seen.lost.notice, seen.lost.stored) == ([], "", 8)


def test_the_id_of_a_lake_is_written_once_also_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: Lake(str(tmp_path / "lake")).make_identity(), range(16)))
    assert len(ids) == 1
    assert json.loads((tmp_path / "lake" / "_lake.json").read_text())["id"] in ids
    (tmp_path / "lake" / "_lake.json").write_text("{")
    again = Lake(str(tmp_path / "lake"))
    assert again.identity() is None
    assert again.make_identity() == again.identity() not in ids


def test_a_lost_file_and_a_damaged_one_are_missing_and_collected_again(work: Workbench) -> None:
    wanted = work.in_lake(BARS, BTC, DAYS[1]), work.in_lake(BARS, ETH, DAYS[2])
    size = file_of(work, DAYS[2], ETH).stat().st_size
    file_of(work, DAYS[1]).unlink()
    file_of(work, DAYS[2], ETH).write_bytes(file_of(work, DAYS[2], ETH).read_bytes()[:-100])
    seen = look(work, work.lake)
    assert seen.gaps == [
        (BTC, DAYS[1], State.MISSING, f"its file is missing in the lake {work.folder}"),
        (
            *(ETH, DAYS[2], State.MISSING),
            f"its file is damaged in the lake {work.folder}: it has {size - 100} bytes, the ledger says {size}",
        ),
    ]
    assert "2 of 8 stored days are not in it as the ledger says" in seen.lost.notice
    assert not work.collect(DAYS[1], DAYS[2]).tally.problems
    assert look(work, work.lake).gaps == []
    assert (work.in_lake(BARS, BTC, DAYS[1]), work.in_lake(BARS, ETH, DAYS[2])) == wanted


def test_an_empty_lake_is_another_one_until_it_is_filled(work: Workbench, tmp_path: Path) -> None:
    former, rows = work.folder, work.in_lake(BARS, BTC, DAYS[0])
    new = move(work, tmp_path / "new")
    seen = look(work, new)
    assert len(seen.gaps) == 8
    assert {gap[2] for gap in seen.gaps} == {State.MISSING}
    assert seen.lost.notice.startswith(
        f"the lake {new.url} is not the ledger's lake ({former}): 8 of 8 stored days are not in it"
    )
    assert not (tmp_path / "new").exists(), "a look makes no lake"
    result = work.collect(DAYS[0], DAYS[-1])
    assert (result.tally.unchanged, result.tally.problems) == (0, [])
    assert look(work, new).gaps == []
    with Ledger(work.url) as ledger, ledger.transaction() as connection:
        known = known_lake(connection)
    assert known is not None
    assert (known.id, known.url) == (new.identity(), new.url)
    assert work.in_lake(BARS, BTC, DAYS[0]) == rows


def test_a_lake_whose_folder_is_gone_says_what_to_do(work: Workbench) -> None:
    shutil.rmtree(work.folder)
    seen = look(work, work.lake)
    assert len(seen.gaps) == 8
    assert (
        "(that one was here too, and was deleted): 8 of 8 stored days are not in it; bring it back" in seen.lost.notice
    )


def test_a_folder_that_somebody_has_removed_is_filled_again_and_one_beside_which_nothing_is_may_be_unmounted(
    work: Workbench, tmp_path: Path
) -> None:
    shutil.rmtree(work.folder)
    (tmp_path / "something").touch()
    assert not work.collect(DAYS[0], DAYS[-1]).tally.problems
    assert look(work, work.lake).gaps == []
    alone = Lake(str(tmp_path / "mountpoint" / "lake"))
    alone_folder = tmp_path / "mountpoint"
    alone_folder.mkdir()
    assert not alone.was_removed


def unmount(work: Workbench) -> Path:
    """Take a lake away from its place, where an empty folder stays; return where it is now."""
    disk = work.folder.rename(work.folder.with_name("disk"))
    work.folder.mkdir()
    return disk


def what_lies_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_is_written_where_a_lake_was_unmounted(work: Workbench) -> None:
    disk = unmount(work)
    before = work.records()
    with pytest.raises(
        StoredDataError, match=r"is not where it was: .* 8 stored days, none is there now\. Is its disk"
    ):
        work.collect(DAYS[0], DAYS[-1])
    assert (what_lies_in(work.folder), work.records()) == ([], before)
    work.folder.rmdir()
    disk.rename(work.folder)
    assert work.collect(DAYS[0], DAYS[-1]).tally.unchanged == 8, "it is mounted again"


def test_the_commands_say_what_to_do_about_a_lake_that_was_unmounted(work: Workbench, tmp_path: Path) -> None:
    command = Command.at(tmp_path, work.url, CRYPTO_ASSETS_LAKE_URL=str(work.folder))
    command.configure(work.collection.model_dump(mode="json"))
    days_of = ("--symbol", BTC, "--from", str(DAYS[0]), "--to", str(DAYS[-1]))
    disk = unmount(work)
    for arguments in (("collect", *days_of), ("fill", *days_of)):
        answer = command(*arguments)
        assert (answer.code, what_lies_in(work.folder)) == (1, [])
        assert "is not where it was" in answer.message
        assert "Is its disk mounted? Nothing was written. Bring it back; or, if it is lost" in answer.message
        assert "`crypto-assets fill --new-lake`" in answer.message
    answer = command("fill", *days_of, "--new-lake")
    assert answer.code == 0, answer.err
    assert file_of(work, DAYS[0]).read_bytes() == (disk / work.lake.path(BARS, Partition(BTC, DAYS[0]))).read_bytes()


def test_nothing_is_written_into_another_disk_at_the_place_of_a_lake(work: Workbench) -> None:
    unmount(work)
    other = work.lake.make_identity()
    with pytest.raises(StoredDataError, match=f"the lake {other[:8]}… is there now"):
        work.collect(DAYS[0], DAYS[-1])
    assert [path.name for path in what_lies_in(work.folder)] == ["_lake.json"]


def test_a_lake_that_was_emptied_on_purpose_is_filled_once_somebody_says_so(work: Workbench) -> None:
    rows = work.in_lake(BARS, BTC, DAYS[0])
    unmount(work)
    with Ledger(work.url) as ledger:
        remember_lake(ledger, work.lake)
    result = work.collect(DAYS[0], DAYS[-1])
    assert (result.tally.unchanged, result.tally.problems) == (0, [])
    assert (look(work, work.lake).gaps, work.in_lake(BARS, BTC, DAYS[0])) == ([], rows)
    assert work.collect(DAYS[0], DAYS[-1]).tally.unchanged == 8, "it is the lake from then on"


@pytest.mark.parametrize("content", [None, "", "{", "[" * 100_000, '{"id": null', "\xff"])
def test_a_lake_whose_id_is_lost_is_known_by_its_files_and_gets_it_back(work: Workbench, content: str | None) -> None:
    before, file = work.lake.identity(), work.folder / "_lake.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content, encoding="latin-1")
    assert work.collect(DAYS[0], DAYS[-1]).tally.unchanged == 8
    assert work.lake.identity() == before


def test_a_lake_whose_id_has_another_digit_is_known_by_its_files(work: Workbench) -> None:
    file = work.folder / "_lake.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"id": content["id"][:-1]}))
    file_of(work, DAYS[1]).unlink()
    with Ledger(work.url) as ledger:
        tally = Validator(work.lake, ledger).run(work.targets(DAYS[0], DAYS[-1]))
    assert [outcome.partition.day for outcome in tally.problems] == [DAYS[1]], (
        "it is judged by it, not called another lake"
    )
    assert work.collect(DAYS[0], DAYS[-1]).tally.unchanged == 7
    assert look(work, work.lake).lost.other is None


def test_validating_where_a_lake_was_unmounted_changes_nothing(work: Workbench) -> None:
    before = work.records()
    unmount(work)
    with Ledger(work.url) as ledger, pytest.raises(StoredDataError, match="is not where it was"):
        Validator(work.lake, ledger).run(work.targets(DAYS[0], DAYS[-1]))
    assert (work.records(), what_lies_in(work.folder)) == (before, [])


def test_a_place_that_the_ledger_does_not_know_may_be_empty_and_the_former_one_is_watched(
    work: Workbench, tmp_path: Path
) -> None:
    former = work.folder
    move(work, tmp_path / "new")
    assert not work.collect(DAYS[0], DAYS[-1]).tally.problems
    move(work, former)
    disk = unmount(work)
    with pytest.raises(StoredDataError, match="is not where it was"):
        work.collect(DAYS[0], DAYS[-1])
    assert disk.is_dir()


def test_a_whole_copy_is_the_same_lake_and_its_place_is_remembered(work: Workbench, tmp_path: Path) -> None:
    copy = Lake(str(shutil.copytree(work.folder, tmp_path / "copy")))
    seen = look(work, copy)
    assert (seen.gaps, seen.lost.notice, seen.lost.other) == ([], "", None)
    with Ledger(work.url) as ledger, ledger.transaction() as connection:
        known = known_lake(connection)
    assert known is not None
    assert (known.id, known.url) == (work.lake.identity(), copy.url)


def test_a_copy_without_the_id_is_judged_by_its_files(work: Workbench, tmp_path: Path) -> None:
    shutil.copytree(work.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("_lake.json"))
    copy = move(work, tmp_path / "copy")
    assert (look(work, copy).gaps, look(work, copy).lost.notice) == ([], "")
    file_of(work, DAYS[3]).unlink()
    assert [gap[:2] for gap in look(work, copy).gaps] == [(BTC, DAYS[3])]


def test_two_ledgers_of_one_lake_do_not_disturb_each_other(
    work: Workbench, sandbox: SandboxServer, postgres_server_url: str
) -> None:
    with new_database(postgres_server_url) as url:
        other = Workbench(sandbox, url, work.folder, *work.entries)
        assert not other.collect(DAYS[0], DAYS[-1]).tally.problems
        assert look(other, other.lake).gaps == look(work, work.lake).gaps == []
        with Ledger(url) as mine, Ledger(work.url) as theirs, mine.transaction() as one, theirs.transaction() as two:
            assert known_lake(one) in (None, known_lake(two))


def test_a_lost_day_that_cannot_be_collected_stays_missing(work: Workbench) -> None:
    file_of(work, DAYS[1]).unlink()
    work.archive_url = work.listing_url = "http://127.0.0.1:9"
    result = work.collect(DAYS[1], DAYS[1])
    assert result.of(DAYS[1]).state is State.MISSING
    assert [gap[:3] for gap in look(work, work.lake).gaps] == [(BTC, DAYS[1], State.MISSING)]


def test_only_what_is_asked_is_compared(work: Workbench) -> None:
    file_of(work, DAYS[0]).unlink()
    file_of(work, DAYS[3], ETH).unlink()
    with Ledger(work.url) as ledger:
        one = lost_days(ledger, work.lake, [(BARS, ETH)])
        late = lost_days(ledger, work.lake, None, DAYS[1], DAYS[3])
        none = lost_days(ledger, work.lake, [])
    assert (list(one.reasons), one.stored) == ([(BARS, ETH, DAYS[3])], 4)
    assert (list(late.reasons), late.stored) == ([(BARS, ETH, DAYS[3])], 6)
    assert (none.reasons, none.stored) == ({}, 0)


def test_validating_in_another_lake_changes_nothing(work: Workbench, tmp_path: Path) -> None:
    before = work.records()
    with Ledger(work.url) as ledger:
        with pytest.raises(StoredDataError, match="is not the ledger's lake"):
            Validator(Lake(str(tmp_path / "new")), ledger).run(work.targets(DAYS[0], DAYS[-1]))
        assert work.records() == before
        file_of(work, DAYS[2]).unlink()
        tally = Validator(work.lake, ledger).run(work.targets(DAYS[0], DAYS[-1]))
    assert [outcome.partition.day for outcome in tally.problems] == [DAYS[2]]


def test_days_of_an_emptied_table_are_missing_and_loaded_again(work: Workbench) -> None:
    rows = work.in_warehouse("ohlcv", BTC, DAYS[0], "timeframe = '1m'")
    with psycopg.connect(work.url) as connection:
        connection.execute("TRUNCATE market.ohlcv_202401")
    seen = look(work, work.lake)
    assert len(seen.gaps) == 8
    assert seen.gaps[0] == (
        *(BTC, DAYS[0], State.MISSING),
        "its rows are missing in Postgres: market.ohlcv_202401 was emptied",
    )
    assert seen.lost.notice == "", "the lake has all files"
    # One day comes back, and the table is not empty any more: the others are missing as before.
    work.collect(DAYS[0], DAYS[0])
    assert work.in_warehouse("ohlcv", BTC, DAYS[0], "timeframe = '1m'") == rows
    assert [gap[:2] for gap in look(work, work.lake).gaps] == [(s, d) for s in (BTC, ETH) for d in DAYS[1:]]
    result = work.collect(DAYS[0], DAYS[-1])
    assert result.tally.unchanged == 8, "the files of the lake are good"
    assert look(work, work.lake).gaps == []
    with psycopg.connect(work.url) as connection:
        connection.execute("DROP TABLE market.ohlcv_202401")
    assert len(look(work, work.lake).gaps) == 8


def test_a_table_that_the_collection_does_not_fill_any_more_may_be_emptied(work: Workbench) -> None:
    work.entries = [entry("spot", ["trades"], [BTC], FIRST, warehouse=["trades", "trade_statistics_1m"])]
    work.collect(DAYS[0], DAYS[1])
    with psycopg.connect(work.url) as connection:
        connection.execute("TRUNCATE market.trades_20240101")

    def seen() -> list[date]:
        return [gap[1] for gap in look(work, work.lake).gaps if gap[1] < DAYS[2]]

    assert seen() == [DAYS[0]]
    work.entries = [entry("spot", ["trades"], [BTC], FIRST)]
    assert seen() == []
