"""`crypto-assets sql`: one query, or psql, read-only, on the embedded server and on a named one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.storage.embedded_postgres import delete_server, ensure_server
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.command import PROJECT, Command
from crypto_assets_tests.workbench import entry

NEEDS_PSQL = pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")


def configured(command: Command) -> Command:
    command.configure({"series": [entry("spot", ["ohlcv_1m"], ["BTC/USDT"], date(2024, 1, 1))]})
    return command


def ask(command: Command, statements: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with statements on its standard input, as psql reads them."""
    return subprocess.run(
        [sys.executable, "-m", "crypto_assets", "sql", *arguments],
        input=statements,
        env=command.variables | {"PAGER": "cat", "PSQLRC": "/dev/null"},
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A home with its own embedded server."""
    home = tmp_path_factory.mktemp("sql") / "home"
    home.mkdir()
    for folder in (home.parent, home.parent.parent):
        folder.chmod(folder.stat().st_mode | 0o711)
    migrate(ensure_server(home, durable=False, grace_s=5))
    yield configured(Command.at(home))
    delete_server(home)


STATEMENTS = r"""
\pset format unaligned
\pset tuples_only on
SELECT current_user, current_setting('TimeZone'), count(*) FROM market.latest_prices;
SELECT count(*) FROM collection.coverage;
CREATE TABLE market.mine (n int);
"""


@NEEDS_PSQL
def test_psql_is_opened_on_the_embedded_server_as_the_reader(own: Command) -> None:
    done = ask(own, STATEMENTS)
    assert "crypto_assets_reader|UTC|0\n0\n" in done.stdout, done.stderr
    assert "read-only transaction" in done.stderr or "permission denied" in done.stderr
    assert ask(own, "\\q\n").returncode == 0
    assert ask(own, "\\set ON_ERROR_STOP on\nSELECT nothing;\n").returncode == 3, "the exit code is that of psql"


@NEEDS_PSQL
def test_psql_is_read_only_on_a_named_server_and_no_password_is_in_its_arguments(
    postgres_url: str, tmp_path: Path
) -> None:
    migrate(postgres_url)
    joint = "&" if "?" in postgres_url else "?"
    command = configured(Command.at(tmp_path, f"{postgres_url}{joint}password=hush-hush"))
    done = ask(command, STATEMENTS + "\\! tr '\\\\0' ' ' < /proc/$PPID/cmdline\n")
    assert "|UTC|0\n0\n" in done.stdout, done.stderr
    assert "cannot execute CREATE TABLE in a read-only transaction" in done.stderr
    assert "default_transaction_read_only" in done.stdout, "its own arguments are seen"
    assert "hush-hush" not in done.stdout + done.stderr


def test_without_psql_the_error_says_what_to_do(postgres_url: str, tmp_path: Path) -> None:
    command = configured(Command.at(tmp_path, postgres_url, PATH=str(tmp_path)))
    done = ask(command, "")
    assert done.returncode == 2
    assert "expected the program psql on the PATH, found none; install it" in done.stderr
    assert 'or give a query: `crypto-assets sql "SELECT …"`' in done.stderr
    refused = ask(command, "", "--csv")
    assert (refused.returncode, "--csv and --json need a query" in refused.stderr) == (2, True)


def test_a_query_is_answered_as_before(postgres_url: str, tmp_path: Path) -> None:
    migrate(postgres_url)
    command = configured(Command.at(tmp_path, postgres_url))
    assert command("sql", "--csv", "SELECT 1 AS one, 'a' AS two").out == "one,two\r\n1,a\r\n".replace("\r\n", "\n")
    assert "expected a query that returns rows" in command("sql", "SET timezone = 'UTC'").message


def test_the_table_of_a_query_has_no_zeros_at_the_end_of_decimals_and_csv_has(own: Command) -> None:
    query = "SELECT 50508.520000000000000000::numeric a, 100.000::numeric b, 0.000::numeric c, 1e3::numeric d, 100 e"
    table, rows = own("sql", query), own("sql", "--csv", query)
    assert table.out.splitlines()[1].split() == ["50508.52", "100", "0", "1000", "100"]
    assert rows.out.splitlines()[1] == "50508.520000000000000000,100.000,0.000,1000,100"
