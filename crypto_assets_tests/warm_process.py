"""Processes that begin with the large libraries imported: dagster, pandas and others take two seconds of CPU each time.

A server, one for each test process, imports them once and forks a process for each command. Nothing of the project is
imported before the fork: what the command imports, reads from its environment and does when it ends is its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock

_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "MALLOC_", "ARROW_", "GRPC_", "OPENSSL_", "SSL_")
"""Variables that count when a process begins or when a library is imported: they must be those of the server."""

_SERVER = """
import gc, json, os, runpy, signal, socket, sys
import alembic, alembic.command, boto3, click, dagster, dagster_postgres, httpx, pandas, pandera, psycopg, pyarrow.parquet
import pyarrow.compute, pydantic, rich.console, rich.progress, rich.table, sqlalchemy, yaml
import pandera.pandas
gc.collect()
gc.freeze()

def run(order):
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    for number, path in enumerate(("/dev/null", order["out"], order["err"])):
        fd = os.open(path, os.O_RDWR)
        os.dup2(fd, number)
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = order["folder"]
    sys.argv = ["-c", *order["arguments"]]
    if order["code"] is None:
        runpy.run_module("crypto_assets", run_name="__main__", alter_sys=True)
    else:
        exec(compile(order["code"], "<string>", "exec"), {"__name__": "__main__"})

asked = socket.socket(fileno=int(sys.argv[1])).makefile("rw")
for line in asked:
    pid = os.fork()
    if not pid:
        asked.close()
        run(json.loads(line))
        break
    print(pid, file=asked, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=asked, flush=True)
"""

_ENVIRONMENT = dict(os.environ)
_lock = Lock()


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env=_ENVIRONMENT,
    )
    theirs.close()

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


def run_process(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout_s: float, code: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `crypto-assets` with some arguments, or Python code, in a process of its own, and wait for its end.

    It is forked where its variables are those that the libraries were imported with, and no other thread waits for one.

    Raises:
        subprocess.TimeoutExpired: it was killed, for it did not end in time.
    """
    if _at_start(environment) == _at_start(_ENVIRONMENT) and _lock.acquire(blocking=False):
        try:
            return _forked(arguments, environment, folder, timeout_s, code)
        finally:
            _lock.release()
    program = ["-m", "crypto_assets"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env=environment,
        cwd=folder,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def _at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(_AT_START)}


def _forked(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout_s: float, code: str | None
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as outputs:
        out, err = Path(outputs) / "out", Path(outputs) / "err"
        out.touch()
        err.touch()
        order = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
            "out": str(out),
            "err": str(err),
            "code": code,
        }
        server = _server()
        server.settimeout(None)
        server.sendall(f"{json.dumps(order)}\n".encode())
        pid = int(_line(server))
        server.settimeout(timeout_s)
        try:
            status = int(_line(server))
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            server.settimeout(None)
            _line(server)
            if isinstance(error, TimeoutError):
                raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
            raise
        return subprocess.CompletedProcess(list(arguments), status, out.read_text(), err.read_text())


def _line(server: socket.socket) -> str:
    found = b""
    while not found.endswith(b"\n"):
        part = server.recv(1)
        if not part:
            raise RuntimeError("the server of warm processes has ended")
        found += part
    return found.decode()
