"""Files that were refused: listed with all that is known of them, shown, judged again by the same rules, and removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crypto_assets.engine.run_context import Stores
from crypto_assets.errors import BadContent, ConfigError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import ArchiveObject, Outcome, Partition, Series, State
from crypto_assets.quality.after_run import close_run
from crypto_assets.quality.quarantine.refused_files import (
    RefusedFile,
    all_stored,
    drop,
    find,
    refused_files,
    states_now,
)
from crypto_assets.quality.quarantine.retry import Restored, restorer
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.binance.archive import BinanceFiles
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets.version import __version__
from crypto_assets_tests.published import checksum_of, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC, ETH = "BTC/USDT", "ETH/USDT"
START, BAD, LAST = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
OF = f"data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{BAD}.zip"
STORED = f"exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/date={BAD}/data.parquet"


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, START, LAST, trades_per_day=300)) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    yield running
    running.app.state.overrides.clear()


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Workbench:
    return Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], START))


def with_cell(work: Workbench, row: int, column: int, change: Callable[[str], str]) -> bytes:
    """Return the zip of the bad day with one cell changed."""
    lines = text_of(work.bytes_at(OF)).splitlines()
    cells = lines[row].split(",")
    cells[column] = change(cells[column])
    lines[row] = ",".join(cells)
    return zip_of(OF, "\n".join(lines) + "\n")


def files(work: Workbench) -> list[RefusedFile]:
    return refused_files(work.lake, work.collection)


def restore(work: Workbench, file: RefusedFile) -> Restored:
    with (
        Ledger(work.url) as ledger,
        Warehouse(work.url) as warehouse,
        restorer(work.collection, Stores(work.lake, warehouse, ledger)) as judge,
    ):
        return judge.restore(file)


def state(work: Workbench) -> State:
    return work.records()[BTC, "ohlcv_1m", BAD].state


def assert_published(work: Workbench) -> None:
    """The day is stored everywhere, value for value what the exchange publishes."""
    expected = work.published(BARS, BTC, BAD)
    assert len(expected) == 1440
    assert work.in_lake(BARS, BTC, BAD) == expected
    assert work.in_warehouse("ohlcv", BTC, BAD, "timeframe = '1m'") == expected


def assert_untouched(work: Workbench, path: str, content: bytes) -> None:
    """Nothing of the day is data, and the refused bytes lie where they lay."""
    assert (work.folder / path).read_bytes() == content
    assert not (work.folder / STORED).exists()
    assert work.in_warehouse("ohlcv", BTC, BAD) == []


# ---- what is kept, and listed ----------------------------------------------------------------------------------------


def test_a_reason_holds_all_that_is_needed_to_judge_the_file_again(work: Workbench) -> None:
    content = with_cell(work, 8, 3, lambda _: "0")
    work.publish(OF, content)
    before = datetime.now(UTC) - timedelta(seconds=1)
    work.collect(START, LAST)
    [file] = files(work)
    assert (file.series, file.symbol, file.days, file.key) == (BARS, BTC, (BAD,), OF)
    assert (file.error, file.source, file.version) == ("InvalidRows", "archive", __version__)
    sha256 = checksum_of(OF, content).decode().split()[0]
    assert (file.size_bytes, file.sha256, file.published_digest) == (len(content), sha256, f"sha256:{sha256}")
    assert file.refused_at is not None
    assert before <= file.refused_at <= datetime.now(UTC)
    with Ledger(work.url) as ledger, ledger.transaction() as connection:
        listed = connection.execute("SELECT etag, last_modified FROM collection.archive_objects WHERE key = %s", (OF,))
        assert [(file.etag, file.last_modified)] == listed.fetchall()
    assert "low" in json.dumps(file.details["findings"][str(BAD)]["contract"])

    work.collect(START, LAST)
    assert files(work) == [file], "the first time it was refused stays"


def test_offending_rows_of_a_finding_are_kept_fifty_at_most(work: Workbench) -> None:
    from crypto_assets.engine.day_outcomes import Target, quarantine
    from crypto_assets.errors import InvalidRows
    from crypto_assets.model import Finding

    rows = [{"row": number, "low": "0"} for number in range(80)]
    obj = ArchiveObject(OF, 5, "etag")
    for day in (BAD, LAST):
        kept = quarantine(
            work.lake,
            OF,
            b"bytes",
            InvalidRows("wrong", day=str(day)),
            Target(BARS, BTC, (BAD, LAST)),
            [day],
            obj,
            {"contract": Finding(False, {"violations": 80, "rows": rows})},
        )
    [file] = files(work)
    assert (kept.path, kept.problem) == (file.path, "")
    assert file.days == (BAD, LAST), "days of one object that are refused one after the other"
    for day in (BAD, LAST):
        assert file.details["findings"][str(day)]["contract"] == {"violations": 80, "rows": rows[:50]}


def test_old_torn_and_unknown_files_are_listed_with_what_is_known(work: Workbench) -> None:
    old = work.lake.quarantine(OF, b"not a zip", {"reason": "expected a zip", "error": "BadContainer"})
    foreign = work.lake.quarantine("elsewhere/x.csv", b"1,2", {"reason": "why", "error": "BadContent"})
    work.lake.store.put("quarantine/torn.zip.0123456789ab", b"abc")
    work.lake.store.put("quarantine/gone.zip.0123456789ab.reason.json", b"{ no json")
    found = {file.path: file for file in files(work)}
    assert sorted(found) == sorted(
        [old, foreign, "quarantine/torn.zip.0123456789ab", "quarantine/gone.zip.0123456789ab"]
    )
    assert (found[old].series, found[old].symbol, found[old].days, found[old].size_bytes) == (BARS, BTC, (BAD,), 9)
    assert (found[old].key, found[old].refused_at, found[old].reason) == (OF, None, "expected a zip")
    assert (found[foreign].series, found[foreign].days) == (None, ())
    torn, gone = found["quarantine/torn.zip.0123456789ab"], found["quarantine/gone.zip.0123456789ab"]
    assert (torn.key, torn.size_bytes, gone.size_bytes) == ("torn.zip", 3, None)
    assert "process ended" in torn.reason
    for file, words in (
        (found[foreign], "collection.yaml"),
        (torn, "series and days of torn.zip are unknown"),
        (gone, "bytes are missing"),
    ):
        assert words in restore(work, file).refused[None]
    for file in found.values():
        drop(work.lake, file)
    assert list(work.lake.store.paths("quarantine/")) == []


def test_the_latest_comes_first_and_a_file_is_found_by_path_or_by_its_digits(work: Workbench) -> None:
    paths = [
        work.lake.quarantine(name, content, {"refused_at": f"2024-02-0{day}T00:00:00+00:00"})
        for name, content, day in (("a.zip", b"1", 1), ("b.zip", b"2", 3), ("c.zip", b"2", 2))
    ]
    found = files(work)
    assert [file.path for file in found] == [paths[1], paths[2], paths[0]]
    assert find(found, paths[0]) == find(found, paths[0].removeprefix("quarantine/")) == find(found, paths[0][-12:])
    with pytest.raises(ConfigError, match="expected one file, found 2 with this ending"):
        find(found, paths[1][-12:])
    with pytest.raises(ConfigError, match="did you mean"):
        find(found, paths[0][:-1])


# ---- judged again ----------------------------------------------------------------------------------------------------


def test_a_checksum_that_the_exchange_has_corrected_makes_the_same_bytes_data(work: Workbench) -> None:
    content = work.bytes_at(OF)
    work.publish(OF, content, b"0" * 64 + b"\n")
    work.collect(START, LAST)
    [file] = files(work)
    assert (file.error, state(work)) == ("ChecksumMismatch", State.MISSING)
    again = restore(work, file)
    assert list(again.refused) == [None]
    assert "published sha256 000" in again.refused[None]
    assert_untouched(work, file.path, content)

    work.publish(OF, content)
    work.sandbox.app.state.requests.clear()
    restored = restore(work, file)
    assert (restored.refused, restored.stored) == ({}, {BAD: (State.AVAILABLE, "")})
    assert [request.kind for request in work.sandbox.app.state.requests] == ["checksum"], "nothing is downloaded again"
    assert_published(work)
    assert files(work) == []
    by_restoring = (work.folder / STORED).read_bytes()
    record = work.records()[BTC, "ohlcv_1m", BAD]
    assert (record.state, record.source_key, record.source_sha256) == (State.AVAILABLE, OF, file.sha256)
    assert work.collect(START, LAST).of(BAD).unchanged, "it is the file that collecting would have stored"
    assert (work.folder / STORED).read_bytes() == by_restoring


def test_what_a_newer_version_can_parse_is_stored_without_any_request(work: Workbench, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(BinanceFiles, "parse", _refuse)
        work.collect(START, LAST)
    found = files(work)
    assert {file.days: file.error for file in found} == {(day,): "BadContent" for day in (START, BAD, LAST)}
    work.archive_url = work.listing_url = "http://127.0.0.1:9"  # nobody answers there
    [file] = [file for file in found if file.days == (BAD,)]
    assert restore(work, file).stored == {BAD: (State.AVAILABLE, "")}
    assert_published(work)
    assert {file.days for file in files(work)} == {(START,), (LAST,)}


def _refuse(self: BinanceFiles, symbol: str, of: str, content: bytes, instrument: object = None) -> None:
    raise BadContent(f"{of}: expected 11 columns, found 12")


def test_rows_that_a_mended_check_accepts_are_stored_and_others_stay(work: Workbench, monkeypatch) -> None:
    content = with_cell(work, 8, 3, lambda _: "0")
    work.publish(OF, content)
    work.collect(START, LAST)
    [file] = files(work)
    before = work.records()[BTC, "ohlcv_1m", BAD]
    again = restore(work, file)
    assert again.stored == {}
    assert "1 value not allowed; the first: row 8: low = 0.0" in again.refused[BAD]
    assert_untouched(work, file.path, content)
    assert work.records()[BTC, "ohlcv_1m", BAD] == before, "what is still refused is no new outcome"
    assert files(work) == [file]

    monkeypatch.setattr("crypto_assets.engine.publication.storer.blocking", lambda *_: [])
    assert restore(work, file).refused == {}
    assert_published(work)
    assert files(work) == []


def test_a_version_that_was_replaced_at_the_exchange_never_becomes_data(work: Workbench, monkeypatch) -> None:
    former = with_cell(work, 8, 3, lambda _: "0")
    work.publish(OF, former)
    work.collect(START, LAST)
    [file] = files(work)
    work.sandbox.app.state.overrides.clear()
    monkeypatch.setattr("crypto_assets.engine.publication.storer.blocking", lambda *_: [])
    with Ledger(work.url) as ledger:  # a sensor has seen the listing since
        ledger.record_objects("binance", [ArchiveObject(OF, 1, "another", datetime(2024, 1, 9, tzinfo=UTC))])
    assert "has published another version since (etag another" in restore(work, file).refused[None]
    assert_untouched(work, file.path, former)

    assert work.collect(START, LAST).of(BAD).state == "available"
    assert_published(work)
    with Ledger(work.url) as ledger:
        states = states_now(ledger, [file])
        assert all_stored(states[file.name])
    refused = restore(work, file).refused
    assert "another version" in "".join(refused.values())
    assert_published(work)
    assert (work.folder / file.path).read_bytes() == former


def test_a_refused_correction_takes_the_place_of_the_former_version_once_it_is_good(
    work: Workbench, monkeypatch
) -> None:
    work.collect(START, LAST)
    former = work.published(BARS, BTC, BAD)
    work.publish(OF, with_cell(work, 700, 5, lambda text: str(Decimal(text) + Decimal("12.5"))))
    with monkeypatch.context() as patched:
        patched.setattr(BinanceFiles, "parse", _refuse)
        work.collect(BAD, BAD)
    assert state(work) is State.CORRECTED
    assert work.in_lake(BARS, BTC, BAD) == former
    [file] = files(work)
    restored = restore(work, file)
    assert restored.stored == {BAD: (State.AVAILABLE, "")}
    assert_published(work)
    now = work.in_lake(BARS, BTC, BAD)
    assert [n for n, pair in enumerate(zip(former, now, strict=True)) if pair[0] != pair[1]] == [700]
    with Ledger(work.url) as ledger:
        [correction] = ledger.corrections()
    assert (correction.day, correction.rows_changed, list(correction.columns)) == (BAD, 1, ["volume"])


def test_a_restored_day_leaves_the_gaps_in_sql_and_judges_the_days_beside_it_again(work: Workbench) -> None:
    content = work.bytes_at(OF)
    work.publish(OF, content, b"0" * 64 + b"\n")
    work.collect(START, LAST)
    ended = Outcome(BARS, Partition(ETH, BAD), State.MISSING, "why")
    with Ledger(work.url) as ledger:
        ledger.record_outcomes([ended])
        close_run(work.collection, work.lake, ledger, work.targets(START, LAST))
        assert causes(ledger) == {(BTC, BAD): "upstream_bad_file", (ETH, BAD): "upstream_absent_file"}
        work.publish(OF, content)
        ledger.record_outcomes([replace(ended, evidence={"error": "HostUnreachable"})])
        assert causes(ledger)[ETH, BAD] is None
        [file] = files(work)
        assert restore(work, file).complete
        assert causes(ledger) == {(ETH, BAD): "our_failure"}


def causes(ledger: Ledger) -> dict[tuple[str, date], str | None]:
    with ledger.transaction() as connection:
        rows = connection.execute("SELECT symbol, first_day, cause FROM collection.gaps").fetchall()
    return {(symbol, day): cause for symbol, day, cause in rows}


def test_bytes_that_were_edited_in_quarantine_are_not_taken(work: Workbench) -> None:
    good = work.bytes_at(OF)
    work.publish(OF, with_cell(work, 8, 3, lambda _: "0"))
    work.collect(START, LAST)
    [file] = files(work)
    (work.folder / file.path).write_bytes(good)
    assert "must not be edited" in restore(work, file).refused[None]
    assert_untouched(work, file.path, good)


def test_a_reason_that_names_another_symbol_is_not_believed(work: Workbench) -> None:
    content = work.bytes_at(OF)
    work.publish(OF, content, b"0" * 64)
    work.collect(START, LAST)
    [file] = files(work)
    work.publish(OF, content)
    reason = work.folder / f"{file.path}.reason.json"
    reason.write_text(json.dumps(json.loads(reason.read_text()) | {"symbol": "ETH/USDT"}))
    [file] = files(work)
    assert "where binance spot ohlcv_1m ETH/USDT is published" in restore(work, file).refused[None]
    assert_untouched(work, file.path, content)


def test_only_the_days_of_a_monthly_file_that_are_good_are_stored(
    postgres_url: str, tmp_path: Path, monkeypatch
) -> None:
    first, last = date(2024, 1, 1), date(2024, 1, 31)
    source = SyntheticArchive({"linear": ["BTCUSDT"]}, first, last, trades_per_day=300)
    rates = Series("binance", "linear", "funding_rates")
    with SandboxServer(source) as server:
        work = Workbench(
            server, postgres_url, tmp_path / "lake", entry("linear", ["funding_rates"], ["BTC/USDT:USDT"], first)
        )
        of = work.key(rates, "BTC/USDT:USDT", "2024-01", "monthly")
        lines = text_of(work.bytes_at(of)).splitlines()
        rows = [n for n, line in enumerate(lines) if line[0].isdigit()]
        for n in (rows[3], rows[9]):  # three rates a day: the second and the fourth day
            cells = lines[n].split(",")
            cells[1] = "-8"
            lines[n] = ",".join(cells)
        work.publish(of, zip_of(of, "\n".join(lines) + "\n"))
        result = work.collect(first, last)
        bad = [date(2024, 1, 2), date(2024, 1, 4)]
        states = {day: result.of(day, "funding_rates", "BTC/USDT:USDT", "linear").state for day in (*bad, first)}
        assert states == {bad[0]: "missing", bad[1]: "missing", first: "available"}
        [file] = files(work)
        assert list(file.days) == bad
        assert set(file.details["findings"]) == set(map(str, bad))

        monkeypatch.setattr("crypto_assets.engine.publication.storer.blocking", lambda *_: [])
        restored = restore(work, file)
        assert {day: state for day, (state, _) in restored.stored.items()} == dict.fromkeys(bad, State.AVAILABLE)
        published = work.published(rates, "BTC/USDT:USDT", "2024-01", "monthly")
        stored = [row for day in bad for row in work.in_lake(rates, "BTC/USDT:USDT", day)]
        assert stored == published[3:6] + published[9:12]
        assert files(work) == []
