"""Requests in flight to a host: fewer after errors, and one host does not use the slots of another."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from uuid import uuid4

import pytest
from starlette.responses import Response

from crypto_assets.errors import HostRefused, Stopped
from crypto_assets.transport.client import Client
from crypto_assets.transport.concurrency import Slots
from crypto_assets.transport.guard import Guard
from crypto_assets_tests.transport.answers import ARCHIVE, statuses


def test_a_host_that_hangs_does_not_take_the_place_of_another(serve, guard):
    other = serve(statuses(200))
    stop = threading.Event()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(guard, connections=2, timeout_s=60, attempts=1, stop=stop) as client,
    ):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"

        def hang() -> None:
            with pytest.raises(Stopped):
                client.at(ARCHIVE).get(url)

        threads = [threading.Thread(target=hang) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        begun = time.monotonic()
        assert [client.at(ARCHIVE).get(f"{other.url}/{n}").text for n in range(5)] == ["body"] * 5
        assert time.monotonic() - begun < 30
        stop.set()
        for thread in threads:
            thread.join()


def test_fewer_requests_are_in_flight_after_errors_and_more_again_after_answers(serve, guard_url):
    in_flight: list[int] = [0]
    seen: list[int] = []
    failing = [True]
    pause_s = [0.0]

    async def answer(request):
        in_flight[0] += 1
        seen.append(in_flight[0])
        await asyncio.sleep(pause_s[0])
        in_flight[0] -= 1
        return Response("body", 503 if failing else 200)

    server = serve(answer)

    def at_once(times: int, answered_after_s: float = 0.1) -> int:
        """Send requests from eight threads, and return the most that were in flight."""
        pause_s[0] = answered_after_s
        seen.clear()

        def ask() -> None:
            for _ in range(times):
                try:
                    client.at(ARCHIVE).get(f"{server.url}/a")
                except HostRefused:
                    continue

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return max(seen)

    with (
        Guard(guard_url, egress=uuid4().hex, limits={}, failures=1_000) as guard,
        Client(guard, connections=8, attempts=1) as client,
    ):
        assert at_once(1, 2.0) == 8  # long enough for eight threads to overlap on a busy machine
        at_once(2)
        failing.clear()
        assert at_once(1, 0.5) <= 4
        at_once(12)
        assert at_once(1, 2.0) == 8


def test_errors_of_one_moment_halve_the_slots_once_and_never_to_nothing():
    slots = Slots(8)
    entered = [slots.enter() for _ in range(8)]
    for began in entered:
        slots.leave(began, good=False)
    assert slots.limit == 4
    limits = []
    for _ in range(4):
        slots.leave(slots.enter(), good=False)
        limits.append(slots.limit)
    assert limits == [2, 1, 1, 1]
    slots.leave(slots.enter(), good=None)  # a missing file says nothing about the host
    assert slots.limit == 1
    for _ in range(40):
        slots.leave(slots.enter(), good=True, answered_s=0.1)
    assert slots.limit == 8


def test_answers_that_become_much_slower_count_as_errors():
    slots = Slots(8)
    for answered_s in (0.1, 0.1, 0.1, 1.9):
        slots.leave(slots.enter(), good=True, answered_s=answered_s)
    assert slots.limit == 8  # less than two seconds is never slow
    slots.leave(slots.enter(), good=True, answered_s=2.5)
    assert slots.limit == 4
