"""Run a child and measure its cost: CPU and peak memory from the kernel, Postgres' share from /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one child, its own children included; memory is the peak of its resident set."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    started: float
    """`time.monotonic()` just before the child was launched; all processes share this clock."""


def run(module: str, *arguments: str, environment: Mapping[str, str], log: Path) -> Cost:
    """Run `python -m module arguments` to its end; its output goes to `log`.

    The kernel's figure includes the moment between fork and exec, when the child is still a copy of this process. So the
    caller must stay small: no pyarrow, pandas or Dagster.

    Raises:
        SystemExit: the child failed; the message has the last lines of its output.
    """
    with log.open("wb") as out:
        started = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env=dict(environment), stdout=out, stderr=out
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SystemExit(f"python -m {module} {' '.join(arguments)} ended with code {child.returncode}:\n{tail}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, started)


def postgres_cpu(postmaster: int) -> float:
    """Return the CPU seconds of a Postgres server so far: living backends, and ended ones that the postmaster has reaped."""
    total = _cpu(postmaster, buried=True)
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and _parent(path) == postmaster:
            total += _cpu(int(path.name), buried=False)
    return total


def _fields(path: Path) -> list[str]:
    """Return /proc/PID/stat from the third field on; the second, the name, may have blanks. Empty if the process ended."""
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(path: Path) -> int:
    fields = _fields(path)
    return int(fields[1]) if fields else 0


def _cpu(pid: int, *, buried: bool) -> float:
    fields = _fields(Path("/proc", str(pid)))
    ticks = [int(value) for value in fields[11 : 15 if buried else 13]]  # utime, stime, cutime, cstime
    return sum(ticks) / os.sysconf("SC_CLK_TCK")
