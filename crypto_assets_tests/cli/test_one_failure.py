"""One failure is one sentence: no network, a host that goes down, one bad file of a month, one symbol."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.command import PROJECT, Answer, Command, no_traceback
from crypto_assets_tests.published import checksum_of
from crypto_assets_tests.workbench import entry

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 31)
FUNDING = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip"
SPOT = entry("spot", ["ohlcv_1m"], ["BTC/USDT", "ETH/USDT"], FIRST, end=LAST)
LINEAR = entry("linear", ["funding_rates"], ["BTC/USDT", "ETH/USDT"], FIRST, end=LAST)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    symbols = {"spot": ["BTCUSDT", "ETHUSDT"], "linear": ["BTCUSDT", "ETHUSDT"]}
    with SandboxServer(SyntheticArchive(symbols, FIRST, LAST, trades_per_day=300)) as server:
        yield server


@pytest.fixture
def command(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Command]:
    yield Command.at(tmp_path / "home", postgres_url)
    sandbox.app.state.overrides.clear()
    sandbox.app.state.faults.off()


def configure(command: Command, server: SandboxServer, *entries: dict[str, Any], **urls: str) -> None:
    given = {"archive_url": server.archive_url, "listing_url": server.listing_url, **urls}
    command.configure({"exchanges": {"binance": given}, "series": list(entries)})


def sentences(answer: Answer) -> list[str]:
    assert no_traceback(answer), answer
    return [line for line in answer.out.splitlines() if line.startswith("binance ") and ": " in line]


def test_without_a_network_the_shipped_collection_is_a_few_lines(postgres_url: str, tmp_path: Path) -> None:
    command = Command.at(tmp_path, postgres_url)
    content = yaml.safe_load((PROJECT / "collection.yaml").read_text())
    urls = {"archive_url": "https://archive.invalid", "listing_url": "https://listing.invalid:8443/bucket"}
    command.configure({**content, "exchanges": {"binance": urls}})
    days = (datetime.now(UTC).date() - FIRST).days
    last = FIRST + timedelta(days=days - 1)
    fill = command("fill")
    assert fill.code == 1
    assert fill.took_s < 60, "three seconds on an idle machine"
    assert (
        fill.message
        == "error: cannot resolve listing.invalid (no DNS or no network); binance is not asked again in this run"
    )
    assert fill.out.splitlines() == [
        (
            "binance linear BTC/USDT:USDT funding_rates, binance linear ETH/USDT:USDT funding_rates, "
            "binance linear BTC/USDT:USDT ohlcv_1m and 3 more "
            f"{FIRST} … {last} ({days:,} days) each: not collected yet"
        ),
        f"{6 * days:,} days requested: {6 * days:,} not collected yet",
        f"left to collect: {6 * days:,} days of 4 symbols; `crypto-assets fill` tries them again",
    ]
    verbose = command("fill", "--verbose", "--symbol", "BTC/USDT:USDT", "--dataset", "funding_rates")
    assert len(sentences(verbose)) == days
    gaps, status = command.sequence("gaps", "status")
    assert (gaps.code, status.code) == (1, 1)
    assert len(sentences(gaps)) == 6
    assert all(line.endswith(f"{FIRST} … {last} ({days:,} days): not collected yet") for line in sentences(gaps))


def test_a_host_that_goes_down_during_a_run_ends_the_other_runs_that_need_it(
    command: Command, sandbox: SandboxServer, postgres_url: str
) -> None:
    configure(command, sandbox, SPOT, LINEAR)
    sandbox.app.state.faults.on("reset", pattern="*.zip")
    answer = command("collect", "--from", str(FIRST), "--to", str(LAST))
    assert answer.code == 1
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "the connection was cut" in errors[0]
    assert errors[0].endswith("; what only this host has is not asked again in this run")
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM collection.progress").fetchone() == (1,), "one run of two"
    assert len(answer.out.splitlines()) < 15
    assert "124 days requested: 62 missing, 62 not collected yet" in answer.out
    assert "left to collect: 124 days of 4 symbols" in answer.out


def test_one_bad_file_of_a_month_is_one_line_everywhere(command: Command, sandbox: SandboxServer) -> None:
    configure(command, sandbox, LINEAR)
    sandbox.app.state.overrides |= {FUNDING: b"cut", f"{FUNDING}.CHECKSUM": checksum_of(FUNDING, b"cut")}
    collect, fill, gaps = command.sequence(f"collect --from {FIRST} --to {LAST}", "fill", "gaps")
    for answer in (collect, fill, gaps):
        assert answer.code == 1
        (line,) = sentences(answer)
        assert line.startswith(
            f"binance linear BTC/USDT:USDT funding_rates {FIRST} … {LAST} (31 days): missing: {FUNDING}: expected a whole zip"
        )
    assert "62 days requested: 31 available, 31 missing" in collect.out
    assert "31 days requested: 31 missing" in fill.out


def test_files_that_are_refused_or_gone_are_one_line_for_each_symbol(command: Command, sandbox: SandboxServer) -> None:
    configure(command, sandbox, SPOT)
    for pattern in ("*BTCUSDT-1m-2024-01-1*.zip", "*ETHUSDT-1m-2024-01-2*.zip"):
        sandbox.app.state.faults.on("http-403", pattern=pattern)
    answer = command("collect", "--from", str(FIRST), "--to", str(LAST))
    assert answer.code == 1
    found = sentences(answer)
    assert [line.partition(": ")[0] for line in found] == [
        "binance spot BTC/USDT ohlcv_1m 2024-01-10 … 2024-01-19 (10 days)",
        "binance spot ETH/USDT ohlcv_1m 2024-01-20 … 2024-01-29 (10 days)",
    ]
    assert all("expected 200, found 403" in line for line in found)


def test_one_misspelt_symbol_of_three_does_not_stop_the_others(command: Command, sandbox: SandboxServer) -> None:
    configure(command, sandbox, SPOT)
    day = ("--from", str(FIRST), "--to", str(FIRST))
    answer = command("collect", *day, "--symbol", "btc/usdt", "--symbol", "ETHUSDT", "--symbol", "ETH-USDT")
    assert answer.code == 1
    assert "--symbol ETHUSDT: not in" in answer.err
    assert "did you mean ETH/USDT?" in answer.err
    assert "2 days requested: 2 available" in answer.out


def test_a_symbol_that_only_rest_has_yet_is_not_refused_and_one_that_nobody_has_is(
    postgres_url: str, tmp_path: Path
) -> None:
    """By the real clock: REST has the last days of a symbol whose files come tomorrow."""
    today = datetime.now(UTC).date()
    day = today - timedelta(
        days=2
    )  # the archive has its files at any hour of today, that of yesterday only from 08:00 on
    archive = SyntheticArchive({"spot": ["BTCUSDT", "NEWUSDT"]}, day, today, trades_per_day=300)
    with SandboxServer(archive) as server:
        server.app.state.faults.on("late", pattern="*NEWUSDT*")
        command = Command.at(tmp_path / "home", postgres_url)
        spot = entry("spot", ["ohlcv_1m"], ["BTC/USDT", "NEW/USDT", "NEV/USDT"], day, rest=True)
        configure(command, server, spot, rest_url=server.archive_url)
        answer = command("collect", "--from", str(day), "--to", str(day), "--json")
    assert answer.code == 1
    assert [one["symbol"] for one in answer.json["unknown_symbols"]] == ["NEV/USDT"]
    assert answer.json["states"] == {"available": 1, "provisional": 1}


def test_an_entry_is_clipped_and_says_so(command: Command, sandbox: SandboxServer) -> None:
    configure(command, sandbox, SPOT)
    answer = command("collect", "--from", "2010-01-01", "--to", "2024-01-02", "--symbol", "BTC/USDT")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "2 days requested: 2 available")
    assert answer.err.splitlines()[0] == (
        "note: --from 2010-01-01 --to 2024-01-02: some of these days are left out: binance spot starts on 2024-01-01"
    )


def test_status_and_gaps_agree_after_a_partly_collected_month(command: Command, sandbox: SandboxServer) -> None:
    configure(command, sandbox, SPOT, LINEAR)
    sandbox.app.state.faults.on("missing-minutes", pattern="*BTCUSDT-1m-2024-01-05.zip")
    sandbox.app.state.faults.on("http-403", pattern="*BTCUSDT-1m-2024-01-06.zip")
    days = f"--from {FIRST} --to 2024-01-10 --symbol BTC/USDT --dataset ohlcv_1m"
    collect, gaps, status = command.sequence(f"collect {days} --json", "gaps --json", "status --json")
    assert collect.json["states"] == {"available": 8, "degraded": 1, "missing": 1}
    assert (gaps.code, status.code) == (1, 1)
    for row in status.json:
        mine = [
            gap for gap in gaps.json if all(gap[name] == row[name] for name in ("market_type", "symbol", "dataset"))
        ]
        states = [gap["state"] for gap in mine]
        assert row["days"] == 31
        assert (row["partial"], row["missing"], row["not_collected"]) == (
            states.count("degraded"),
            states.count("missing"),
            states.count(None),
        )
        assert row["complete"] == 31 - len(mine)
    assert sum(row["partial"] for row in status.json) == 1


def test_a_host_that_is_down_costs_only_what_it_alone_has(command: Command, sandbox: SandboxServer) -> None:
    collect = f"collect --from {FIRST} --to {FIRST}"
    entries = [
        {**entry("linear", [name], ["BTC/USDT:USDT"], FIRST, end=LAST), "exchange": "bybit"}
        for name in ("ohlcv_1h", "trades")
    ]
    urls = {**sandbox.urls("bybit"), "rest_url": "http://127.0.0.1:1"}
    command.configure({"exchanges": {"bybit": urls}, "series": entries})
    failure = "127.0.0.1:1 refuses connections (nothing listens on that port)"
    first, again = command.sequence(collect, collect)
    for answer in (first, again):
        assert answer.code == 1
        errors = [line for line in answer.err.splitlines() if not line.startswith("collecting: ")]
        assert errors == [f"error: {failure}; what only this host has is not asked again in this run"]
        assert "2 days requested: 1 available, 1 not collected yet" in answer.out
