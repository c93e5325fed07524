"""How far a command is: a bar in a terminal, lines in a log file."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from itertools import count

import pytest
from rich.console import Console

from crypto_assets.cli import progress
from crypto_assets.cli.progress import Count, duration
from crypto_assets.defs.runs import Step


def test_rate_and_time_left_are_over_the_last_half_minute() -> None:
    clock = iter(float(n) for n in (0, 10, 10, 60, 60, 60, 60))
    done = Count(200, lambda: next(clock))
    done.add(10, 1_000_000)
    assert str(done) == "10 of 200 days · 1.0 days/s · 1.0 MB · 190 left, about 3:10"
    done.add(100, 500_000)
    assert done.text() == "110 of 200 days · 2.0 days/s · 1.5 MB · 90 left, about 0:45"
    assert done.text(ended=True) == "110 of 200 days · 2.0 days/s · 1.5 MB · 90 left"


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 28.4, 725, 11_099)] == ["0:00", "0:28", "12:05", "3:04:59"]


def shown(console: Console, *steps: Step) -> None:
    showing: AbstractContextManager[progress.Callable[[Step], None]] = progress.progress(
        100, False, "collecting", console
    )
    with showing as step:
        for one in steps:
            step(one)


def test_a_log_file_gets_a_line_now_and_then_without_control_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count(step=4)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    log = io.StringIO()
    shown(Console(file=log, soft_wrap=True, highlight=False), *[Step(1, 0)] * 100)
    lines = log.getvalue().splitlines()
    assert 3 < len(lines) < 100
    assert all(line.startswith("collecting: ") and line.isprintable() for line in lines)
    assert "days/s" in lines[0]
    assert lines[-1].startswith("collecting: 100 of 100 days · ")
    assert lines[-1].endswith(", ended")


def test_a_pause_is_said_at_once_and_once() -> None:
    log = io.StringIO()
    paused = Step(0, 0, "run [x] by ann: maintenance")
    shown(Console(file=log, soft_wrap=True, highlight=False), Step(1, 0), paused, paused, Step(1, 0))
    lines = log.getvalue().splitlines()
    assert lines[0] == "paused: run [x] by ann: maintenance"
    assert [line.partition(" days")[0] for line in lines[1:]] == ["collecting: 2 of 100", "collecting: 2 of 100"]


@pytest.mark.parametrize("width", [40, 200])
def test_a_terminal_shows_a_bar_without_colours_where_they_are_not_wanted(width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, no_color=True)
    shown(console, Step(30, 2_000_000), Step(70, 1_000_000))
    text = screen.getvalue()
    assert "100 of 100 days" in " ".join(text.split())
    assert not any(f"\x1b[{code}m" in text for code in (31, 32, 33, 35, 36))


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = io.StringIO()
    shown(Console(file=screen, force_terminal=True), Step(100, 0))
    assert screen.getvalue().startswith("collecting: 100 of 100 days")
    assert "\x1b" not in screen.getvalue()
