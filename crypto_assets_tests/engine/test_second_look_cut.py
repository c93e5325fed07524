"""Connections cut during the second look of a run: the changes made until then are still counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crypto_assets.engine.publication import storer
from crypto_assets.engine.publication.storer import Storer
from crypto_assets.model import State
from crypto_assets_tests.engine.one_symbol import PERPETUAL
from crypto_assets_tests.engine.test_contradictions import month
from crypto_assets_tests.engine.world import World, on
from crypto_assets_tests.storage.cut_connections import LosesAnAnswer, end_connections
from crypto_assets_tests.workbench import entry

FIRST, LAST = on("2024-05-08"), on("2024-05-14")
AS_IT_IS = {State.AVAILABLE: 9, State.DEGRADED: 1, State.MISSING: 4}
"""The states of two datasets after the first run: 1m bars whose file ends on the 10th, and 1h bars that continue."""

COMMITS = (3, 5, 7, 9)
"""Commits of the second look; the third commit reopens days."""


def before(monkeypatch: pytest.MonkeyPatch, of: Any, name: str, cut: Callable[[], None]) -> None:
    """Call something before the first call of a function."""
    plain, done = getattr(of, name), []

    def call(*arguments: Any) -> Any:
        if not done:
            done.append(name)
            cut()
        return plain(*arguments)

    monkeypatch.setattr(of, name, call)


@pytest.fixture
def cut_file(world: World) -> World:
    month(world, "1m", "2024-05-01", "2024-05-10 12:00")
    month(world, "1h", "2024-05-01", "2024-06-01")
    world.work.entries = [entry("linear", ["ohlcv_1m", "ohlcv_1h"], [PERPETUAL], on("2017-01-01"))]
    return world


def counted(world: World) -> dict[State, int]:
    tally = world.work.collect(FIRST, LAST).tally
    assert len(tally.problems) == tally.states.get(State.DEGRADED, 0) + tally.states.get(State.MISSING, 0)
    return {state: count for state, count in tally.states.items() if count}


def test_a_cut_between_two_steps_of_the_second_look_hides_no_missing_day(cut_file, monkeypatch):
    before(monkeypatch, storer, "contradicted_edges", lambda: end_connections(cut_file.work.url))
    assert counted(cut_file) == AS_IT_IS


@pytest.mark.parametrize("number", COMMITS)
def test_a_commit_of_the_second_look_whose_answer_is_lost_hides_no_missing_day(cut_file, monkeypatch, number):
    with LosesAnAnswer(cut_file.work.url) as way:
        before(monkeypatch, Storer, "second_look", lambda: way.lose(number))
        cut_file.work.url = way.url
        assert counted(cut_file) == AS_IT_IS
        assert way.lost == 1, "the fault has happened"
