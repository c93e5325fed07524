"""Files of the lake that are not what was written: each is its day's `missing`, named, and is collected again.

All of them lie in one lake at once, for one damaged file is not to keep anybody from the other days.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crypto_assets import client
from crypto_assets.defs.asset_keys import daily
from crypto_assets.defs.io_managers import LakeIOManager
from crypto_assets.defs.resources import LakeResource
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Partition, Series, State
from crypto_assets.quality.validate import Validator
from crypto_assets.reading.stored_days import LakeQuestion, read_lake
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.selftest.store_damage import flip_bit
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.parquet import MARK
from crypto_assets_tests.conftest import new_database
from crypto_assets_tests.published import days
from crypto_assets_tests.workbench import Result, Workbench, entry

FIRST = date(2024, 1, 1)
BTC = "BTC/USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")
COLUMNS = ["open_time", "close"]

Damage = Callable[[Path], None]


def _footer_without_text(file: Path) -> None:
    """Metadata that are no UTF-8: Arrow gives a UnicodeDecodeError, which is no error of its own."""
    content = file.read_bytes()
    place = content.rindex(b"crypto_assets.source_key")
    file.write_bytes(content[:place] + b"\xff" + content[place + 1 :])


def _null_in_a_price(file: Path) -> None:
    table = pq.ParquetFile(pa.BufferReader(file.read_bytes())).read()
    closes = pa.array([None, *table.column("close").to_pylist()[1:]], table.schema.field("close").type)
    schema = pa.schema([field.with_nullable(True) for field in table.schema], table.schema.metadata)
    columns = [closes if name == "close" else table.column(name) for name in table.column_names]
    pq.write_table(pa.table(columns, schema=schema), file)


def _folder(file: Path) -> None:
    file.unlink()
    (file / "mine").mkdir(parents=True)


def _file_for_a_folder(file: Path) -> None:
    """As a file system that was repaired may leave it."""
    shutil.rmtree(file.parent)
    file.parent.write_bytes(b"mine")


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _socket(file: Path) -> None:
    file.unlink()
    here = Path.cwd()
    os.chdir(file.parent)  # a socket's path may have 107 characters only
    try:
        with closing(socket.socket(socket.AF_UNIX)) as server:
            server.bind(file.name)
    finally:
        os.chdir(here)


def _link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _bad_sector(file: Path) -> None:
    """The kernel answers with EIO, as of a disk that is dying."""
    file.unlink()
    file.symlink_to("/proc/self/mem")


def _other_rows(file: Path) -> None:
    table = pq.ParquetFile(pa.BufferReader(file.read_bytes())).read()
    pq.write_table(table.slice(1), file)


def _longer_than_memory(file: Path) -> None:
    os.truncate(file, 1 << 43)


DAMAGES: dict[str, Damage] = {
    "a bit of a page": lambda file: flip_bit(file, 8 * 2_000),
    "a bit of the footer": lambda file: flip_bit(file, 8 * (file.stat().st_size - 400)),
    "a bit of the seal": lambda file: flip_bit(file, 8 * (file.read_bytes().rindex(MARK) + len(MARK)) + 3),
    "a footer without text": _footer_without_text,
    "half a file": lambda file: os.truncate(file, file.stat().st_size // 2),
    "no bytes": lambda file: os.truncate(file, 0),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)) and None,
    "another format": lambda file: file.write_text("a,b\n1,2\n") and None,
    "a null in a price": _null_in_a_price,
    "other rows": _other_rows,
    "other columns": lambda file: pq.write_table(pa.table({"a": [1]}), file),
    "longer than memory": _longer_than_memory,
    "a bad sector": _bad_sector,
    "a folder": _folder,
    "a file in the place of its folder": _file_for_a_folder,
    "a pipe": _pipe,
    "a socket": _socket,
    "a link to itself": _link_to_itself,
}
DAYS = days(FIRST, len(DAMAGES) + 2)
GOOD = {DAYS[0], DAYS[-1]}


@dataclass
class Kept:
    """A lake in a good state, to be copied."""

    work: Workbench
    rows: pd.DataFrame


@pytest.fixture(scope="module")
def kept(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, DAYS[-1], trades_per_day=1_440)
    with SandboxServer(archive) as sandbox:
        folder = tmp_path_factory.mktemp("kept") / "lake"
        work = Workbench(sandbox, module_postgres_url, folder, entry("spot", ["ohlcv_1m"], [BTC], FIRST))
        assert not work.collect(DAYS[0], DAYS[-1]).tally.problems
        yield Kept(work, work.lake.read(BARS, BTC, DAYS[0], DAYS[-1], COLUMNS).to_pandas())


@pytest.fixture
def work(kept: Kept, postgres_server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    """A copy of the lake and the ledger, which `crypto_assets.read` reads."""
    folder = shutil.copytree(kept.work.folder, tmp_path / "lake")
    with new_database(postgres_server_url, kept.work.url) as url:
        monkeypatch.setenv("CRYPTO_ASSETS_POSTGRES_URL", url)
        monkeypatch.setenv("CRYPTO_ASSETS_LAKE_URL", str(folder))
        yield Workbench(kept.work.sandbox, url, folder, *kept.work.entries)


def file_of(work: Workbench, day: date) -> Path:
    return work.folder / work.lake.path(BARS, Partition(BTC, day))


def damage(work: Workbench) -> dict[date, str]:
    """Let each kind of damage happen to a day of its own; return which one to which day."""
    happened = dict(zip(DAYS[1:], DAMAGES, strict=False))
    for day, name in happened.items():
        DAMAGES[name](file_of(work, day))
    return happened


def only(frame: pd.DataFrame, wanted: set[date]) -> pd.DataFrame:
    return frame[frame["open_time"].dt.date.isin(wanted)].reset_index(drop=True)


def read(**how: object) -> pd.DataFrame:
    frame = client.read("binance", BTC, "ohlcv_1m", DAYS[0], DAYS[-1], columns=COLUMNS, missing="ignore", **how)  # type: ignore[arg-type]
    assert isinstance(frame, pd.DataFrame)
    return frame


def managed(work: Workbench, first: date, last: date) -> pd.DataFrame:
    """Return what an asset gets that builds on the bars."""
    context = dg.build_input_context(
        asset_key=dg.AssetKey(["binance", "spot", "ohlcv_1m", "BTC-USDT"]),
        asset_partitions_def=daily(FIRST),
        asset_partition_key_range=dg.PartitionKeyRange(str(first), str(last)),
    )
    manager = LakeIOManager(lake=LakeResource(url=str(work.folder)), postgres_url=work.url, missing="ignore")
    frame = manager.load_input(context)
    assert isinstance(frame, pd.DataFrame)
    return frame


def named(frame: pd.DataFrame) -> dict[date, tuple[str, str]]:
    """Return state and reason of the days that are not complete."""
    coverage = frame.attrs["coverage"]
    return {date.fromisoformat(d["day"]): (d["state"], d["reason"]) for d in coverage if not d["complete"]}


def test_who_reads_gets_the_good_days_and_the_names_of_the_others(work: Workbench, kept: Kept) -> None:
    happened = damage(work)
    wanted = only(kept.rows, GOOD)
    for frame in (read(exact=True), managed(work, DAYS[0], DAYS[-1])):
        assert {day: state for day, (state, _) in named(frame).items()} == dict.fromkeys(happened, "missing")
        assert only(frame, set(happened)).empty
        assert frame["open_time"].tolist() == wanted["open_time"].tolist()
    assert read(exact=True).equals(wanted)
    reasons = {happened[day]: (reason, str(file_of(work, day))) for day, (_, reason) in named(read()).items()}
    for name in ("a bit of a page", "a bit of the footer", "a footer without text", "zeros", "a folder", "a pipe"):
        reason, path = reasons[name]
        assert reason.startswith(f"{path}: "), name
    assert "found a folder; `crypto-assets collect` for that day replaces it" in reasons["a folder"][0]


def test_without_a_ledger_a_file_says_itself_whether_it_is_whole(work: Workbench, kept: Kept) -> None:
    happened = damage(work)
    # Nothing says that these are not the rows: another program wrote a whole file of the right columns there.
    rightly_read = {day for day, name in happened.items() if name == "other rows"}
    found = read_lake(work.lake, lambda: None, LakeQuestion(BARS, BTC, DAYS, COLUMNS))
    complete = {one.day for one in found.coverage if one.complete}
    assert complete == GOOD | rightly_read
    assert only(found.rows.to_pandas(), GOOD).equals(only(kept.rows, GOOD))


def test_collecting_replaces_each_of_them_and_nothing_else(work: Workbench, kept: Kept) -> None:
    good = {day: file_of(work, day).read_bytes() for day in DAYS}
    happened = damage(work)
    result: Result = work.collect(DAYS[0], DAYS[-1])
    assert (result.tally.states, result.tally.unchanged) == ({State.AVAILABLE: len(DAYS)}, len(GOOD))
    assert {day: file_of(work, day).read_bytes() for day in DAYS} == good
    assert read(exact=True).equals(kept.rows)
    assert {record.state for record in work.records().values()} == {State.AVAILABLE}
    (folder,) = (day for day, name in happened.items() if name == "a folder")
    (aside,) = file_of(work, folder).parent.glob("*.set-aside")
    assert (aside / "mine").is_dir(), "what somebody has put there is set aside, not deleted"
    (file,) = file_of(work, folder).parents[1].glob("*.set-aside")
    assert file.read_bytes() == b"mine"


def test_a_damaged_file_that_cannot_be_collected_again_is_missing_for_everybody(work: Workbench) -> None:
    file = file_of(work, DAYS[1])
    flip_bit(file, 8 * 2_000)
    archive, listing = work.archive_url, work.listing_url
    work.archive_url = work.listing_url = "http://127.0.0.1:9"
    work.collect(DAYS[0], DAYS[2])
    assert read(verify=False).attrs["coverage"][1]["state"] == "available", "nothing was opened: the listing failed"
    work.listing_url = listing
    work.collect(DAYS[0], DAYS[2])
    record = work.records()[BTC, "ohlcv_1m", DAYS[1]]
    assert record.state is State.MISSING
    assert record.reason.startswith(f"{file}: the file is damaged: expected sha256 {record.content_sha256}")
    assert "127.0.0.1:9" in (record.attempt_error or "")
    with Ledger(work.url) as ledger:
        found = list(gaps(work.collection, ledger, DAYS[3]))
    assert [(gap.day, gap.state) for gap in found] == [(DAYS[1], State.MISSING)], "`fill` knows it now"
    work.archive_url = archive
    work.collect(DAYS[0], DAYS[2])
    assert work.records()[BTC, "ohlcv_1m", DAYS[1]].state is State.AVAILABLE


def test_checking_again_goes_on_to_the_last_day(work: Workbench) -> None:
    happened = damage(work)
    with Ledger(work.url) as ledger:
        tally = Validator(work.lake, ledger).run(work.targets(DAYS[0], DAYS[-1]))
    assert tally.states == {State.AVAILABLE: len(GOOD), State.MISSING: len(happened)}
    assert {outcome.partition.day for outcome in tally.problems} == set(happened)
    for outcome in tally.problems:
        assert str(file_of(work, outcome.partition.day)) in outcome.reason


def test_no_flipped_bit_is_read_as_another_price(work: Workbench, kept: Kept) -> None:
    """A small one of `python -m proofs.flips`."""
    good = {day: file_of(work, day).read_bytes() for day in DAYS}
    chance = random.Random(7)
    for _ in range(5):
        for day, content in good.items():
            file_of(work, day).write_bytes(content)
            flip_bit(file_of(work, day), chance.randrange(8 * len(content)))
        assert {state for state, _ in named(read()).values()} == {"missing"}
        assert read().empty
        assert managed(work, DAYS[0], DAYS[-1]).empty
        alone = read_lake(work.lake, lambda: None, LakeQuestion(BARS, BTC, DAYS, COLUMNS))
        left = {one.day for one in alone.coverage if one.complete}  # flips of a seal's mark leave the rows right
        assert alone.rows.to_pandas().equals(only(kept.rows, left))
        assert len(left) <= 1


def test_who_does_not_want_to_verify_gets_what_is_there(work: Workbench, kept: Kept) -> None:
    assert read(exact=True, verify=False).equals(kept.rows)
    file = file_of(work, DAYS[1])
    content = file.read_bytes()
    flips = [8 * place for place in range(1_000, len(content) // 2, 997)]
    others = 0
    for number in flips:
        file.write_bytes(content)
        flip_bit(file, number)
        assert named(read())[DAYS[1]][0] == "missing"
        try:
            others += not named(read(verify=False)) and not read(exact=True, verify=False).equals(kept.rows)
        finally:
            file.write_bytes(content)
    assert others, "this is what verifying is for"
