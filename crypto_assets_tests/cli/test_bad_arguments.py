"""What a person writes wrong in collection.yaml or on the command line is one message and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from crypto_assets.cli import cli, options
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.cli.test_bad_input import BTC, START, collection_of
from crypto_assets_tests.command import Command, no_traceback

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


def test_an_unknown_symbol_of_one_dataset_and_an_unknown_dataset_do_not_stop_their_siblings(
    postgres_url: str, tmp_path: Path
) -> None:
    command, swap = Command.at(tmp_path, postgres_url), "BTC/USDT:USDT"
    world = SyntheticArchive({"linear": ["BTCUSDT"]}, START, START, trades_per_day=300)
    with SandboxServer(world) as server:  # a day: there is no monthly file of funding
        content = collection_of(server.archive_url)
        part = {"market_type": "linear", "datasets": ["funding_rates", "ohlcv_1h"], "symbols": [swap, "NO/USDT:USDT"]}
        content["series"] = [{**content["series"][0], **part, "rest": False}]
        command.configure(content)
        names = ("--dataset", "ohlcv_1h", "--dataset", "funding_rates", "--dataset", "traids")
        answer = command("collect", "--from", str(START), "--to", str(START), *names, "--json")
    assert answer.code == 1
    assert answer.json["states"] == {"available": 1}
    assert answer.json["rows"] == 24
    unknown = {(one["symbol"], one["dataset"]) for one in answer.json["unknown_symbols"]}
    assert unknown == {(swap, "funding_rates"), ("NO/USDT:USDT", "funding_rates"), ("NO/USDT:USDT", "ohlcv_1h")}
    assert {(one["symbol"], one["dataset"]) for one in answer.json["problems"]} == unknown
    lines = [line for line in answer.err.splitlines() if line.startswith("error:")]
    assert len(lines) == 3
    assert lines[0].startswith("error: --dataset traids: not in ")
    assert (
        sum(line.endswith("Check `symbols` in collection.yaml; it is not known for ohlcv_1h either") for line in lines)
        == 1
    )


def test_collect_from_today_goes_to_today(plain: Command) -> None:
    plain.configure(f"series:\n  - {ENTRY.replace('start', 'rest: false, start')}\n")
    answer = plain("collect", "--from", "today")
    assert answer.code == 2
    today = datetime.now(UTC).date()
    assert "--to" not in answer.message, "nobody wrote --to"
    assert f"--from {today}: no day is left; " in answer.message
    assert f"{today - timedelta(days=1)} is the last day that has ended" in answer.message


def test_a_command_has_one_today() -> None:
    midnight = date(2024, 1, 1)
    with click.Context(cli).scope() as context:
        assert options.today() == context.meta[f"{options.__name__}.today"]
        context.meta[f"{options.__name__}.today"] = midnight
        with click.Context(cli.commands["collect"], parent=context).scope() as below:
            assert options.DAY.convert("yesterday", None, below) == date(2023, 12, 31)
            assert options.today() == midnight, "another look at the clock"


def with_first_and_last(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield every command that has the options --from and --to."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from with_first_and_last(below, *names, name)
    if {"first", "last"} <= {option.name for option in command.params}:
        yield names


REVERSIBLE = list(with_first_and_last(cli))


@pytest.mark.parametrize("names", REVERSIBLE, ids=" ".join)
@pytest.mark.parametrize(
    "days", [("--from", "2024-01-05", "--to", "2024-01-04"), ("--to", "2024-01-04", "--from", "2024-01-05")]
)
def test_an_end_before_the_start_is_refused_by_every_command(
    names: tuple[str, ...], days: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "home"))
    (tmp_path / "collection.yaml").write_text(f"series:\n  - {ENTRY}\n")
    answer = CliRunner().invoke(cli, [*names, *days])
    assert isinstance(answer.exception, ConfigError), answer.output
    assert str(answer.exception) == "--from 2024-01-05 --to 2024-01-04: expected --from on or before --to"


def test_the_commands_with_days_are_known() -> None:
    assert {("collect",), ("fill",), ("gaps",), ("quality",), ("validate",)} <= set(REVERSIBLE)


def test_debug_shows_where_an_error_was_raised(plain: Command) -> None:
    plain.configure(f"series:\n  - {ENTRY.replace('binance', 'binanse')}\n")
    answer = plain("--debug", "collect", "--from", "2024-01-01", "--to", "2024-01-02")
    assert answer.code == 2
    assert "Traceback" in answer.err
    assert "ConfigError" in answer.err
    assert "collection.py" in answer.err


def test_a_database_that_does_not_answer_is_one_message_without_the_password(plain: Command) -> None:
    plain.configure(f"series:\n  - {ENTRY}\n")
    url = "postgresql://someone:secret@127.0.0.1:1/none"
    command = Command.at(plain.home, url, CRYPTO_ASSETS_STORE_PATIENCE_S="1")
    answer = command("collect", "--from", "2024-01-01", "--to", "2024-01-02")
    assert answer.code == 1
    assert "Postgres at 127.0.0.1:1/none: expected an answer" in answer.message
    assert "CRYPTO_ASSETS_POSTGRES_URL" in answer.message
    assert "secret" not in answer.out + answer.err
    assert no_traceback(answer)
