"""A value that many threads ask for at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

from crypto_assets.machine.first_result import once


def test_threads_that_ask_first_at_the_same_time_wait_for_one_of_them() -> None:
    together, computed, slow = Barrier(4), [], Event()

    @once
    def value() -> str:
        computed.append(1)
        slow.wait(0.05)
        return "value"

    def ask() -> str:
        together.wait(5)
        return value()

    with ThreadPoolExecutor(4) as pool:
        found = [one.result() for one in [pool.submit(ask) for _ in range(4)]]
    assert (found, value(), computed) == (["value"] * 4, "value", [1])
