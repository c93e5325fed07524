"""Everything an archive, a network or a person can get wrong: one clear message, exit code 1 or 2, good days untouched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets.model import Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.cli.conftest import BTC, START
from crypto_assets_tests.command import Answer, Command, no_traceback
from crypto_assets_tests.published import DAY_US, checksum_of, rows_of, text_of, zip_of
from crypto_assets_tests.sources.files import zipped, zipped_all
from crypto_assets_tests.workbench import Workbench, entry, lake_rows, quarantined, warehouse_rows

BARS = Series("binance", "spot", "ohlcv", "1m")


BAD = date(2024, 1, 2)


DAYS = [START, BAD, date(2024, 1, 3)]


Lines = list[list[str]]


@dataclass(frozen=True)
class Case:
    """A bad file: how it is made of a good one (name of the member, cells), and what the message says of it."""

    name: str
    make: Callable[[str, Lines], bytes]
    says: tuple[str, ...]
    error: str
    checksum: bytes | None = None


def csv_file(change: Callable[[Lines], Lines]) -> Callable[[str, Lines], bytes]:
    def make(member: str, lines: Lines) -> bytes:
        return zipped(member, "".join(",".join(cells) + "\n" for cells in change(lines)))

    return make


def good(member: str, lines: Lines) -> bytes:
    return csv_file(lambda same: same)(member, lines)


def cell(row: int, column: int, value: str) -> Callable[[str, Lines], bytes]:
    def change(lines: Lines) -> Lines:
        lines[row][column] = value
        return lines

    return csv_file(change)


def a_day_later(lines: Lines) -> Lines:
    return [[str(int(c[0]) + DAY_US // 1000), *c[1:6], str(int(c[6]) + DAY_US // 1000), *c[7:]] for c in lines]


def half_in_microseconds(lines: Lines) -> Lines:
    return [*lines[:700], *([f"{c[0]}000", *c[1:]] for c in lines[700:])]


CASES = [
    Case(
        "wrong checksum",
        good,
        ("published sha256 " + "0" * 64, "will be tried again"),
        "ChecksumMismatch",
        b"0" * 64 + b"\n",
    ),
    Case("unreadable checksum", good, ("published sha256 unreadable", "tried again"), "ChecksumMismatch", b"<html>"),
    Case(
        "zip cut", lambda m, s: good(m, s)[:9000], ("expected a whole zip", "9000 bytes", "tried again"), "BadContainer"
    ),
    Case("empty file", lambda m, s: b"", ("expected a zip", "empty file", "tried again"), "BadContainer"),
    Case(
        "HTML for a zip",
        lambda m, s: b"<!doctype html><p>busy",
        ("expected a whole zip", "tried again"),
        "BadContainer",
    ),
    Case(
        "zip without members",
        lambda m, s: zipped_all([]),
        ("expected one member", "found 0", "quarantine/"),
        "BadContainer",
    ),
    Case(
        "other member name",
        lambda m, s: good("ETHUSDT-1m-2024-01-02.csv", s),
        ("expected one member BTCUSDT-1m-", "found 1 (ETHUSDT-1m-2024-01-02.csv)", "quarantine/"),
        "BadContainer",
    ),
    Case(
        "two members",
        lambda m, s: zipped_all([(m, "1,2\n"), (f"__MACOSX/{m}", "x")]),
        ("expected one member BTCUSDT-1m-", "found 2", "quarantine/"),
        "BadContainer",
    ),
    Case(
        "too few columns",
        csv_file(lambda s: [c[:-1] for c in s]),
        ("expected 12 columns", "quarantine/", "crypto-assets fill"),
        "BadContent",
    ),
    Case(
        "one line too long",
        cell(17, 11, "0,9"),
        ("expected 12 columns", "quarantine/", "crypto-assets fill"),
        "BadContent",
    ),
    Case(
        "no rows",
        csv_file(lambda s: []),
        ("expected rows, found none", "quarantine/", "crypto-assets fill"),
        "NoRows",
    ),
    Case(
        "letters in numbers",
        cell(3, 4, "4O000.5"),
        ("expected plain numbers", "line 4", "4O000.5", "quarantine/", "crypto-assets fill"),
        "BadContent",
    ),
    Case(
        "scientific notation",
        cell(3, 5, "1.7E+2"),
        ("expected plain numbers", "scientific notation", "line 4", "1.7E+2", "quarantine/", "crypto-assets fill"),
        "BadContent",
    ),
    Case(
        "times outside the day",
        csv_file(a_day_later),
        ("1,440 rows of another day", "expected inside", "quarantine/", "crypto-assets fill"),
        "InvalidRows",
    ),
    Case(
        "mixed units",
        csv_file(half_in_microseconds),
        ("expected one unit of time", "milliseconds and microseconds", "quarantine/", "crypto-assets fill"),
        "BadContent",
    ),
    Case(
        "one bar twice, with two volumes",
        csv_file(lambda s: [*s[:10], [*s[9][:5], "1.25", *s[9][6:]], *s[10:]]),
        (
            "1 row with the key of another row",
            "once with volume",
            "once with volume 1.25",
            "quarantine/",
            "crypto-assets fill",
        ),
        "InvalidRows",
    ),
    Case(
        "descending rows, one of them twice, at two prices",
        csv_file(lambda s: [[*s[9][:2], "90000", *s[9][3:]], *s[::-1]]),
        (
            "1 row with the key of another row",
            "once with high 90000, once with high",
            "quarantine/",
            "crypto-assets fill",
        ),
        "InvalidRows",
    ),
    Case(
        "a price of zero",
        cell(8, 3, "0"),
        ("1 value not allowed", "low = 0.0", "quarantine/", "crypto-assets fill"),
        "InvalidRows",
    ),
]


BY_NAME = {case.name: case for case in CASES}


def key_of(day: date) -> str:
    return f"data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{day}.zip"


def publish(server: SandboxServer, case: Case, day: date) -> bytes:
    """Replace a day's file by a bad one, with the checksum of the bad bytes unless the case has another; return it."""
    of = key_of(day)
    lines = [line.split(",") for line in text_of(server.app.state.source.read(of)).splitlines()]
    content = case.make(of.rpartition("/")[2].replace(".zip", ".csv"), lines)
    server.app.state.overrides[of] = content
    server.app.state.overrides[of + ".CHECKSUM"] = case.checksum or checksum_of(of, content)
    return content


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def days_in_market(url: str) -> set[date]:
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        return {day for (day,) in connection.execute("SELECT DISTINCT open_time::date FROM market.ohlcv")}


# ---- in detail, without Dagster --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_is_refused_with_one_message_and_kept_in_quarantine(work: Workbench, case: Case) -> None:
    content = publish(work.sandbox, case, BAD)
    result = work.collect(DAYS[0], DAYS[-1])

    assert [result.of(day).state for day in DAYS] == ["available", "missing", "available"]
    outcome = result.of(BAD)
    assert key_of(BAD) in outcome.reason
    assert "\n" not in outcome.reason
    assert len(outcome.reason) < 800
    for words in case.says:
        assert words in outcome.reason
    assert outcome.evidence["error"] == case.error

    record = work.records()[BTC, "ohlcv_1m", BAD]
    assert (record.state, record.reason, record.rows, record.path) == (State.MISSING, outcome.reason, None, None)

    ((path, reason),) = work.quarantined().items()
    assert path.startswith(f"quarantine/{key_of(BAD)}.")
    assert outcome.evidence["quarantine"] == path
    assert (work.folder / path).read_bytes() == content
    assert reason["error"] == case.error
    assert outcome.reason.startswith(reason["reason"])

    stored = [
        f"exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/date={day}/data.parquet" for day in DAYS
    ]
    assert files_in(work.folder) == ["_lake.json", stored[0], stored[2], path, f"{path}.reason.json"]
    assert days_in_market(work.url) == {DAYS[0], DAYS[2]}
    for day in (DAYS[0], DAYS[2]):
        expected = work.published(BARS, BTC, day)
        assert len(expected) == 1440
        assert work.in_lake(BARS, BTC, day) == expected
        assert work.in_warehouse("ohlcv", BTC, day, "timeframe = '1m'") == expected


def test_a_bad_file_that_stays_bad_is_kept_once_however_often_it_is_tried(work: Workbench) -> None:
    publish(work.sandbox, BY_NAME["zip cut"], BAD)
    first = work.collect(DAYS[0], DAYS[-1]).of(BAD)
    files = files_in(work.folder)
    again = work.collect(DAYS[0], DAYS[-1]).of(BAD)
    assert files_in(work.folder) == files
    assert (again.state, again.reason) == (State.MISSING, first.reason)


def test_missing_minutes_are_stored_and_marked_degraded(work: Workbench) -> None:
    of = key_of(BAD)
    lines = text_of(work.bytes_at(of)).splitlines(keepends=True)
    text = "".join(lines[:100] + lines[103:])
    work.publish(of, zip_of(of, text))
    result = work.collect(DAYS[0], DAYS[-1])
    assert [result.of(day).state for day in DAYS] == ["available", "degraded", "available"]
    assert "01:40–01:42" in result.of(BAD).reason
    assert len(rows_of("klines", text)) == 1437
    assert work.in_lake(BARS, BTC, BAD) == rows_of("klines", text)
    assert work.in_warehouse("ohlcv", BTC, BAD, "timeframe = '1m'") == rows_of("klines", text)
    assert work.quarantined() == {}


def test_a_file_without_its_checksum_is_not_trusted(work: Workbench) -> None:
    work.sandbox.app.state.overrides[key_of(BAD) + ".CHECKSUM"] = None
    result = work.collect(DAYS[0], DAYS[-1])
    assert [result.of(day).state for day in DAYS] == ["available", "missing", "available"]
    assert result.of(BAD).reason.startswith(f"{key_of(BAD)}.CHECKSUM: expected a checksum beside the file, found none")
    assert days_in_market(work.url) == {DAYS[0], DAYS[2]}


# ---- the whole command -----------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One `collect` of all bad files of this module, each between two good days."""

    command: Command
    url: str
    answer: Answer
    bad: dict[date, Case]
    content: dict[date, bytes]
    days: list[date]
    expected: dict[date, list[Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, module_postgres_url: str) -> Iterator[Run]:
    bad = {START + timedelta(days=2 * number + 1): case for number, case in enumerate(CASES)}
    degraded = max(bad) + timedelta(days=2)
    days = [START + timedelta(days=n) for n in range((degraded - START).days + 2)]
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, START, days[-1], trades_per_day=300)
    with SandboxServer(archive) as server:
        content = {day: publish(server, case, day) for day, case in bad.items()}
        of = key_of(degraded)
        lines = text_of(archive.read(of) or b"").splitlines(keepends=True)
        short = zip_of(of, "".join(lines[:-1]))
        server.app.state.overrides |= {of: short, of + ".CHECKSUM": checksum_of(of, short)}
        command = Command.at(tmp_path_factory.mktemp("bad"), module_postgres_url)
        command.configure(collection_of(server.archive_url, server.listing_url))
        answer = command("collect", "--from", str(days[0]), "--to", str(days[-1]))
        expected = {
            day: rows_of(
                "klines", text_of(server.app.state.overrides.get(key_of(day)) or archive.read(key_of(day)) or b"")
            )
            for day in days
            if day not in bad
        }
    return Run(command, module_postgres_url, answer, bad, content, days, expected)


def collection_of(archive_url: str, listing_url: str | None = None, **more: Any) -> dict[str, Any]:
    urls = {"archive_url": archive_url, "listing_url": listing_url or f"{archive_url}/listing"}
    return {"exchanges": {"binance": urls}, "series": [entry("spot", ["ohlcv_1m"], [BTC], START, **more)]}


def test_the_command_ends_with_1_and_one_line_for_each_bad_day(run: Run) -> None:
    assert run.answer.code == 1
    assert no_traceback(run.answer), run.answer
    lines = [line for line in run.answer.out.splitlines() if line.startswith(f"binance spot {BTC} ohlcv_1m ")]
    assert len(lines) == len(CASES) + 1
    for line, (day, case) in zip(lines, run.bad.items(), strict=False):
        assert line.startswith(f"binance spot {BTC} ohlcv_1m {day}: missing: ")
        assert key_of(day) in line
        for words in case.says:
            assert words in line
    degraded = max(run.bad) + timedelta(days=2)
    assert lines[-1].startswith(f"binance spot {BTC} ohlcv_1m {degraded}: partial: 1 of 1,440 bars is missing (")
    good = len(run.days) - len(CASES) - 1
    assert f"{len(run.days)} days requested: {good} available, 1 partial, {len(CASES)} missing" in run.answer.out


def test_the_command_stores_every_good_day_and_nothing_of_the_bad_ones(run: Run) -> None:
    lake = Lake(str(run.command.home / "lake"))
    assert lake.days(BARS, BTC) == sorted(run.expected)
    assert days_in_market(run.url) == set(run.expected)
    for day, rows in run.expected.items():
        assert len(rows) >= 1439
        assert lake_rows(lake, BARS, BTC, day) == rows
        assert warehouse_rows(run.url, "ohlcv", BTC, day, "timeframe = '1m'") == rows
    kept = {path.rpartition(".")[0].removeprefix("quarantine/"): path for path in quarantined(lake)}
    assert sorted(kept) == sorted(key_of(day) for day in run.bad)
    for day, content in run.content.items():
        path = run.command.home / "lake" / kept[key_of(day)]
        assert path.read_bytes() == content
        assert json.loads(Path(f"{path}.reason.json").read_text())["error"] == run.bad[day].error


def test_dagster_shows_only_the_stored_days_as_materialised(run: Run) -> None:
    with psycopg.connect(run.url) as connection:
        events = connection.execute(
            "SELECT asset_key, partition FROM dagster.event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        ).fetchall()
    for key in (["binance", "spot", "ohlcv_1m", "BTC-USDT"], ["warehouse", "binance", "spot", "ohlcv", "BTC-USDT"]):
        shown = sorted(date.fromisoformat(day) for name, day in events if json.loads(name) == key)
        assert shown == sorted(run.expected), key


def test_gaps_lists_the_same_days_with_the_same_reasons(run: Run) -> None:
    answer = run.command("gaps", "--json", "--to", str(run.days[-1]))
    assert answer.code == 1
    found = {date.fromisoformat(row["day"]): row for row in answer.json}
    assert sorted(found) == sorted([*run.bad, max(run.bad) + timedelta(days=2)])
    for day, case in run.bad.items():
        assert found[day]["state"] == "missing"
        assert f"{found[day]['day']}: missing: {found[day]['reason']}" in run.answer.out
        assert all(words in found[day]["reason"] for words in case.says)
