"""What a command imports before it does anything: whoever only looks waits for nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.command import PROJECT, Command
from crypto_assets_tests.project import entry

_IMPORTED = """
import sys
from crypto_assets import cli
code = 0
sys.argv = ["crypto-assets", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as stop:
    code = stop.code
print("\\0", code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""

_DEFINED = """
import sys
import crypto_assets.definitions
print("\\0", 0, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture
def command(tmp_path: Path, module_postgres_url: str) -> Command:
    migrate(module_postgres_url)
    found = Command.at(tmp_path, module_postgres_url)
    found.configure({"series": [entry(["ohlcv_1m", "trades"], ["BTC/USDT"], date(2024, 1, 1)) | {"end": "2024-01-02"}]})
    return found


PAGES = {"fastapi", "jinja2"}
"""What only the process of the API, and only `report`, import."""


# Dagster costs 0.5 CPU seconds, pandas 0.3, the server of the sandbox 0.1.
@pytest.mark.parametrize(
    ("arguments", "code", "says", "without"),
    [
        ("--help", 0, "Collect crypto market data", {"dagster", "pandas", "pyarrow", "uvicorn", "psycopg"} | PAGES),
        ("status", 1, "not collected yet", {"dagster", "pandas", "uvicorn"} | PAGES),
        ("gaps", 1, "not collected yet", {"dagster", "pandas", "uvicorn"} | PAGES),
        ("catalog", 0, "nothing is stored yet", {"dagster", "pandas", "uvicorn"} | PAGES),
        ("symbols", 0, "BTC/USDT", {"dagster", "pandas", "uvicorn"} | PAGES),
        ("datasets", 0, "funding_rates", {"dagster", "pandas", "uvicorn"} | PAGES),
        ("config check", 0, "binance spot", {"dagster", "pandas", "uvicorn"} | PAGES),
    ],
)
def test_a_command_that_looks_imports_what_it_uses(
    command: Command, arguments: str, code: int, says: str, without: set[str]
) -> None:
    text, found_code, imported = ran(command, _IMPORTED, *arguments.split())
    assert says in text
    assert found_code == code
    assert not without & imported


def test_collect_and_the_code_location_import_nothing_of_the_api_or_the_report(command: Command) -> None:
    day = date(2024, 1, 1)
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (day, day)}})) as server:
        urls = {"archive_url": server.archive_url, "listing_url": server.listing_url}
        command.configure({"exchanges": {"binance": urls}, "series": [entry(["ohlcv_1m"], ["BTC/USDT"], day)]})
        text, code, imported = ran(command, _IMPORTED, "collect", "--from", str(day), "--to", str(day))
        assert (code, "1,440" in text) == (0, True), text
        assert not PAGES & imported
        _, _, imported = ran(command, _DEFINED)
        assert "dagster" in imported
        assert not PAGES & imported


def ran(command: Command, program: str, *arguments: str) -> tuple[str, int, set[str]]:
    """Run a program that names what it has imported; return what it printed, its exit code and those names."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=command.variables,
        cwd=PROJECT,
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    text, _, rest = done.stdout.partition("\0")
    found = rest.split()
    assert found, done.stderr
    return text, int(found[0]), set(found[1:])


def test_collecting_what_is_stored_already_imports_nothing_that_only_new_rows_need(
    tmp_path: Path, postgres_url: str
) -> None:
    first, last = date(2024, 1, 1), date(2024, 1, 3)
    command = Command.at(tmp_path, postgres_url)
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (first, last)}})) as server:
        urls = {"archive_url": server.archive_url, "listing_url": server.listing_url}
        command.configure({"exchanges": {"binance": urls}, "series": [entry(["ohlcv_1m"], ["BTC/USDT"], first)]})
        arguments = ("collect", "--from", str(first), "--to", str(last))
        fresh, again = (ran(command, _IMPORTED, *arguments) for _ in range(2))
    assert "3 days requested: 3 available" in fresh[0]
    assert again[:2] == fresh[:2]
    assert "pandas" in fresh[2]
    # Pandera costs half a CPU second; it is asked only about rows that break their contract.
    others = {"pandera", "hypothesis", "typeguard", "ccxt", "matplotlib", "boto3", "pydantic_settings", "uvicorn"}
    others |= {"requests"} | PAGES
    assert not others & fresh[2]
    assert not ({"pandas"} | others) & again[2]
