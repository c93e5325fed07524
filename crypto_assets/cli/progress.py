"""Progress of a command: a bar in a terminal, a line every LINE_EVERY_S in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from crypto_assets.cli.console import counted, err, escape
from crypto_assets.text.visible import visible

if TYPE_CHECKING:
    from crypto_assets.defs.runs import Step

LINE_EVERY_S = 30.0
_RATE_OVER_S = 30.0


@dataclass(slots=True)
class Count:
    """Days done of a total, with rate and time left; a day is one symbol of a series over one UTC day."""

    total: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    size_bytes: int = 0
    _samples: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._samples = [(self.clock(), 0)]

    def add(self, days: int, size_bytes: int) -> None:
        self.done += days
        self.size_bytes += size_bytes
        now = self.clock()
        self._samples.append((now, self.done))
        while len(self._samples) > 2 and self._samples[1][0] < now - _RATE_OVER_S:
            self._samples.pop(0)

    @property
    def days_per_s(self) -> float:
        since, before = self._samples[0]
        return (self.done - before) / max(self.clock() - since, 0.001)

    def __str__(self) -> str:
        """Return `34 of 180 days · 5.2 days/s · 12.1 MB · 146 left, about 0:28`."""
        return self.text()

    def text(self, *, ended: bool = False) -> str:
        """Return the progress in one line; without the time left when the run has ended."""
        left, rate = max(self.total - self.done, 0), self.days_per_s
        parts = [f"{self.done:,} of {counted(self.total, 'day')}"]
        if rate:
            parts.append(f"{rate:.1f} days/s")
        parts.append(f"{self.size_bytes / 1e6:.1f} MB")
        if left:
            parts.append(f"{left:,} left" + ("" if ended or not rate else f", about {duration(left / rate)}"))
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return `0:28`, `12:05` or `3:04:59`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def progress(total: int, quiet: bool, doing: str, console: Console = err) -> Iterator[Callable[[Step], None]]:
    """Yield a function that receives the steps of the runs and shows progress on `console`; `quiet` shows nothing."""
    count = Count(total)
    show = _nothing if quiet else _bar if console.is_terminal and not console.is_dumb_terminal else _lines
    with show(count, doing, console) as shown:

        def step(one: Step) -> None:
            count.add(one.days, one.size_bytes)
            shown(one.paused)

        yield step


@contextmanager
def _nothing(*_: object) -> Iterator[Callable[[str], None]]:
    yield lambda paused: None  # noqa: ARG005  nobody is told


@contextmanager
def _bar(count: Count, doing: str, console: Console) -> Iterator[Callable[[str], None]]:
    # A narrow terminal shows the numbers only.
    columns = [TextColumn("{task.description}", markup=False)]
    if console.size.width >= 90:
        columns.append(BarColumn(bar_width=20))  # type: ignore[arg-type]
    wide = Console(file=console.file, force_terminal=True, width=console.size.width, no_color=console.no_color)
    with Progress(*columns, console=wide, refresh_per_second=4) as bar:
        task = bar.add_task(f"{doing}: {count}", total=count.total)

        def shown(paused: str) -> None:
            bar.update(
                task, completed=count.done, description=f"paused: {visible(paused)}" if paused else f"{doing}: {count}"
            )

        yield shown


@contextmanager
def _lines(count: Count, doing: str, console: Console) -> Iterator[Callable[[str], None]]:
    """Write a line every LINE_EVERY_S, when the run is paused, and at the end."""
    said_at, said_paused = time.monotonic(), ""

    def say(text: str) -> None:
        console.print(escape(text))

    def shown(paused: str) -> None:
        nonlocal said_at, said_paused
        if paused != said_paused:
            said_at, said_paused = time.monotonic(), paused
            say(f"paused: {paused}" if paused else f"{doing}: {count}")
        elif time.monotonic() - said_at >= LINE_EVERY_S:
            said_at = time.monotonic()
            say(f"{doing}: {count}")

    yield shown
    say(f"{doing}: {count.text(ended=True)}, ended")
