"""`crypto-assets up` as a process: it refuses wrong settings, survives faults, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date
from pathlib import Path

import httpx
import pytest

from crypto_assets.instance.child import listens
from crypto_assets_tests.command import Command
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.project import entry
from crypto_assets_tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")

COLLECTION = {"series": [entry(["ohlcv_1m"], ["BTC/USDT"], date(2024, 1, 1))], "automation": False}


def answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/server_info", trust_env=False, timeout=5).status_code == 200
    return False


class Up:
    """`crypto-assets up` as a user starts it, ended when the block ends at the latest."""

    def __init__(self, command: Command) -> None:
        port, api_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.api = f"http://127.0.0.1:{api_port}/v1"
        self.home = command.home
        self.process = command.start("up", "--port", str(port), "--api-port", str(api_port))
        self.printed: list[str] = []

    def __enter__(self) -> Up:
        return self

    def ready(self) -> Up:
        """Return when it has printed all its addresses."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.printed.append(line)
            if line.startswith("Ctrl-C"):
                return self
        assert self.process.stderr
        pytest.fail(f"`crypto-assets up` ended: {self.printed}\n{self.process.stderr.read()}")

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; return the exit code and the rest of its output."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=90)
        return self.process.returncode, out

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=90)
        if self.process.poll() is None:
            self.process.kill()

    def children(self) -> dict[int, str]:
        """Return the command lines of its running child processes."""
        mark = f"--parent\0{self.process.pid}\0".encode()
        found = {}
        for place in Path("/proc").iterdir():
            with suppress(OSError):
                if place.name.isdigit() and mark in (line := (place / "cmdline").read_bytes()):
                    found[int(place.name)] = line.replace(b"\0", b" ").decode()
        return found


@pytest.fixture
def command(tmp_path: Path, postgres_url: str) -> Command:
    mine = Command.at(tmp_path / "home", postgres_url)
    mine.configure(COLLECTION)
    return mine


def test_it_runs_until_sigterm_and_refuses_a_second_one_in_the_same_home(command, tmp_path, postgres_url):
    command.configure({"series": COLLECTION["series"]})
    with Up(Command(command.home, {**command.environment, "CRYPTO_ASSETS_AUTOMATION": "false"})) as up:
        up.ready()
        said = "".join(up.printed)
        assert "nothing is collected by itself\n" in said
        assert "CRYPTO_ASSETS_AUTOMATION=false: no switch is on from the start\n" in said
        assert "in the UI" not in said, "nobody has clicked"
        assert up.printed[0].split() == ["Dagster", "UI", up.url]
        assert up.printed[1].split() == ["API", up.api]
        (series,) = httpx.get(f"{up.api}/status", trust_env=False).json()["series"]
        assert (series["symbol"], series["states"], series["rows"]) == ("BTC/USDT", {}, 0)  # not collected yet
        assert f"lake        {command.home / 'lake'}\n" in up.printed
        assert answers(up.url)

        port = up.url.rpartition(":")[2]
        second = command("up", "--port", str(free_port()))
        assert (second.code, second.err.splitlines()) == (
            2,
            [f"error: {command.home}: is up already, see {up.url}; end that one first"],
        )
        elsewhere = Command.at(tmp_path / "other", postgres_url)
        elsewhere.configure(COLLECTION)
        third = elsewhere("up", "--port", port)
        assert third.code == 2
        assert third.err == f"error: port {port}: Address already in use; choose another with --port\n"
        fourth = elsewhere("up", "--port", str(free_port()), "--api-port", port)
        assert fourth.err == f"error: port {port}: Address already in use; choose another with --api-port\n"

        assert len(up.children()) == 4
        started = time.monotonic()
        code, said = up.end(signal.SIGTERM)
        assert code == 0
        assert time.monotonic() - started < 10, "nobody had to be killed"
        assert said.startswith("stopped")
        assert up.children() == {}
        assert not answers(up.url)


@pytest.mark.parametrize("name", ["logs", "sockets", "up.lock", "postgres"])
def test_a_link_where_its_own_files_should_be_is_refused_and_not_followed(tmp_path, name):
    (elsewhere := tmp_path / "elsewhere").mkdir(mode=0o755)
    command = Command.at(tmp_path / "home")
    command.configure(COLLECTION)
    (command.home / name).symlink_to(elsewhere / "victim" if name == "up.lock" else elsewhere)
    answer = command("up", "--port", str(free_port()))
    assert answer.code == (1 if name == "postgres" else 2)
    assert f"error: {command.home / name}: expected a f" in answer.err
    assert "; remove it" in answer.message
    assert "Traceback" not in answer.err
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_a_webserver_that_dies_is_started_again_and_nothing_outlives_a_killed_parent(command):
    with Up(command) as up:
        up.ready()
        (webserver,) = [pid for pid, line in up.children().items() if "crypto_assets.instance.webserver" in line]
        os.kill(webserver, signal.SIGKILL)
        wait_for("another webserver", lambda: webserver not in up.children() and answers(up.url))
        up.process.kill()
        wait_for("no process is left", lambda: not up.children())


def test_a_child_ends_by_sigint_although_whoever_started_it_ignores_and_blocks_that(tmp_path):
    """As a script's `crypto-assets up &` does; an ignored signal is inherited, and the wait for it would never end."""
    port = free_port()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "crypto_assets.instance.child", "--parent", str(os.getpid())),
                *("http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    try:
        wait_for("it listens", lambda: listens(port))
        child.send_signal(signal.SIGINT)
        child.wait(60)
    finally:
        child.kill()
        child.wait()


def test_ctrl_c_while_it_starts_ends_it_at_once(command):
    with Up(command) as up:
        wait_for("a child", up.children)
        started = time.monotonic()
        code, said = up.end(signal.SIGINT)
        assert code == 0
        assert "Dagster UI" not in said
        assert time.monotonic() - started < 15
        assert up.children() == {}


def test_a_database_that_does_not_answer_is_said_before_anything_starts(tmp_path):
    port = free_port()
    url = f"postgresql://me:secret@127.0.0.1:{port}/nothing"
    command = Command.at(tmp_path / "home", url, CRYPTO_ASSETS_STORE_PATIENCE_S="1")
    command.configure(COLLECTION)
    answer = command("up", "--port", str(free_port()))
    assert answer.code == 1
    assert "waiting for the code server" not in answer.err
    assert f"127.0.0.1:{port}" in answer.message
    assert "secret" not in answer.err
