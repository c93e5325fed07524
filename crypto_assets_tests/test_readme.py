"""Every command line and code block of the README, in its order, as somebody would paste it after the demo.

A sandbox stands in for the exchange where the README says that a line needs it. `make` is not run: its environment is there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import click
import httpx
import psycopg
import pytest
import yaml

from crypto_assets.cli import cli
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.embedded_postgres import delete_server
from crypto_assets_tests.command import PROJECT
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.project import entry

README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(found[1], found[2]) for found in BLOCK.finditer(README)]
UNTIL_CTRL_C = {"up", "api", "postgres", "sandbox"}


def lines_with(text: str) -> list[str]:
    """Return the lines of the first shell block that has a text, without comments."""
    block = next(block for kind, block in BLOCKS if not kind and text in block)
    return [line.partition(" # ")[0].strip() for line in block.splitlines() if line.strip()]


@dataclass
class Place:
    """A folder like a clone after `make`, and what was printed there."""

    folder: Path
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        ours = ("CRYPTO_ASSETS_", "AWS_", "DAGSTER_")
        return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"COLUMNS": "200"}

    def run(self, line: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a line by a shell, as it stands."""
        self.done[line] = subprocess.run(
            ["/bin/bash", "-c", line],
            cwd=self.folder,
            env=self.variables,
            input=text,
            text=True,
            capture_output=True,
            timeout=240,
            check=False,
        )
        assert "Traceback" not in self.done[line].stderr, self.done[line].stderr
        return self.done[line]

    @contextmanager
    def running(self, line: str) -> Iterator[Iterator[str]]:
        """Run a line that goes on until Ctrl-C; yields what it prints."""
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"exec {line}"],
            cwd=self.folder,
            env=self.variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            yield iter(process.stdout.readline, "")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A clone of which `make demo` has just ended."""
    folder = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    folder.chmod(0o711)
    for name in ("dagster.yaml", "workspace.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder / name)
    (folder / "crypto_assets").symlink_to(PROJECT / "crypto_assets")  # `dg` looks for the module beside pyproject.toml
    (folder / ".venv" / "bin").mkdir(parents=True)
    # Scripts in place of links: an environment finds its packages by where its interpreter lies.
    called = folder / ".venv" / "bin" / "crypto-assets"
    main = f"import sys; sys.argv[0] = '{called}'; from crypto_assets.cli import main; main()"
    for name, start in (
        ("python", ""),
        ("dagster", "-m dagster"),
        ("dg", '-c "from dagster_dg_cli.cli import main; main()"'),
        ("crypto-assets", f'-c "{main}"'),
    ):
        command = folder / ".venv" / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {start} "$@"\n')
        command.chmod(0o755)
    (folder / ".venv" / "bin" / "activate").write_text("export PATH=$PWD/.venv/bin:$PATH\n")
    made = Place(folder)
    try:
        demo = made.run(".venv/bin/crypto-assets demo")
        assert demo.returncode == 0, demo.stderr
        yield made
    finally:
        for home in (folder / ".crypto_assets" / "demo", folder / ".crypto_assets"):
            delete_server(home)
        shutil.rmtree(folder)


# ---- the demo --------------------------------------------------------------------------------------------------------


def test_the_lines_after_the_demo_show_the_demo(place: Place) -> None:
    status, gaps, sql, report, up = lines_with("crypto-assets --demo status")
    shown = place.run(status)
    assert shown.returncode == 0
    rows = [line.split() for line in shown.stdout.splitlines() if line.startswith("binance/")]
    assert len(rows) == 15
    # asset, days, complete, partial, missing, not collected yet, no data
    assert {tuple(row[1:7]) for row in rows} == {("11", "10", "0", "0", "0", "1")}
    assert (place.run(gaps).returncode, place.done[gaps].stdout) == (0, "nothing is missing\n")
    counted = {tuple(line.split()) for line in place.run(sql).stdout.splitlines()[1:]}
    assert {(name, "240") for name in ("BTC/USDT", "ETH/USDT", "SOL/USDT", "BTC/USDT:USDT")} < counted
    assert place.run(report).stdout.startswith("Complete: all 165 days are complete or have no data\n")
    assert (place.folder / "demo_report" / "report.html").is_file()
    with place.running(f"{up} --port {free_port()} --api-port {free_port()}") as printed:
        found = dict(re.match(r"(\S.*?)  +(\S.*)$", next(printed)).groups() for _ in range(6))  # type: ignore[union-attr]
        assert httpx.get(f"{found['Dagster UI']}/server_info", trust_env=False).status_code == 200
        assert found["automation"] == "nothing to collect by itself: the last day is 2024-01-10"
        series = httpx.get(f"{found['API']}/status", trust_env=False, timeout=60).json()["series"]
        assert [one["complete"] for one in series] == [10] * 15
        with psycopg.connect(found["Postgres"]) as connection:
            assert connection.execute("SELECT count(*) FROM market.ohlcv").fetchone() == (5 * 19030,)


def test_what_the_demo_prints_at_its_end_works_when_it_is_pasted(place: Place) -> None:
    demo = place.done[".venv/bin/crypto-assets demo"].stdout
    found = dict(re.findall(r"^(status|SQL|Dagster) +(\S*crypto-assets --demo .*?)(?:   .*)?$", demo, re.MULTILINE))
    assert set(found) == {"status", "SQL", "Dagster"}
    assert place.run(found["status"]).returncode == 0
    assert "BTC/USDT" in place.run(found["SQL"]).stdout
    # What was collected is still to be seen in a terminal of few lines.
    assert "150 available, 15 no data" in "".join(demo.splitlines(keepends=True)[-5:])
    assert "`crypto-assets --demo postgres` does this for the demo" in README
    with place.running(".venv/bin/crypto-assets --demo postgres") as printed:
        url = next(printed).strip()
        assert next(printed) == "it answers until Ctrl-C\n"
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM market.ohlcv").fetchone() == (5 * 19030,)
        if shutil.which("psql"):
            told = place.run(f"psql {url} -Atc 'SELECT count(*) FROM market.funding_rates'")
            assert told.stdout == "60\n"


def test_python_sql_and_duckdb_read_the_demo(place: Place) -> None:
    (python,) = [block for kind, block in BLOCKS if kind == "python"]
    (query,) = [block for kind, block in BLOCKS if kind == "sql"]
    read = place.run(".venv/bin/python -", python)
    assert read.returncode == 0, read.stderr
    count, close, exact = read.stdout.split()
    assert (int(count), float(close)) == (14400, float(exact))
    asked = place.run(f'.venv/bin/crypto-assets --demo sql "{query}"')
    assert asked.returncode == 0, asked.stderr
    hours = [line.split()[1] for line in asked.stdout.splitlines()[1:]]
    assert hours == [f"{hour:02d}:00:00+00:00" for hour in range(24)]
    (line,) = lines_with("duckdb")
    shown = place.run(line)
    assert shown.returncode == 0, shown.stderr
    assert re.findall(r"(\w+-USDT)\D+14400", shown.stdout) == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]


def test_the_examples_of_the_page_about_python_run_on_the_demo(place: Place) -> None:
    page = (PROJECT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    blocks = [found[2] for found in BLOCK.finditer(page) if found[1] == "python"]
    assert len(blocks) > 10
    done = place.run(".venv/bin/python -", "".join(blocks))
    assert done.returncode == 0, done.stderr
    assert re.search(r"ohlcv_1m +SOL/USDT +2024-01-01 00:00:00\+00:00 +2024-01-10 00:00:00\+00:00 +14400", done.stdout)
    assert re.search(r"SOL/USDT +2023-12-31 00:00:00\+00:00 +no_data +not listed before 2024-01-01", done.stdout)


# ---- what needs the exchange -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(place: Place) -> Iterator[Place]:
    """The same place, with a sandbox for the exchange in its collection.yaml."""
    content = yaml.safe_load((PROJECT / "collection.yaml").read_text())
    assert yaml.safe_load(next(block for kind, block in BLOCKS if kind == "yaml"))["series"] == content["series"][:1]
    first, last = date(2024, 1, 1), date(2024, 1, 31)
    archive = SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"]}, first, last, trades_per_day=300)
    with SandboxServer(archive) as server:
        content["exchanges"] = {"binance": {"archive_url": server.archive_url, "listing_url": server.listing_url}}
        content["series"] = [entry(["ohlcv_1m"], ["BTC/USDT", "ETH/USDT"], first) | {"end": last}]
        (place.folder / "collection.yaml").write_text(yaml.safe_dump(content))
        yield place


def test_the_line_for_the_real_exchange_collects_a_month(real: Place) -> None:
    (line,) = lines_with(".venv/bin/crypto-assets collect")
    done = real.run(line)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "31 days requested: 31 available")


def test_the_lines_for_ci_work(real: Place) -> None:
    *before, materialize = lines_with("dagster definitions validate")
    done = real.run(" && ".join(before))
    assert done.returncode == 0, done.stderr
    assert "binance/spot/ohlcv_1m/BTC-USDT" in done.stdout
    done = real.run(" && ".join([*before[:2], materialize]))
    assert done.returncode == 0, done.stderr


def test_the_lines_with_dg_work(real: Place) -> None:
    check, list_, launch = lines_with("dg check defs")
    activate = lines_with("dagster definitions validate")[:2]
    done = real.run(" && ".join([*activate, check, list_, launch]))
    assert done.returncode == 0, done.stderr
    assert "All definitions loaded successfully" in done.stdout
    assert "binance/spot/ohlcv_1m/BTC-USDT" in done.stdout


RUN = (
    "make demo",  # its environment is this one; CI runs `make test`
    "crypto-assets --demo status",
    ".venv/bin/crypto-assets collect",
    "duckdb",
    "crypto-assets gaps acknowledge",
    "dagster definitions validate",
    "dg check defs",
)
"""What each shell block of the README has, in its order; the tests here run them by these words."""

COMMANDS = [re.split(r"  +|(?<=\S) # ", line)[0] for line in lines_with("crypto-assets gaps acknowledge")]


def test_every_block_is_one_that_a_test_here_runs() -> None:
    kinds = [kind for kind, _ in BLOCKS if kind not in ("", "text")]
    assert kinds == ["python", "sql", "yaml"], "each has its test above"
    shell = [text for kind, text in BLOCKS if not kind]
    assert len(shell) == len(RUN), "`text` for what no shell runs"
    assert all(beginning in text for beginning, text in zip(RUN, shell, strict=True))


def test_the_list_of_commands_is_whole_and_names_what_there_is() -> None:
    assert {line.split()[1] for line in COMMANDS} | {"demo"} == set(cli.commands)
    for line in COMMANDS:
        command: click.Command = cli.commands[line.split()[1]]
        for word in line.split()[2:]:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
            elif word.startswith("-"):
                assert any(word in parameter.opts for parameter in command.params), line


def test_the_listed_commands_work_in_their_order(real: Place) -> None:
    codes = {}
    for line in COMMANDS:
        name = line.split()[1]
        if name in UNTIL_CTRL_C or name in ("selftest", "cancel") or line.endswith("acknowledge"):
            continue
        filled = line.replace("DIR", "out").replace("FILE", "my.lock").replace("[QUERY]", '"SELECT 1 AS one"')
        done = real.run(f".venv/bin/{filled}")
        codes[line] = done.returncode
        assert done.returncode in (0, 1), (line, done.stderr)
    assert [line for line, code in codes.items() if code] == [], "after `collect` nothing is missing"
    (collect,) = (line for line in COMMANDS if line.split()[1] == "collect")
    assert "62 days requested: 62 available" in real.done[f".venv/bin/{collect}"].stdout
    assert (real.folder / "out" / "report.html").is_file()
