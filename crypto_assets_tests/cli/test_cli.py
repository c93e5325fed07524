"""The command line as people and scripts use it: processes, exit codes, text and JSON."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest

from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.command import PROJECT, Answer, Command, no_traceback
from crypto_assets_tests.published import checksum_of, days, rows_of, text_of
from crypto_assets_tests.waiting import wait_for
from crypto_assets_tests.workbench import entry, lake_rows, warehouse_rows

FIRST = date(2024, 1, 1)


BTC = "BTC/USDT"


BARS = Series("binance", "spot", "ohlcv", "1m")


def key_of(day: date, symbol: str = "BTCUSDT") -> str:
    return f"data/spot/daily/klines/{symbol}/1m/{symbol}-1m-{day}.zip"


def table_of(text: str) -> dict[str, list[str]]:
    """Return the cells of each asset's line."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("binance/")}


# ---- collect, status, gaps, fill -------------------------------------------------------------------------------------


@dataclass
class Story:
    """Days 1–3 collected, 3–5 collected with a bad fourth, looked at; then the fourth is mended, and the rest filled."""

    answers: dict[str, Answer]
    filled: list[str]
    url: str
    lake: Lake
    archive: SyntheticArchive


BEFORE = {
    "status of nothing": "status",
    "collect json": f"collect --from {FIRST} --to 2024-01-03 --symbol BTC/USDT --json",
    "collect": "collect --from 2024-01-03 --to 2024-01-05 --symbol BTC-USDT",
    "collect bad json": "collect --from 2024-01-03 --to 2024-01-05 --symbol BTC/USDT --dataset ohlcv_1m --json",
    "gaps json": "gaps --json --to 2024-01-07",
    "gaps": "gaps --to 2024-01-07",
    "gaps of a day": "gaps --from 2024-01-02 --to 2024-01-03 --symbol BTC/USDT",
    "status json": "status --json",
}


AFTER = {
    "fill": "fill --to 2024-01-07 --symbol BTC/USDT --json",
    "gaps": "gaps --to 2024-01-07 --symbol BTC/USDT",
    "gaps json": "gaps --to 2024-01-07 --symbol BTC/USDT --json",
    "fill again": "fill --to 2024-01-07 --symbol BTC/USDT",
    "fill again json": "fill --to 2024-01-07 --symbol BTC/USDT --json",
    "status": "status",
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, module_postgres_url: str) -> Iterator[Story]:
    archive = SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"]}, FIRST, date(2024, 1, 9), trades_per_day=300)
    command = Command.at(tmp_path_factory.mktemp("story"), module_postgres_url)
    with SandboxServer(archive) as server:
        urls = {"archive_url": server.archive_url, "listing_url": server.listing_url}
        command.configure(
            {"exchanges": {"binance": urls}, "series": [entry("spot", ["ohlcv_1m"], [BTC, "ETH/USDT"], FIRST)]}
        )
        answers: dict[str, Answer] = {}
        bad = key_of(date(2024, 1, 4))
        server.app.state.overrides |= {bad: b"cut", bad + ".CHECKSUM": checksum_of(bad, b"cut")}
        before = command.sequence(*BEFORE.values())
        server.app.state.overrides.clear()
        server.forget_requests()
        after = command.sequence(*AFTER.values())
        filled = [path for _, path in server.requests() if path.endswith(".zip")]
        server.app.state.overrides |= {bad: b"cut", bad + ".CHECKSUM": checksum_of(bad, b"cut")}
        answers["republished badly"] = command("collect", "--from", str(FIRST), "--to", "2024-01-07", "--symbol", BTC)
    urls = {"archive_url": "http://127.0.0.1:1", "listing_url": "http://127.0.0.1:1"}
    command.configure({"exchanges": {"binance": urls}, "series": [entry("spot", ["ohlcv_1m"], [BTC], FIRST)]})
    answers["host away"] = command("collect", "--from", str(FIRST), "--to", "2024-01-02")
    answers |= dict(zip(BEFORE, before, strict=True))
    answers |= {f"then {name}": answer for name, answer in zip(AFTER, after, strict=True)}
    assert all(no_traceback(answer) for answer in answers.values()), answers
    return Story(answers, filled, module_postgres_url, Lake(str(command.home / "lake")), archive)


def number(first: date) -> int:
    """The days from one to yesterday."""
    return (datetime.now(UTC).date() - first).days


def since(first: date) -> str:
    return f"{number(first):,}"


def test_status_before_anything_was_collected_says_how_to_start(story: Story) -> None:
    answer = story.answers["status of nothing"]
    assert answer.code == 1, "nothing of the collection is there"
    assert table_of(answer.out)["binance/spot/ohlcv_1m/BTC-USDT"][1:7] == ["0", "0", "0", since(FIRST), "0", "0"]
    assert "nothing has been collected yet; start with `crypto-assets collect`" in answer.out


def test_collect_as_json_counts_days_and_rows(story: Story) -> None:
    answer = story.answers["collect json"]
    assert answer.code == 0
    assert answer.json == {"days": 3, "states": {"available": 3}, "rows": 4320, "problems": []}
    assert answer.err == ""


def test_collect_with_a_bad_day_ends_with_1_and_one_line_for_it(story: Story) -> None:
    answer = story.answers["collect"]
    assert answer.code == 1
    assert table_of(answer.out)["binance/spot/ohlcv_1m/BTC-USDT"][:6] == ["3", "2", "0", "1", "0", "2,880"]
    lines = [line for line in answer.out.splitlines() if ": missing: " in line]
    assert len(lines) == 1
    assert lines[0].startswith(
        f"binance spot BTC/USDT ohlcv_1m 2024-01-04: missing: {key_of(date(2024, 1, 4))}: expected"
    )
    assert "3 days requested: 2 available, 1 missing" in answer.out


def test_collect_with_a_bad_day_as_json_names_it(story: Story) -> None:
    answer = story.answers["collect bad json"]
    assert answer.code == 1
    found = answer.json
    assert (found["days"], found["states"], found["rows"]) == (3, {"available": 2, "missing": 1}, 2880)
    (problem,) = found["problems"]
    assert problem["reason"].startswith(f"{key_of(date(2024, 1, 4))}: expected a whole zip")
    del problem["reason"]
    assert problem == {
        "exchange": "binance",
        "market_type": "spot",
        "symbol": BTC,
        "dataset": "ohlcv_1m",
        "day": "2024-01-04",
        "state": "missing",
    }


def test_gaps_are_what_failed_and_what_was_never_collected(story: Story) -> None:
    answer = story.answers["gaps json"]
    assert answer.code == 1
    assert [(row["symbol"], row["day"], row["state"]) for row in answer.json] == [
        (BTC, "2024-01-04", "missing"),
        (BTC, "2024-01-06", None),
        (BTC, "2024-01-07", None),
        *(("ETH/USDT", str(day), None) for day in days(FIRST, 7)),
    ]


def test_gaps_for_people_join_equal_days(story: Story) -> None:
    answer = story.answers["gaps"]
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"binance spot BTC/USDT ohlcv_1m 2024-01-04: missing: {key_of(date(2024, 1, 4))}")
    assert lines[1:] == [
        "binance spot BTC/USDT ohlcv_1m 2024-01-06 … 2024-01-07 (2 days): not collected yet",
        "binance spot ETH/USDT ohlcv_1m 2024-01-01 … 2024-01-07 (7 days): not collected yet",
    ]


def test_gaps_of_complete_days_end_with_0(story: Story) -> None:
    answer = story.answers["gaps of a day"]
    assert (answer.code, answer.out) == (0, "nothing is missing\n")


def test_status_as_json_has_the_states_of_every_series(story: Story) -> None:
    answer = story.answers["status json"]
    assert answer.code == 1
    row, other = answer.json
    assert (other["symbol"], other["states"], other["first_day"]) == ("ETH/USDT", {}, None)
    assert other["days"] == other["not_collected"] == number(FIRST)
    size = row.pop("size_bytes")
    assert size > 10_000
    assert row == {
        "exchange": "binance",
        "market_type": "spot",
        "symbol": BTC,
        "dataset": "ohlcv_1m",
        "in_collection": True,
        "days": number(FIRST),
        "complete": 4,
        "provisional": 0,
        "partial": 0,
        "missing": 1,
        "not_collected": number(FIRST) - 5,
        "no_data": 0,
        "acknowledged": 0,
        "pending": 0,
        "corrected": 0,
        "states": {"available": 4, "missing": 1},
        "rows": 5760,
        "checks": 46,  # eleven of the rows, and two midnights between stored days
        "failed_checks": 0,
        "corrections": 0,
        "first_day": "2024-01-01",
        "last_day": "2024-01-05",
        "first_stored": "2024-01-01",
        "last_stored": "2024-01-05",
    }


def test_fill_collects_exactly_what_is_missing(story: Story) -> None:
    answer = story.answers["then fill"]
    assert answer.code == 0
    assert answer.json == {"days": 3, "states": {"available": 3}, "rows": 4320, "problems": []}
    assert sorted(story.filled) == [f"/{key_of(date(2024, 1, day))}" for day in (4, 6, 7)]
    for day in days(FIRST, 7):
        expected = rows_of("klines", text_of(story.archive.read(key_of(day)) or b""))
        assert len(expected) == 1440
        assert lake_rows(story.lake, BARS, BTC, day) == expected
        assert warehouse_rows(story.url, "ohlcv", BTC, day, "timeframe = '1m'") == expected


def test_after_fill_nothing_is_missing(story: Story) -> None:
    assert (story.answers["then gaps"].code, story.answers["then gaps"].out) == (0, "nothing is missing\n")
    assert (story.answers["then gaps json"].code, story.answers["then gaps json"].json) == (0, [])
    assert (story.answers["then fill again"].code, story.answers["then fill again"].out) == (0, "nothing is missing\n")
    assert story.answers["then fill again json"].json == {"days": 0, "states": {}, "rows": 0, "problems": []}


def test_a_stored_day_whose_new_file_is_refused_stays_and_is_named(story: Story) -> None:
    answer = story.answers["republished badly"]
    assert answer.code == 1
    assert "7 days requested: 6 available, 1 corrected" in answer.out
    (line,) = [line for line in answer.out.splitlines() if "2024-01-04" in line]
    assert line.startswith(f"binance spot {BTC} ohlcv_1m 2024-01-04: corrected: ")
    assert f"{key_of(date(2024, 1, 4))}: expected a whole zip" in line


def test_stored_days_that_could_not_be_looked_at_again_stay_and_are_named(story: Story) -> None:
    answer = story.answers["host away"]
    assert answer.code == 0, "every day is available"
    assert table_of(answer.out)["binance/spot/ohlcv_1m/BTC-USDT"][:6] == ["2", "2", "0", "0", "0", "2,880"]
    failure = "127.0.0.1:1 refuses connections (nothing listens on that port)"
    assert answer.err.splitlines() == [
        f"note: {failure}; binance is not asked again in this run",
        f"binance spot {BTC} ohlcv_1m 2024-01-01 … 2024-01-02 (2 days): not renewed, the stored data stays: {failure}",
    ]


def test_status_for_people_is_one_line_for_each_asset(story: Story) -> None:
    answer = story.answers["then status"]
    assert answer.code == 1
    assert answer.out.splitlines()[0].split("  ")[0] == "asset"
    cells = table_of(answer.out)
    assert list(cells) == ["binance/spot/ohlcv_1m/BTC-USDT", "binance/spot/ohlcv_1m/ETH-USDT"]
    whole = cells["binance/spot/ohlcv_1m/BTC-USDT"]
    assert whole[:7] == [since(FIRST), "7", "0", "0", since(date(2024, 1, 8)), "0", "10,080"]
    assert whole[-3:] == ["0", "2024-01-01", "2024-01-07"]


# ---- tables of any width ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_a_table_prints_every_value_whole_however_narrow_the_output_is(
    tmp_path: Path, postgres_url: str, terminal: bool
) -> None:
    values = ["x" * 400, "12345678901234567890.123456789012345678", ":heart: [red]", "the last"]
    command = Command.at(tmp_path, postgres_url, COLUMNS="40", **({"FORCE_COLOR": "1"} if terminal else {}))
    command.configure({"series": [entry("spot", ["ohlcv_1m"], [BTC], FIRST)]})
    query = ", ".join(f"'{value}' AS column_number_{number}" for number, value in enumerate(values))
    answer = command("sql", f"SELECT {query}")
    assert answer.code == 0, answer.err
    header, row = re.sub(r"\x1b\[[0-9;]*m", "", answer.out).splitlines()
    assert header.split() == [f"column_number_{number}" for number in range(4)]
    assert re.split(r"  +", row.strip()) == values


def test_every_command_that_makes_a_table_prints_it_whole() -> None:
    texts = {path.name: path.read_text() for path in (PROJECT / "crypto_assets" / "cli" / "commands").glob("*.py")}
    makers = {name for name, text in texts.items() if re.search(r"\bTable\(|_table\(|table_of\(", text)} - {
        "console.py"
    }
    assert len(makers) > 5
    assert {name for name in makers if "print_table(" not in texts[name]} == set()


# ---- stopped by a person ---------------------------------------------------------------------------------------------


def test_ctrl_c_ends_with_one_word_and_the_next_run_completes(tmp_path: Path, postgres_url: str) -> None:
    archive = SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, date(2024, 4, 30), trades_per_day=300)
    command = Command.at(tmp_path, postgres_url)
    migrate(postgres_url)
    arguments = ("collect", "--from", "2024-01-01", "--to", "2024-04-30")
    with SandboxServer(archive) as server, psycopg.connect(postgres_url, autocommit=True) as connection:
        urls = {"archive_url": server.archive_url, "listing_url": server.listing_url}
        command.configure({"exchanges": {"binance": urls}, "series": [entry("spot", ["ohlcv_1m"], [BTC], FIRST)]})

        def recorded() -> int:
            return int(connection.execute("SELECT count(*) FROM collection.partitions").fetchone()[0])  # type: ignore[index]

        server.app.state.faults.on("hang", pattern="*2024-04-3*")  # it cannot end before it is stopped
        process = command.start(*arguments)
        wait_for("a day is recorded", recorded, 200)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        answer = Answer(process.returncode, out, err, 0)
        assert answer.code == 130, answer
        assert no_traceback(answer), answer
        assert "stopped" in answer.err
        assert 0 < recorded() < 121
        server.app.state.faults.off()
        again = command(*arguments, "--json")
    assert again.code == 0
    assert again.json == {"days": 121, "states": {"available": 121}, "rows": 121 * 1440, "problems": []}
    assert len(Lake(str(tmp_path / "lake")).days(BARS, BTC)) == 121


@pytest.mark.parametrize("module", ["click", "pydantic", "crypto_assets.cli.commands.collect"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_while_it_imports_says_so_in_one_word(module: str, number: signal.Signals) -> None:
    code = (
        "import os, sys\nclass Stop:\n    def find_spec(name, *rest):\n"
        f"        if name == {module!r}:\n            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Stop)\nsys.argv = ['crypto-assets', 'status']\n"
        "from crypto_assets.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_an_option_of_all_commands_after_one_says_where_it_stands(tmp_path: Path) -> None:
    command = Command.at(tmp_path)
    command.configure({"series": [entry("spot", ["ohlcv_1m"], [BTC], FIRST)]})
    answer = command("status", "--config", "x.yaml")
    assert answer.code == 2
    assert "--config stands before the command: crypto-assets --config" in answer.err


def test_demo_and_debug_stand_before_and_after_the_name_of_a_command(tmp_path: Path) -> None:
    command = Command.at(tmp_path)
    before, after, both = command.sequence(
        "--demo --debug status --json", "status --json --demo --debug", "--demo status --demo"
    )
    assert "nothing was collected by the demo here" in before.err
    assert "Traceback" in before.err
    assert (after.code, after.err.splitlines()[-1]) == (before.code, before.err.splitlines()[-1])
    assert both.err.splitlines()[-1] == before.err.splitlines()[-1]
    command.configure({"series": [entry("spot", ["ohlcv_1m"], [BTC], FIRST)]})
    behind = command("status", "--", "--demo")
    assert (behind.code, "unexpected extra argument (--demo)" in behind.err) == (2, True)
