"""Everything an archive, a network or a person can get wrong: one clear message, exit code 1 or 2, good days untouched."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.responses import HTMLResponse
from starlette.routing import Route

from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Series, State, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.command import Answer, Command, no_traceback
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.published import DAY_US, checksum_of, rows_of, text_of, zip_of
from crypto_assets_tests.sources.files import zipped, zipped_all
from crypto_assets_tests.workbench import Workbench, entry, lake_rows, warehouse_rows

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
START = date(2024, 1, 1)
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


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, START, date(2024, 2, 29), trades_per_day=300)
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    yield running
    running.app.state.overrides.clear()


@pytest.fixture
def work(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Workbench:
    return Workbench(sandbox, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], START))


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
    kept = {path.rpartition(".")[0].removeprefix("quarantine/"): path for path, _ in lake.quarantined()}
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


# ---- hosts -----------------------------------------------------------------------------------------------------------


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes no connection and refuses none, as behind a firewall: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        try:
            yield int(listener.getsockname()[1])
        finally:
            for filler in fillers:
                filler.close()


@contextmanager
def refusing_port() -> Iterator[int]:
    yield free_port()


@pytest.mark.parametrize(
    ("port", "failure"),
    [
        (refusing_port, "127.0.0.1:{} refuses connections (nothing listens on that port)"),
        (silent_port, "127.0.0.1:{}: no connection in time (it is down, or something on the way drops packets)"),
    ],
    ids=["refuses", "is silent"],
)
def test_a_host_that_cannot_be_reached_is_said_once_and_quickly_and_no_run_is_launched(
    port: Callable[[], Any], failure: str, postgres_url: str, tmp_path: Path
) -> None:
    command = Command.at(tmp_path, postgres_url)
    with port() as number:
        command.configure(collection_of(f"http://127.0.0.1:{number}"))
        answer = command("collect", "--from", "2024-01-01", "--to", "2024-12-31", "--json")
    failure = failure.format(number)
    assert answer.code == 1
    assert no_traceback(answer), answer
    assert answer.message == f"error: {failure}; binance is not asked again in this run"
    assert answer.json["states"] == {}
    assert answer.json["unreachable"] == [{"exchange": "binance", "reason": failure}]
    assert [(one["day"], one["state"], one["reason"]) for one in answer.json["problems"]] == [
        (str(day), None, failure) for day in days_between(date(2024, 1, 1), date(2024, 12, 31))
    ]
    assert files_in(tmp_path / "lake") == []
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM collection.progress").fetchone() == (0,)
    assert answer.took_s < 60, "seconds on an idle machine"


def test_a_silent_host_is_waited_for_once_whatever_the_number_of_days(work: Workbench) -> None:
    with silent_port() as number:
        work.listing_url = f"http://127.0.0.1:{number}"
        started = time.monotonic()
        result = work.collect(START, date(2024, 2, 29))
        assert time.monotonic() - started < 60
    assert result.tally.states == {State.MISSING: 60}
    assert {problem.reason for problem in result.tally.problems} == {
        (
            f"127.0.0.1:{number}: no connection in time (it is down, or something on the way drops packets); "
            "check the network and the URLs in collection.yaml, then `crypto-assets fill`"
        )
    }


def test_an_archive_that_goes_away_after_its_listing_costs_seconds_not_minutes(work: Workbench) -> None:
    work.archive_url = f"http://127.0.0.1:{free_port()}"
    result = work.collect(START, date(2024, 2, 29))
    assert result.tally.states == {State.MISSING: 60}
    assert all("refuses connections" in problem.reason for problem in result.tally.problems)
    work.archive_url = work.sandbox.archive_url
    assert work.collect(START, date(2024, 2, 29)).tally.states == {State.AVAILABLE: 60}


def test_html_in_place_of_the_listing_says_so_and_names_the_setting(postgres_url: str, tmp_path: Path) -> None:
    command = Command.at(tmp_path, postgres_url)
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, START, DAYS[-1], trades_per_day=300)
    with SandboxServer(archive) as server:
        page = HTMLResponse("<!DOCTYPE html><html><head><title>Binance Data</title><body>x<br></body></html>")
        server.app.router.routes.insert(0, Route("/browser", lambda _: page))
        command.configure(collection_of(server.archive_url, f"{server.archive_url}/browser"))
        answer = command("collect", "--from", str(DAYS[0]), "--to", str(DAYS[-1]))
    assert answer.code == 1
    assert no_traceback(answer), answer
    (line,) = [line for line in answer.out.splitlines() if ": missing: " in line]
    assert line.startswith(f"binance spot {BTC} ohlcv_1m 2024-01-01 … 2024-01-03 (3 days): missing: ")
    assert f"{server.archive_url}/browser" in line
    assert "expected S3 XML, found '<!DOCTYPE html>" in line
    assert "check listing_url" in line


# ---- collection.yaml and arguments -----------------------------------------------------------------------------------

ENTRY = "{exchange: binance, market_type: spot, datasets: [ohlcv_1m], symbols: [BTC/USDT], start: 2024-01-01}"
CONFIGURATIONS = {
    "unknown exchange": (ENTRY.replace("binance", "binanse"), "exchange 'binanse' is unknown; did you mean 'binance'?"),
    "unknown market type": (ENTRY.replace("spot", "futures"), "expected one of spot, linear, inverse, found 'futures'"),
    "unknown dataset": (ENTRY.replace("ohlcv_1m", "ohlcv_7m"), "dataset 'ohlcv_7m' is not published for binance spot"),
    "bad date": (ENTRY.replace("2024-01-01", "2024-13-01"), "month must be in 1..12"),
    "bad date as text": (ENTRY.replace("2024-01-01", "'soon'"), "expected a day such as 2024-01-01, found 'soon'"),
    "unknown key": (ENTRY.replace("start", "strat: 1, start"), "series[0].strat: unknown key; did you mean 'start'?"),
    "not a symbol": (ENTRY.replace("BTC/USDT", "BTCUSDT"), "symbol 'BTCUSDT': expected the form BTC/USDT"),
    "symbols is a text": (ENTRY.replace("[BTC/USDT]", "BTC/USDT"), "series[0].symbols:"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command without a database: whatever is wrong must be found before one is needed."""
    home = tmp_path_factory.mktemp("plain")
    return Command.at(home, "postgresql://nobody@127.0.0.1:1/none")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_wrong_collection_yaml_is_one_message_and_exit_code_2(plain: Command, name: str) -> None:
    text, says = CONFIGURATIONS[name]
    plain.configure(f"series:\n  - {text}\n")
    answer = plain("collect", "--from", "2024-01-01", "--to", "2024-01-02")
    assert answer.code == 2
    assert says in answer.message
    assert str(plain.home / "collection.yaml") in answer.message
    assert no_traceback(answer)
    assert answer.out == ""


ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "bad day": (
        ["--from", "2024-01-32", "--to", "2024-02-01"],
        "'2024-01-32' is not a day; write 2024-01-31, yesterday or today",
    ),
    "to before from": (
        ["--from", "2024-01-05", "--to", "2024-01-04"],
        "--from 2024-01-05 --to 2024-01-04: expected --from on or before --to",
    ),
    "days to come": (
        ["--from", "2999-01-01", "--to", "2999-01-02"],
        "--from 2999-01-01 --to 2999-01-02: no day is left; binance spot has nothing after today",
    ),
    "before the start": (
        ["--from", "2010-01-01", "--to", "2010-01-04"],
        "no day is left; binance spot starts on 2024-01-01",
    ),
    "unknown symbol": (
        ["--from", "2024-01-01", "--to", "2024-01-02", "--symbol", "BTC/USDC"],
        "--symbol BTC/USDC: not in",
    ),
    "unknown dataset": (
        ["--from", "2024-01-01", "--to", "2024-01-02", "--dataset", "ohlcv_1n"],
        "did you mean ohlcv_1m?",
    ),
    "unknown option": (["--from", "2024-01-01", "--until", "2024-01-02"], "'--until'. Did you mean --to?"),
    "no days": ([], "Missing option '--from'"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_wrong_arguments_are_one_message_and_exit_code_2(plain: Command, name: str) -> None:
    plain.configure(f"series:\n  - {ENTRY}\n")
    arguments, says = ARGUMENTS[name]
    answer = plain("collect", *arguments)
    assert answer.code == 2
    assert says in answer.message
    assert no_traceback(answer)
    if name == "unknown symbol":
        assert "did you mean BTC/USDT?" in answer.message or "did you mean BTC-USDT?" in answer.message


def test_a_symbol_that_the_exchange_does_not_know_does_not_stop_the_others(
    sandbox: SandboxServer, postgres_url: str, tmp_path: Path
) -> None:
    command = Command.at(tmp_path, postgres_url)
    content = collection_of(sandbox.archive_url)
    content["series"][0]["symbols"] = [BTC, "BTD/USDT"]
    command.configure(content)
    days = ("--from", "2024-01-01", "--to", "2024-01-02")
    both = command("collect", *days, "--json")
    assert both.code == 1
    assert "the archive lists nothing for BTD/USDT" in both.message
    assert "did you mean BTC/USDT? Check `symbols` in collection.yaml" in both.message
    assert both.json["states"] == {"available": 2}
    assert {(one["symbol"], one["state"]) for one in both.json["problems"]} == {("BTD/USDT", None)}
    assert [one["symbol"] for one in both.json["unknown_symbols"]] == ["BTD/USDT"]
    alone = command("collect", *days, "--symbol", "BTD/USDT")
    assert (alone.code, alone.out) == (2, "")
    assert "the archive lists nothing for BTD/USDT" in alone.message
    assert no_traceback(alone)
    with Ledger(postgres_url) as ledger:
        assert {record.symbol for record in ledger.partitions()} == {BTC}


def test_a_misspelt_symbol_option_does_not_stop_the_others(
    sandbox: SandboxServer, postgres_url: str, tmp_path: Path
) -> None:
    command = Command.at(tmp_path, postgres_url)
    command.configure(collection_of(sandbox.archive_url))
    days = ("--from", "2024-01-01", "--to", "2024-01-01")
    answer = command("collect", *days, "--symbol", "BTCUSDT", "--symbol", "btc-usdt", "--json")
    assert answer.code == 1
    assert "--symbol BTCUSDT: not in" in answer.message
    assert answer.message.endswith("did you mean BTC/USDT?")
    assert answer.json["states"] == {"available": 1}
    assert len(answer.json["misspelt"]) == 1


def test_debug_shows_where_an_error_was_raised(plain: Command) -> None:
    plain.configure(f"series:\n  - {ENTRY.replace('binance', 'binanse')}\n")
    answer = plain("--debug", "collect", "--from", "2024-01-01", "--to", "2024-01-02")
    assert answer.code == 2
    assert "Traceback" in answer.err
    assert "ConfigError" in answer.err
    assert "collection.py" in answer.err


def test_a_database_that_does_not_answer_is_one_message_without_the_password(plain: Command) -> None:
    plain.configure(f"series:\n  - {ENTRY}\n")
    command = Command.at(plain.home, "postgresql://someone:secret@127.0.0.1:1/none")
    answer = command("collect", "--from", "2024-01-01", "--to", "2024-01-02")
    assert answer.code == 1
    assert "Postgres at 127.0.0.1:1/none: expected an answer" in answer.message
    assert "CRYPTO_ASSETS_POSTGRES_URL" in answer.message
    assert "secret" not in answer.out + answer.err
    assert no_traceback(answer)
