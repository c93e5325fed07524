"""Children of `up` that end or hang, with real processes: which are restarted, how often, and which are left alone."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from crypto_assets.errors import CryptoAssetsError
from crypto_assets.instance import parts, up
from crypto_assets.instance.liveness import Heartbeats, answers_http, is_up
from crypto_assets.instance.up import Services
from crypto_assets.machine.private_folder import private_opener
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


class Watched:
    """One small web server as a child, watched in a thread as `up` does."""

    def __init__(self, folder: Path, patience: int) -> None:
        self.said: list[str] = []
        self.errors: list[Exception] = []
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.services = Services(self.url, "", "", folder, threading.Event(), self.said.append)
        self.services.start(
            "server",
            *("http.server", "--bind", "127.0.0.1", "--directory", str(folder), str(port)),
            lives=lambda: answers_http(self.url),
            patience=patience,
        )
        self.thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        try:
            self.services.watch()
        except CryptoAssetsError as error:
            self.errors.append(error)

    @property
    def pid(self) -> int:
        return self.services._children["server"].process.pid

    def dies(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; return when a new process answers."""
        former = self.pid
        os.kill(former, number)
        wait_for("another child answers", lambda: self.errors or (self.pid != former and answers_http(self.url)))


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(up, "PROBE_S", 0.05)
    monkeypatch.setattr("crypto_assets.instance.liveness.ANSWER_S", 0.3)
    made = Watched(tmp_path, patience=3)
    wait_for("it answers", lambda: answers_http(made.url))
    made.thread.start()
    yield made
    made.services.stop.set()
    made.thread.join()
    made.services.end()


def test_a_child_that_hangs_is_started_again(watched: Watched) -> None:
    wait_for("it was asked", lambda: watched.services._children["server"].has_answered)
    watched.dies(signal.SIGSTOP)
    (said,) = watched.said
    found = re.match(r"the server gave no sign of life (\d+) times in a row and is started again; see /", said)
    assert found
    assert int(found[1]) >= 3
    assert watched.errors == []


def test_deaths_count_within_a_window_only(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "RESTART_WINDOW_S", 0.0)
    for _ in range(5):
        watched.dies()
    assert watched.errors == []
    assert watched.said == [watched.said[0]] * 5
    assert "ended with code -9 and is started again" in watched.said[0]


def test_the_fourth_death_within_the_window_ends_all_with_the_log(watched: Watched) -> None:
    for _ in range(3):
        watched.dies()
    assert watched.errors == []
    os.kill(watched.pid, signal.SIGKILL)
    watched.thread.join(60)
    (error,) = watched.errors
    assert "server: expected it to run, it ended with code -9; see " in str(error)
    assert len(watched.said) == 3


def test_a_child_that_is_still_starting_has_more_time(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    child = watched.services._children["server"]
    child.has_answered, child.silent = False, 2_399
    assert not child.hangs()  # 120 s of probes, one each 0.05 s
    child.silent = 2_400
    assert child.hangs()
    child.has_answered, child.silent = True, 3
    assert child.hangs()


def test_a_heartbeat_is_a_sign_of_life_when_it_is_new_and_none_when_the_database_is_silent(postgres_url: str) -> None:
    lives = Heartbeats(postgres_url)
    assert lives() is False  # the table does not exist yet
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA dagster; CREATE TABLE dagster.daemon_heartbeats (timestamp timestamp)")
        assert lives() is False
        connection.execute("INSERT INTO dagster.daemon_heartbeats VALUES ('2024-01-01 00:00:00')")
        assert lives() is True
        assert lives() is False
        # The clock of the host may be set back: any new heartbeat is a sign of life.
        connection.execute("UPDATE dagster.daemon_heartbeats SET timestamp = '2023-01-01 00:00:00'")
        assert lives() is True
    assert Heartbeats(f"postgresql://nobody@127.0.0.1:{free_port()}/none")() is None


def test_up_is_known_by_its_lock(tmp_path: Path) -> None:
    assert not is_up(tmp_path)
    with parts.only_one(tmp_path, "http://127.0.0.1:1"):
        assert is_up(tmp_path)
    assert not is_up(tmp_path)


def test_private_files_are_opened_through_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link = tmp_path / "up.lock"
    link.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), open(link, "a+", opener=private_opener):
        pass
    assert victim.read_text() == "precious"


def test_a_question_that_cannot_be_asked_is_said_once_and_the_watch_goes_on(watched: Watched) -> None:
    child = watched.services._children["server"]
    plain, asked = child.lives, []

    def without_files() -> bool:
        asked.append(1)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    child.lives = without_files
    wait_for("it was tried often", lambda: len(asked) >= 5)
    (said,) = watched.said
    assert said.startswith("the server cannot be asked whether it lives: this process has too many open files")
    watched.said.clear()
    child.lives = plain
    wait_for("it was asked", lambda: child.has_answered)
    watched.dies(signal.SIGSTOP)
    assert "gave no sign of life" in watched.said[-1]


def test_a_log_that_grows_too_long_is_emptied_and_its_end_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(up, "MOST_LOG_BYTES", 1_000)
    monkeypatch.setattr(up, "KEPT_LOG_BYTES", 100)
    log = tmp_path / "daemon.log"
    up.keep_short(log)  # not written yet
    with log.open("ab") as writer:  # as the child does, unbuffered
        writer.write(b"a" * 1_000)
        writer.flush()
        up.keep_short(log)
        assert (log.stat().st_size, (tmp_path / "daemon.log.1").exists()) == (1_000, False)
        writer.write(b"the end")
        writer.flush()
        up.keep_short(log)
        writer.write(b"goes on")
    assert log.read_bytes() == b"goes on"
    kept = tmp_path / "daemon.log.1"
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"a" * 93 + b"the end", 0o600)
