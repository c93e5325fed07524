"""What a command imports before it does anything: whoever only looks waits for nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

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


@pytest.fixture
def command(tmp_path: Path, module_postgres_url: str) -> Command:
    migrate(module_postgres_url)
    found = Command.at(tmp_path, module_postgres_url)
    found.configure({"series": [entry(["ohlcv_1m", "trades"], ["BTC/USDT"], date(2024, 1, 1)) | {"end": "2024-01-02"}]})
    return found


# Dagster costs 0.5 CPU seconds, pandas 0.3, the server of the sandbox 0.1.
@pytest.mark.parametrize(
    ("arguments", "code", "says", "without"),
    [
        ("--help", 0, "Collect crypto market data", {"dagster", "pandas", "pyarrow", "uvicorn", "psycopg"}),
        ("status", 1, "not collected yet", {"dagster", "pandas", "uvicorn"}),
        ("gaps", 1, "not collected yet", {"dagster", "pandas", "uvicorn"}),
    ],
)
def test_a_command_that_looks_imports_what_it_uses(
    command: Command, arguments: str, code: int, says: str, without: set[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED, *arguments.split()],
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
    assert says in text
    assert int(found[0]) == code
    assert not without & set(found[1:])
