"""Every command explains itself, quickly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from crypto_assets.cli import cli
from crypto_assets_tests.command import Command

SAYS = {
    (): "complete, or it says exactly what is missing and why",
    ("init",): "Make FOLDER a project",
    ("collect",): "Stored days are verified, not downloaded again",
    ("postgres",): "keep the embedded server running until Ctrl-C",
    ("sql",): "Run one read-only SQL query on the warehouse",
    ("fill",): "Collect what is missing",
    ("gaps",): "Show what is missing, and why",
    ("warehouse",): "Show what Postgres has of each dataset, and the size of its tables",
    ("catalog",): "Show what is stored and what is configured",
    ("symbols",): "Show the symbols that are stored or in collection.yaml",
    ("datasets",): "Show the datasets that can be collected",
    ("instruments",): "Show the instruments of the exchanges",
    ("config",): "Look at the configuration",
    ("status",): "Show how many days of everything in collection.yaml are complete",
    ("up",): "print their addresses",
    ("api",): "Run the HTTP API",
    ("pause",): "Pause everything, an exchange or a run",
    ("resume",): "Resume a paused scope",
    ("cancel",): "Stop a run",
    ("runs",): "Show what is running",
    ("demo",): "Collect ten days from the sandbox exchange",
    ("corrections",): "Show the stored days that were replaced",
    ("incidents",): "Show outages of exchanges",
    ("lock",): "Write a lock file: name, version and sha256 of every file behind a query",
    ("verify",): "Check that the data of a lock file is still the same",
    ("quarantine",): "List the files that were refused",
    ("report",): "what is stored, what is missing and why",
    ("validate",): "Check stored days again with all checks",
    ("quality",): "Show quality scores from 0 to 1",
    ("delays",): "Show how long after the end of a day or month its files appear",
    ("selftest",): "Run every fault of an exchange, and of our stores",
}


@pytest.mark.parametrize("command", SAYS, ids=lambda command: " ".join(command) or "crypto-assets")
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    answer = CliRunner().invoke(cli, [*command, "--help"])
    assert answer.exit_code == 0
    assert SAYS[command] in " ".join(answer.output.split())


def test_no_command_is_left_without_a_test_of_its_help() -> None:
    assert {name for command in SAYS for name in command} | {"sandbox"} == set(cli.commands)


def test_the_real_command_lists_its_commands_without_importing_dagster(tmp_path: Path) -> None:
    answer = Command.at(tmp_path)("--help")
    assert answer.code == 0
    assert all(name in answer.out for name in cli.commands)
    version = Command.at(tmp_path)("--version")
    assert re.fullmatch(r"crypto-assets, version \d+\.\d+\S*\n", version.out)
    assert list(tmp_path.iterdir()) == []
