"""Check whether the process of a run still exists."""

from __future__ import annotations

import subprocess
import sys
import time

from crypto_assets.machine.run_process import is_gone, this_process

_SAY_WHO = """
import sys
from crypto_assets.machine.run_process import this_process
print(this_process(), flush=True)
sys.stdin.read()
"""


def _child() -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen([sys.executable, "-c", _SAY_WHO], stdin=-1, stdout=-1, text=True)
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


def test_this_process_is_there() -> None:
    assert not is_gone(this_process())


def test_a_killed_process_is_gone_even_before_its_parent_has_noticed() -> None:
    child, who = _child()
    assert not is_gone(who)
    child.kill()
    deadline = time.monotonic() + 60
    while not is_gone(who):  # a zombie until the parent waits
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.communicate()
    assert is_gone(who)


def test_a_number_that_another_process_has_now_is_gone() -> None:
    host, number, started = this_process().rsplit(" ", 2)
    assert is_gone(f"{host} {number} {int(started) - 1}")


def test_nothing_is_known_of_another_machine() -> None:
    assert not is_gone("another-host 999999999 1")
    assert not is_gone("nonsense")
