"""`crypto-assets init`: a folder becomes a project; what the package ships is what the repository has at its top."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from crypto_assets.cli import cli
from crypto_assets.cli.help import Help, Sections
from crypto_assets.config.collection import load_collection
from crypto_assets.config.dagster_home import use_dagster_home
from crypto_assets.config.project import FILES
from crypto_assets_tests.command import PROJECT


def init(*arguments: str) -> click.testing.Result:
    return CliRunner().invoke(cli, ["init", *arguments])


def test_a_new_folder_has_a_collection_that_can_be_read_and_settings_of_dagster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    folder = tmp_path / "my data"
    answer = init(str(folder))
    assert answer.exit_code == 0, answer.output
    assert {path.name for path in folder.iterdir()} == {*FILES, ".gitignore"}
    assert {series.exchange for series in load_collection(folder / "collection.yaml").series} == {"binance"}
    named = [name for entry in load_collection(folder / "collection.yaml").series for name in entry.datasets]
    assert set(named) == {"ohlcv_1m", "funding_rates"}, "nothing large comes before a person has asked for it"
    monkeypatch.chdir(folder)
    assert use_dagster_home() == folder
    assert f"cd '{folder}' && crypto-assets demo" in answer.output


def test_files_that_exist_are_kept(tmp_path: Path) -> None:
    (tmp_path / "collection.yaml").write_text("series: []\n")
    answer = init(str(tmp_path))
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "collection.yaml").read_text() == "series: []\n"
    assert "collection.yaml  exists, unchanged" in answer.output
    again = init(str(tmp_path))
    assert again.output.count("exists, unchanged") == len(FILES)


def test_a_file_in_the_place_of_the_folder_is_a_wrong_argument(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert init(str(tmp_path / "file")).exit_code == 2
    assert "expected a writable folder" in str(init(str(tmp_path / "file" / "below")).exception)


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_in_the_place_of_one_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / name).symlink_to(tmp_path / "nowhere")
    answer = init(str(tmp_path / "link"))
    assert f"{name}: expected a file or nothing, found a link to nothing ({tmp_path / 'nowhere'})" in str(
        answer.exception
    )
    (tmp_path / "folder" / name).mkdir(parents=True)
    answer = init(str(tmp_path / "folder"))
    assert f"{name}: expected a file or nothing, found a folder" in str(answer.exception)
    assert [path.name for path in (*(tmp_path / "link").iterdir(), *(tmp_path / "folder").iterdir())] == [name, name]


def test_a_folder_without_a_name_is_not_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = init("")
    assert (answer.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "expected the name of a folder, found an empty text" in answer.output


def test_the_next_step_enters_a_folder_that_begins_with_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cd ./-dash && " in init("--", "-dash").output


@pytest.mark.parametrize("name", FILES)
def test_the_files_at_the_top_of_the_repository_are_those_that_init_writes(name: str) -> None:
    shipped = PROJECT / "crypto_assets" / "config" / "defaults" / name
    assert (PROJECT / name).read_text() == shipped.read_text()
    assert yaml.safe_load(shipped.read_text())


EXAMPLES = {
    line: command
    for command in [cli, *cli.commands.values()]
    if isinstance(command, Help | Sections)
    for line, _ in command.examples
}


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_of_the_help_is_a_line_that_can_be_run(line: str) -> None:
    context, words = cli, shlex.split(line.split(" > ")[0])
    while isinstance(context, click.Group):
        while words[0].startswith("--"):
            words.pop(0)
        context = context.commands[words.pop(0)]
    context.make_context("crypto-assets", words)


def test_config_check_names_only_variables_that_somebody_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in os.environ if name.startswith("CRYPTO_ASSETS_")]
    # --config and the search for dagster.yaml set two of them; the runner restores those that it is told of.
    clean: dict[str, str | None] = dict.fromkeys([*names, "CRYPTO_ASSETS_CONFIG", "DAGSTER_HOME"])
    monkeypatch.chdir(tmp_path)
    init()
    given: dict[str, str | None]
    for given in ({}, {"CRYPTO_ASSETS_DOWNLOADS": "3"}):
        runner = CliRunner(env=clean | given)
        answer = runner.invoke(cli, ["--config", "collection.yaml", "config", "check", "--json"])
        assert json.loads(answer.stdout)["places"]["environment"] == (", ".join(given) or "nothing is set")
