"""Prove that a fault of our own stores is outlasted, or ends a run with one line; the next run completes the rest.

    python -m proofs.stores [--only NAME]

Each time: an empty lake and database, `crypto-assets collect` of 200 days (10 symbols), a fault after the first file,
a record of the command's output, exit code and stored days, and the same command once more. Exit code 1 if a temporary fault
ended the run, if the output is a wall of text (over four lines, SQL, a traceback), or if the result of the second run differs
from an undisturbed one. Full disks need root, to mount small file systems; without root they are left out, with a message.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg

from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.embedded_postgres import ensure_server, stop_server, supervisor
from crypto_assets.storage.embedded_postgres.placement import data_folder
from proofs.bucket import Bucket
from proofs.stored import Stored, differences, files, stored
from proofs.world import COINS, FIRST, Home, say, show, wait_for

DAYS = 20
LAST = FIRST + timedelta(days=DAYS - 1)
ALL = len(COINS) * DAYS
COMMAND = ("collect", "--from", FIRST.isoformat(), "--to", LAST.isoformat())
PATIENCE_S = 20.0
"""Seconds that these runs wait for a store; the default is 60 s."""

MOST_LINES = 4
_WALL = re.compile(r"Traceback|File \"|SELECT |INSERT |UPDATE |\[SQL|parameters:|psycopg2?\.|sqlalchemy|botocore\.")


@dataclass
class World:
    """The parts that a fault can affect."""

    home: Home
    sandbox: SandboxServer
    bucket: Bucket | None = None
    undo: list[Callable[[], None]] = field(default_factory=list)


def _nothing(_: World) -> None:
    return


@dataclass(frozen=True)
class Fault:
    """One fault: actions before the run, after its first file, and before the second run."""

    name: str
    strikes: Callable[[World], None] = _nothing
    before: Callable[[World], None] = _nothing
    passes: bool = False
    says: str = ""
    limits: str = ""
    on_s3: bool = False
    small: int = 0
    """Bytes of a separate file system for the home; 0: none."""
    bad_days: int = 0
    """Days with a refused file; they are missing in both runs."""


@dataclass(frozen=True)
class Found:
    """The result of a fault."""

    fault: Fault
    code: int
    lines: list[str]
    first: int
    took_s: float
    second: int
    problems: list[str]


# ---- what happens -------------------------------------------------------------------------------------------------------


def _admin(world: World) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(world.home.url, autocommit=True)


def _postmaster(world: World) -> int:
    return int((data_folder(world.home.folder / "postgres") / "postmaster.pid").read_text().split()[0])


def _kill_postmaster(world: World) -> None:
    os.kill(_postmaster(world), signal.SIGKILL)


def _end_one(world: World) -> None:
    with _admin(world) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'crypto_assets, process%' "
            "AND pid <> pg_backend_pid() LIMIT 1"
        )


def _end_all(world: World) -> None:
    with _admin(world) as connection:
        for _ in range(5):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND usename = current_user"
            )
            time.sleep(0.1)


def _supervisor(world: World) -> int:
    return int(json.loads((world.home.folder / "postgres" / supervisor.STATE).read_text())["pid"])


def _restart_slowly(world: World) -> None:
    """Shut the server down; for five seconds nobody starts it again."""
    keeper = _supervisor(world)
    os.kill(keeper, signal.SIGSTOP)
    os.kill(_postmaster(world), signal.SIGINT)
    time.sleep(5)
    os.kill(keeper, signal.SIGCONT)


def _stop_for_good(world: World) -> None:
    """Stop the server until the second run."""
    stop_server(world.home.folder)
    world.undo.append(lambda: _start(world))


def _start(world: World) -> None:
    world.home.url = ensure_server(world.home.folder, durable=False)


def _no_connections(world: World) -> None:
    """Take every connection of the server for eight seconds, those of the run too."""
    held: list[psycopg.Connection[tuple[object, ...]]] = []
    deadline = time.monotonic() + 8
    with _admin(world) as admin:
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                held.append(psycopg.connect(world.home.url))
                continue
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'crypto_assets%' "
                "AND pid <> pg_backend_pid()"
            )
            time.sleep(0.05)
    for connection in held:
        connection.close()


def _fill_disk(world: World) -> None:
    """Fill the disk of the home with one file, until the second run."""
    filler = world.home.folder / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
            file.flush()
    world.undo.append(lambda: (filler.unlink(), _start(world))[0])


def _small_disk(size: str, part: str) -> Callable[[World], None]:
    """Return the function that mounts a small file system over a part of the lake; it is removed for the second run."""

    def mount(world: World) -> None:
        folder = world.home.lake / part
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)  # noqa: S607
        world.undo.append(lambda: _make_larger(folder))

    return mount


def _make_larger(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=256m", folder], check=True)  # noqa: S607


def _damage(world: World) -> None:
    """Replace every tenth file of the exchange by a large one that is not a zip."""
    for coin in COINS[:2]:
        for number in range(0, DAYS, 2):
            day = FIRST + timedelta(days=number)
            key = f"data/spot/daily/klines/{coin}USDT/1m/{coin}USDT-1m-{day}.zip"
            content = os.urandom(64) * 2000
            world.sandbox.app.state.overrides[key] = content
            checksum = f"{hashlib.sha256(content).hexdigest()}  {key.rpartition('/')[2]}\n".encode()
            world.sandbox.app.state.overrides[f"{key}.CHECKSUM"] = checksum


def _s3(how: str, seconds: float | None) -> Callable[[World], None]:
    def fail(world: World) -> None:
        assert world.bucket is not None  # noqa: S101  tells the type checker
        world.bucket.fail(how)
        if seconds is None:
            world.undo.append(world.bucket.heal)
        else:
            time.sleep(seconds)
            world.bucket.heal()

    return fail


MB = 1 << 20
FAULTS = (
    Fault("Postgres: kill -9", _kill_postmaster, passes=True),
    Fault("Postgres: one connection ended", _end_one, passes=True),
    Fault("Postgres: all connections ended, five times", _end_all, passes=True),
    Fault("Postgres: away for 5 s", _restart_slowly, passes=True),
    Fault("Postgres: no connection free for 8 s", _no_connections, passes=True),
    Fault("Postgres: stopped", _stop_for_good, says="nothing answers there"),
    Fault("Postgres: disk full", _fill_disk, small=600 * MB, says="disk"),
    Fault("lake: disk full", before=_small_disk("1m", ""), says="disk"),
    Fault("quarantine: disk full", before=lambda w: (_damage(w), _small_disk("300k", "quarantine")(w))[1], bad_days=20),
    Fault("S3: 500 for 6 s", _s3("InternalError", 6), on_s3=True, passes=True),
    Fault("S3: 500 for ever", _s3("InternalError", None), on_s3=True, says="S3 says InternalError"),
    Fault("S3: slow down for 6 s", _s3("SlowDown", 6), on_s3=True, passes=True),
    Fault("S3: cut connections for 6 s", _s3("cut", 6), on_s3=True, passes=True),
    Fault("S3: hangs for 10 s", _s3("hang", 10), on_s3=True, passes=True),
    Fault("S3: hangs for ever", _s3("hang", None), on_s3=True, says="waiting for the lake"),
    Fault("36 file descriptors", limits="ulimit -n 36", says="open files"),
    Fault("600 MB of memory", limits="ulimit -d 600000", says="memory"),
)


# ---- one fault ----------------------------------------------------------------------------------------------------------


def try_fault(fault: Fault, expected: Stored | None) -> tuple[Found, Stored]:
    """Run a fault and the completion; return the result, and the stored data at the end."""
    with contextlib.ExitStack() as stack:
        archive = SyntheticArchive({"spot": [f"{coin}USDT" for coin in COINS]}, FIRST, LAST, trades_per_day=100)
        sandbox = stack.enter_context(SandboxServer(archive))
        bucket = stack.enter_context(Bucket()) if fault.on_s3 else None
        variables = {"CRYPTO_ASSETS_STORE_PATIENCE_S": str(PATIENCE_S)}
        if bucket:
            variables |= bucket.variables | {"CRYPTO_ASSETS_LAKE_URL": f"s3://{bucket.name}/lake"}
        folder = stack.enter_context(_folder(fault.small))
        home = stack.enter_context(Home(sandbox, COINS, variables, folder))
        home.log_file = Path(
            stack.enter_context(tempfile.NamedTemporaryFile(suffix=".log")).name
        )  # not on a small disk
        world = World(home, sandbox, bucket)
        stack.callback(_unmount_all, home.folder)
        home.run("status")  # creates the tables
        _said(home)
        fault.before(world)
        began = time.monotonic()
        child = home.start(*COMMAND, limits=fault.limits)
        wait_for("the first file", lambda: child.poll() is not None or _there(world), poll_s=0.01)
        in_time = child.poll() is None
        if in_time:
            fault.strikes(world)
        code = child.wait(300)
        took = time.monotonic() - began
        lines = _said(home)
        first = _there(world)
        for undo in reversed(world.undo):
            undo()
        second = home.run(*COMMAND)
        now = _stored(world)
        problems = _problems(fault, code, lines, second, home.said())
        if fault.strikes is not _nothing and not in_time:
            problems.append("the run had ended before the fault began: this proves nothing")
        if expected is not None and not fault.bad_days:
            problems += differences(expected, now)
        elif fault.bad_days and (good := _there(world)) != ALL - fault.bad_days:
            problems.append(f"{good} days are stored, {ALL - fault.bad_days} are good")
        return Found(fault, code, lines, first, took, second, problems), now


@contextlib.contextmanager
def _folder(size: int) -> Iterator[Path]:
    """Yield a folder for a home that a server's own account can reach; with a size, on a separate file system."""
    folder = Path(tempfile.mkdtemp(prefix="crypto-assets-proof-"))
    try:
        if size:
            options = f"size={size},mode=0711"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)  # noqa: S607
        folder.chmod(0o711)
        yield folder
    finally:
        if size:
            subprocess.run(["umount", "-l", folder], check=False)  # noqa: S607
        shutil.rmtree(folder, ignore_errors=True)


def _unmount_all(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in mounts:
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False)  # noqa: S607


def _there(world: World) -> int:
    if world.bucket is None:
        return files(world.home)
    return len(world.bucket.objects_named("data.parquet"))


def _stored(world: World) -> Stored:
    found = stored(world.home)
    if world.bucket is None:
        return found
    objects = {key.removeprefix("lake/"): data for key, data in world.bucket.objects("lake/").items()}
    lake = {key: hashlib.sha256(data).hexdigest() for key, data in objects.items() if key.endswith("data.parquet")}
    return Stored(lake, found.warehouse, found.ledger, found.dagster, sorted(objects.keys() - lake.keys()))


def _said(home: Home) -> list[str]:
    """Return the output of the command, and delete it; without the progress bar."""
    log = home.log_file
    text = log.read_text(errors="replace")
    log.write_text("")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("collecting: ")]


def _problems(fault: Fault, code: int, lines: Sequence[str], second: int, said: str) -> list[str]:
    problems = []
    wanted = 1 if fault.bad_days else 0
    if fault.passes and code != wanted:
        problems.append(f"it passes, and the run ended with {code}")
    if not fault.passes and code == 0:
        problems.append("it does not pass, and the run ended with 0: the fault had no effect")
    if second != wanted:
        problems.append(f"completion ended with {second}: {said}")
    if wall := [line for line in lines if _WALL.search(line)]:
        problems.append(f"a wall of text: {wall[0][:200]}")
    if code not in (0, wanted) and len(lines) > MOST_LINES:
        problems.append(f"{len(lines)} lines where one was enough")
    if fault.says and fault.says not in "\n".join(lines):
        problems.append(f"it did not say {fault.says!r}")
    return problems


def main() -> None:
    """Run the proof and print the results."""
    words = argparse.ArgumentParser("proofs.stores", description=__doc__.partition("\n")[0])
    words.add_argument("--only", default="", help="faults with this in their name")
    words.add_argument("--all-words", action="store_true", help="show all output of the commands")
    given = words.parse_args()
    wanted = [fault for fault in FAULTS if given.only in fault.name]
    undisturbed, expected = try_fault(Fault("nothing", passes=True), None)
    found = [undisturbed]
    for fault in wanted:
        if os.geteuid() != 0 and "disk full" in fault.name:
            say(f"{fault.name}: left out, only root can mount a small disk")
            continue
        result, _ = try_fault(fault, expected)
        found.append(result)
        say(f"{fault.name}: exit code {result.code}, {'; '.join(result.problems) or 'as it should be'}")
        if given.all_words:
            say("\n".join(f"    {line}" for line in result.lines))
    show("our own stores fail, then completion", [(one.fault.name, _row(one)) for one in found])
    sys.exit(1 if any(one.problems for one in found) else 0)


def _row(one: Found) -> str:
    text = "\n".join(f"  {line[:600]}" for line in one.lines[:6])
    problems = "".join(f"\n  PROBLEM: {problem}" for problem in one.problems)
    return (
        f"exit code {one.code} after {one.took_s:.1f} s, {len(one.lines)} lines, {one.first} of {ALL} days stored; "
        f"again: exit code {one.second}\n{text}{problems}"
    )


if __name__ == "__main__":
    main()
