"""`crypto-assets up --only` and `--host`: the parts as containers run them, which share a home and nothing else."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from crypto_assets.instance.parts import code_socket
from crypto_assets_tests.command import Command
from crypto_assets_tests.instance.test_up import COLLECTION
from crypto_assets_tests.ports import free_port
from crypto_assets_tests.waiting import wait_for

LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"


@contextmanager
def part(command: Command, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = command.start(*arguments)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def asks(command: Command, name: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the health check of a container."""
    check = [sys.executable, "-m", "crypto_assets.instance.healthcheck", name]
    return subprocess.run(
        [*check, *([] if port is None else ["--port", str(port)])],
        env=command.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="unix sockets and signals as Linux has them")
def test_each_part_runs_alone_and_they_meet_in_the_home(tmp_path: Path, postgres_url: str) -> None:
    command = Command.at(tmp_path / "home", postgres_url, CRYPTO_ASSETS_UI_USERS="*")
    command.configure({**COLLECTION, "automation": {"new_files": False, "today": False, "reconcile": False}})
    ui, api = free_port(), free_port()
    silent = asks(command, "code-server")
    assert (silent.returncode, silent.stderr) == (1, "code-server: expected an answer, found no answer\n")
    with ExitStack() as running:
        server = running.enter_context(part(command, "up", "--only", "code-server"))
        # Started before the code server listens: it waits.
        running.enter_context(part(command, "up", "--only", "webserver", "--host", "0.0.0.0", "--port", str(ui)))
        daemon = running.enter_context(part(command, "up", "--only", "daemon"))
        running.enter_context(part(command, "api", "--host", "0.0.0.0", "--port", str(api)))

        def loaded() -> bool:
            try:
                found = httpx.post(f"http://127.0.0.1:{ui}/graphql", json={"query": LOCATIONS}, trust_env=False).json()
            except httpx.HTTPError:
                return False
            entries = found["data"]["workspaceOrError"]["locationEntries"]
            return [entry["locationOrLoadError"] for entry in entries] == [{"__typename": "RepositoryLocation"}]

        def health() -> dict[str, Any]:
            found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{api}/healthz", trust_env=False, timeout=60).json()
            return found

        # Four processes start at once: rarely asked, so that the questions do not slow them down.
        wait_for("the UI has loaded the code", loaded, timeout_s=240, poll_s=0.5)
        wait_for("a heartbeat", lambda: health()["daemon"]["heartbeat"], poll_s=0.5)
        for one, port in (("code-server", None), ("webserver", ui), ("daemon", None), ("api", api)):
            assert asks(command, one, port).stderr == ""
        found = health()
        assert (found["ok"], found["up"], found["code_server"]) == (True, "answers", "answers")

        # From another address of this machine, as from another container: the name of the Host is still refused.
        address = next((one for one in addresses() if not one.startswith("127.")), "127.0.0.2")
        for port in (ui, api):
            named = httpx.get(f"http://{address}:{port}/v1", trust_env=False, timeout=30)
            assert (named.status_code, named.json()["error"]) == (403, "foreign Host")
            own = httpx.get(f"http://{address}:{port}/", headers={"host": f"127.0.0.1:{port}"}, trust_env=False)
            assert own.status_code != 403

        again = command("up", "--only", "code-server")
        socket_path = code_socket(command.home)
        assert again.code == 2
        assert again.err == (f"error: {socket_path}: a code server runs in this home already; end that one first\n")
        second = command("up", "--only", "daemon")
        assert (second.code, second.err) == (
            2,
            f"error: {command.home}: is up already, see the daemon; end that one first\n",
        )
        assert command("up").code == 2, "it would run a second daemon"
        assert (server.poll(), daemon.poll()) == (None, None)
        daemon.send_signal(signal.SIGINT)
        said = daemon.communicate(timeout=60)[0]
    assert said.startswith(
        "automation  gaps (13:00 UTC)\n            off: `automation: false` in "
        f"{command.home / 'collection.yaml'}, or the switches in the UI, page Automation\n"
    )
    assert asks(command, "code-server").returncode == 1


def addresses() -> list[str]:
    return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)})


@pytest.mark.parametrize("name", ["daemon", "webserver"])
def test_a_part_says_that_it_waits_for_the_code_server(tmp_path: Path, module_postgres_url: str, name: str) -> None:
    command = Command.at(tmp_path / "home", module_postgres_url)
    command.configure(COLLECTION)
    with part(command, "up", "--only", name, "--port", str(free_port())) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            f"waiting for the code server at {code_socket(command.home)}; `crypto-assets up --only code-server` starts it\n"
        )


@pytest.mark.parametrize("arguments", [("up",), ("up", "--only", "webserver"), ("api",)], ids=" ".join)
def test_other_machines_are_let_in_only_where_everybody_may_ask(
    tmp_path: Path, module_postgres_url: str, arguments: tuple[str, ...]
) -> None:
    command = Command.at(tmp_path / "home", module_postgres_url)
    command.configure(COLLECTION)
    answer = command(*arguments, "--port", str(free_port()), "--host", "0.0.0.0")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(
        "error: --host 0.0.0.0: other machines could then use UI and API, which have no login."
    )
    assert "CRYPTO_ASSETS_UI_USERS=*" in " ".join(answer.err.split())
    odd = command(*arguments, "--host", "10.0.0.1")
    assert odd.code == 2
    assert "'10.0.0.1' is not one of '127.0.0.1', '0.0.0.0'" in odd.err
