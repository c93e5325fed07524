"""Calls in several threads whose results come in order: not too far ahead, and none after an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from crypto_assets.machine.thread_pool import in_order


def test_results_come_in_the_order_of_the_items_though_later_ones_end_earlier() -> None:
    second = threading.Event()

    def call(item: int) -> tuple[int, str]:
        if item == 0:
            assert second.wait(10), "the second call ran while the first was waiting"
        if item == 1:
            second.set()
        return item, threading.current_thread().name

    found = list(in_order(call, range(50), 4))
    assert [item for item, _ in found] == list(range(50))
    assert 2 <= len({name for _, name in found}) <= 4


def test_only_some_results_wait_for_the_caller() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    results = in_order(lambda item: item, items(), 3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) <= 5 + 2 * 3
    results.close()


def test_an_error_arrives_at_its_place_and_ends_the_rest() -> None:
    started = []

    def call(item: int) -> int:
        started.append(item)
        if item == 2:
            raise ValueError("two")
        return item

    results = in_order(call, range(1000), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert len(started) <= 8


def test_nothing_gives_nothing() -> None:
    assert list(in_order(str, [], 4)) == []
