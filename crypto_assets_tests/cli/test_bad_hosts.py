"""Hosts that cannot be reached, that are silent or that answer something else: said once, quickly, and no run is launched."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.responses import HTMLResponse
from starlette.routing import Route

from crypto_assets.model import State, days_between
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.cli.conftest import BTC, START
from crypto_assets_tests.cli.test_bad_input import DAYS, collection_of, files_in
from crypto_assets_tests.command import Command, no_traceback
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.workbench import Workbench

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
