"""A process that runs out of a resource reports that: it blames no file, no host and no day."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import socket
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import httpx
import psycopg
import pyarrow as pa
import pytest

from crypto_assets.errors import BadContainer, ConfigError, OutOfResources
from crypto_assets.machine.shortage import raise_if_ours, shortage
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.database import Database
from crypto_assets.storage.embedded_postgres import delete_server
from crypto_assets_tests.command import PROJECT, Answer, Command, no_traceback
from crypto_assets_tests.parsed import unzipped
from crypto_assets_tests.project import Project, entry, make

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 6)
KEY = "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-01.zip"
SPAN = ("--from", str(FIRST), "--to", str(LAST))


# ---- which errors are ours ----------------------------------------------------------------------------------------------


def _from(cause: BaseException, error: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def _while(context: BaseException, error: BaseException) -> BaseException:
    error.__context__ = context
    return error


def _no_memory_of_expat() -> ElementTree.ParseError:
    error = ElementTree.ParseError("out of memory: line 1, column 0")
    error.code = 1
    return error


_EMFILE = OSError(errno.EMFILE, "Too many open files", "cp437.py")


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (_EMFILE, "open files"),
        (OSError(errno.ENFILE, "Too many open files in system"), "open files of this machine"),
        (OSError(errno.ENOSPC, "No space left on device"), "room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "room"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "threads and processes"),
        (MemoryError(), "memory"),
        (pa.ArrowMemoryError("malloc of size 64 failed"), "memory"),
        (RuntimeError("can't start new thread"), "threads and processes"),
        (zlib.error("Error -4 while decompressing data"), "memory"),
        (_no_memory_of_expat(), "memory"),
        (OSError("ZSTD decompression failed: Allocation error : not enough memory"), "memory"),
        (ImportError("/usr/lib/x.so: cannot open shared object file: Too many open files"), "open files"),
        (ImportError("libcrypto-1a2b.so.3: failed to map segment from shared object"), "memory"),
        (
            ImportError("x.so: cannot apply additional memory protection after relocation: Cannot allocate memory"),
            "memory",
        ),
        (OSError("libx.so: failed to map segment from shared object"), "memory"),
        (_from(_while(_EMFILE, httpx.ReadError("no")), httpx.ConnectError("no connection")), "open files"),
    ],
)
def test_an_error_of_this_process_is_known_as_one(error: BaseException, found: str) -> None:
    ours = shortage(error, "a.zip")
    assert ours is not None
    assert ours.evidence["resource"] == found
    assert str(ours).startswith("a.zip: th")
    assert "this is not a problem of the file or host in use" in str(ours)
    assert ("raise" in str(ours)) or ("make room" in str(ours)) or ("more" in str(ours))


@pytest.mark.parametrize(
    "error",
    [
        # Texts that an exchange can write are never read for this.
        pa.ArrowInvalid("CSV conversion error to double: invalid value 'not enough memory: Too many open files'"),
        zipfile.BadZipFile("out of memory"),
        RuntimeError("File 'Too many open files' is encrypted"),
        ValueError("can't start new thread"),
        zlib.error("Error -3 while decompressing data: incorrect header check"),
        ElementTree.ParseError("out of memory: line 1"),
        OSError("Couldn't deserialize thrift: not enough memory"),
        OSError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        SystemError("error return without exception set"),  # if memory is not limited
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        # An error that was judged before is not judged again, whatever caused it.
        _from(_EMFILE, ConfigError("is up already")),
    ],
)
def test_an_error_of_a_file_or_a_host_stays_one(error: BaseException) -> None:
    if isinstance(error, ElementTree.ParseError):
        error.code = 3
    assert shortage(error) is None
    raise_if_ours(error)


def test_what_came_before_and_was_done_with_is_not_the_reason() -> None:
    error = ValueError("another")
    error.__context__, error.__suppress_context__ = _EMFILE, True
    assert shortage(error) is None
    circle = RuntimeError("a")
    circle.__context__ = _while(circle, RuntimeError("b"))
    assert shortage(circle) is None


def test_where_no_thread_can_be_started_and_memory_is_bounded_both_limits_are_named() -> None:
    """A thread whose stack cannot be mapped fails with the same words as one thread too many."""
    code = "import resource\nfrom crypto_assets.machine.shortage import shortage\n"
    code += "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
    code += 'print(shortage(RuntimeError("can\'t start new thread")))\n'
    code += 'assert shortage(SystemError("error return without exception set")).evidence["resource"] == "memory"'
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "ulimit -v is 2097152 kB" in told
    assert "raise ulimit -v, because each thread maps a stack, or raise the limit (ulimit -u" in told


# ---- one file ----------------------------------------------------------------------------------------------------------


def _zip(size: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.csv", os.urandom(size // 32).hex() * 16)
    return packed.getvalue()


_UNZIP = """
import resource, sys
from crypto_assets.errors import CryptoAssetsError
from crypto_assets.sources.formats import read_csv
from crypto_assets.sources.own_faults import own_faults
from crypto_assets.sources.packing import CSV_IN_ZIP
import pyarrow as pa
content = sys.stdin.buffer.read()
kind, much = sys.argv[1:]
if kind == "files":
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
else:
    (used,) = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")]
    resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + int(much),) * 2)
try:
    with own_faults("binance", "a.zip"):
        print(len(b"".join(CSV_IN_ZIP.texts("a.zip", content))))
except CryptoAssetsError as error:
    print(type(error).__name__, error)
"""


def _unzipped(content: bytes, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _UNZIP, *arguments], input=content, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_a_good_zip_is_read_without_one_file_descriptor_left() -> None:
    """zipfile opened encodings/cp437.py at its first name, and called the zip bad if that failed."""
    assert _unzipped(_zip(1 << 20), "files", "0") == f"{1 << 20}"


def test_a_good_zip_that_does_not_fit_into_memory_is_not_called_bad() -> None:
    told = _unzipped(_zip(30 << 20), "memory", f"{8 << 20}")
    assert told.startswith("OutOfResources a.zip: this process has not enough memory (MemoryError; ulimit -v is "), told
    with pytest.raises(BadContainer, match="expected a whole zip"):
        unzipped("a.zip", _zip(1 << 20)[:-30])


# ---- through the command line -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": {"BTCUSDT": (FIRST, LAST)}})) as server:
        yield server


@pytest.fixture
def project(sandbox: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    return make(
        sandbox, tmp_path / "home", postgres_url, monkeypatch, entry(["ohlcv_1h"], ["BTC/USDT"], FIRST) | {"rest": True}
    )


def _limited(project: Project, kind: int, most: int, *arguments: str) -> Answer:
    with subprocess.Popen(
        [sys.executable, "-c", _LIMITED, str(kind), str(most), *arguments],
        env=project.command.variables,
        cwd=PROJECT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            out, err = process.communicate(timeout=_ENDS_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler prints where each thread waits
            out, err = process.communicate()
            pytest.fail(f"with a limit of {most} it did not end within {_ENDS_S} s; {out}{err}")
    return Answer(process.returncode, out, err, 0.0)


_ENDS_S = 120


_LIMITED = """
import os, resource, sys
kind, most = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(kind, (most, most))
os.execv(sys.executable, [sys.executable, "-X", "faulthandler", "-m", "crypto_assets", *sys.argv[3:]])
"""


def _refused(project: Project) -> list[Path]:
    return [path for path in project.home.rglob("quarantine/**/*") if path.is_file()]


def _reasons(project: Project) -> list[tuple[str, str | None, str]]:
    with psycopg.connect(project.postgres_url) as connection:
        if connection.execute("SELECT to_regclass('collection.partitions')").fetchone() == (None,):
            return []
        return connection.execute("SELECT state, source, reason FROM collection.partitions").fetchall()


def _blames_nobody(project: Project, answer: Answer, words: tuple[str, ...]) -> None:
    """The result is right, or a line names the shortage; nothing is refused, and nothing came from REST instead."""
    assert no_traceback(answer), answer.err
    assert _refused(project) == []
    for state, source, reason in _reasons(project):
        assert source in (None, "archive"), reason
        assert state == "available" or any(word in reason for word in words), reason
    if answer.code != 0:
        assert any(word in answer.out + answer.err for word in words), answer.err + answer.out
        assert "quarantine" not in answer.out + answer.err


def test_with_few_open_files_a_run_is_right_or_says_that_it_has_too_few(project: Project) -> None:
    """Below 20 nothing starts, above 40 everything works; in between it fails in other places each time."""
    codes = []
    for most in (24, 28, 31, 32, 33, 34, 36):
        answer = _limited(project, resource.RLIMIT_NOFILE, most, "collect", *SPAN)
        _blames_nobody(project, answer, ("open files (",))
        codes.append(answer.code)
    assert 1 in codes, "the limit was never felt"
    assert project.command("fill", *SPAN).code == 0
    assert {state for state, *_ in _reasons(project)} == {"available"}


def test_with_little_memory_a_run_is_right_or_says_that_it_has_too_little(project: Project) -> None:
    codes = []
    for most in (700 << 20, 1100 << 20, 1500 << 20):
        answer = _limited(project, resource.RLIMIT_AS, most, "collect", *SPAN)
        _blames_nobody(
            project, answer, ("not enough memory (", "not enough memory, ", "cannot start another thread or process (")
        )
        codes.append(answer.code)
    assert 1 in codes, "the limit was never felt"
    assert project.command("fill", *SPAN).code == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_pool_whose_worker_ran_out_of_memory_is_replaced_and_nobody_waits_for_it(postgres_url: str) -> None:
    class Ends:
        def run(self) -> None:
            raise SystemExit  # like a MemoryError while a MemoryError is logged, it ends the thread

    with Database(postgres_url) as database:
        pool = database._opened()
        (worker,) = pool._workers
        pool.run_task(Ends())  # type: ignore[arg-type]
        worker.join(10)
        assert not worker.is_alive()
        with pytest.raises(OutOfResources, match=r"this process has not enough memory \("), database.transaction():
            pass
        with database.transaction() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        pool.close()


@pytest.mark.parametrize(
    ("kind", "most", "words"),
    [
        (resource.RLIMIT_NOFILE, 34, "too many open files (initdb ended with code 1: insufficient file descriptors"),
        (resource.RLIMIT_FSIZE, 300_000, "may not write a file of this size (initdb ended with code 1: could not "),
    ],
    ids=["files", "file size"],
)
def test_an_embedded_server_that_cannot_be_made_says_what_ran_out_in_one_line(
    tmp_path: Path, kind: int, most: int, words: str
) -> None:
    home = tmp_path / "home"
    command = Command.at(home)
    command.configure({"series": [entry(["ohlcv_1h"], ["BTC/USDT"], FIRST)]})
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(kind), str(most), "collect", *SPAN],
        env=command.variables,
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    delete_server(home)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f"starting the embedded PostgreSQL under {home}/postgres: this process " in line
    assert words in line
    assert "raise the limit (ulimit -" in line
    for raw in ("CalledProcessError", "PosixPath", "--auth-local", "traceback"):
        assert raw not in line
