"""The results as a table, as JSON and as docs/project/benchmarks.md, next to the goals."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Sample

FILES_RATIO, FILES_TO_LAKE_RATIO, TRADES_RATIO = 1.8, 1.5, 1.3
ORCHESTRATION_SHARE, FIRST_LINE_S, CHECKS_SHARE, AGAIN_S = 0.08, 5.0, 0.30, 2.5


@dataclass(slots=True)
class Results:
    """All samples by name; `launched` has seconds to the first line and the worker's CPU, run after run."""

    files: int
    days: int
    trades: int
    stored: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    launched: list[tuple[float, float]] = field(default_factory=list)

    def median(self, name: str, value: Callable[[Sample], float]) -> float:
        return statistics.median(value(sample) for sample in self.samples[name])

    def cpu(self, name: str) -> float:
        return self.median(name, lambda sample: sample.cost.cpu_s)

    def peak(self, name: str) -> float:
        return self.median(name, lambda sample: sample.cost.peak_mb)

    def part(self, name: str, part: str) -> float:
        return self.median(name, lambda sample: sample.parts[part])

    def ratio(self, pair: str) -> float:
        """The median ratio of ours to floor; each pair was measured one after the other."""
        both = zip(self.samples[f"{pair} ours"], self.samples[f"{pair} floor"], strict=True)
        return statistics.median(ours.cost.cpu_s / floor.cost.cpu_s for ours, floor in both)

    def goals(self) -> list[tuple[str, str, str, bool]]:
        """Each goal: its name, limit, measured value, and whether it is met."""
        share = self.median("files ours", lambda s: s.parts["orchestration"] / s.cost.cpu_s)
        many, one = self.peak("files ours"), self.peak("one symbol ours")
        cli = self.median("files ours", lambda s: s.first_line_s or 0.0)
        launched = max(seconds for seconds, _ in self.launched)
        checks = 100 * self.median("compared ours", lambda s: s.parts["checks"] / s.cost.cpu_s)
        whole, half = self.peak("trades validate"), self.peak("half of the trades validate")
        return [
            _at_most(f"{self.files} files of 1m bars", self.ratio("files"), FILES_RATIO, "{:.2f} × floor"),
            _at_most(
                f"{self.files} files of 1m bars, lake",
                self.ratio("files to lake"),
                FILES_TO_LAKE_RATIO,
                "{:.2f} × floor",
            ),
            _at_most(f"{self.trades:,} trades, lake", self.ratio("trades to lake"), TRADES_RATIO, "{:.2f} × floor"),
            _at_most(
                f"{self.trades:,} trades, lake and Postgres",
                self.ratio("trades to both"),
                TRADES_RATIO,
                "{:.2f} × floor",
            ),
            _at_most(
                f"`crypto-assets collect` of {self.stored} days that are all stored",
                self.cpu("stored again"),
                AGAIN_S,
                "{:.2f} CPU s",
            ),
            _at_most("orchestration", 100 * share, 100 * ORCHESTRATION_SHARE, "{:.1f} % of the CPU"),
            _at_most("first line of the op, launched", launched, FIRST_LINE_S, "{:.2f} s"),
            _at_most("first line of the op, `crypto-assets collect`", cli, FIRST_LINE_S, "{:.2f} s"),
            _at_most(
                f"all checks of {self.files} files of 1m bars, as many of 1h and of 1d, compared with each other",
                checks,
                100 * CHECKS_SHARE,
                "{:.1f} % of the CPU",
            ),
            _at_most(
                f"peak memory, {self.trades:,} trades checked",
                whole,
                half * 1.1,
                "{:.0f} MB",
                f"as {self.trades // 2:,} trades, ± 10 %",
            ),
            # The allocator keeps a different amount in each run, less than a tenth.
            _at_most(f"peak memory, {self.files} files", many, one * 1.1, "{:.0f} MB", f"as {self.days} files, ± 10 %"),
        ]

    def met(self) -> bool:
        return all(met for *_, met in self.goals())

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": machine(),
            "goals": [
                {"what": what, "goal": goal, "found": found, "met": met} for what, goal, found, met in self.goals()
            ],
            "samples": {name: [asdict(sample) for sample in found] for name, found in self.samples.items()},
            "launched": self.launched,
        }


def _at_most(what: str, found: float, limit: float, text: str, goal: str = "") -> tuple[str, str, str, bool]:
    return what, goal or f"at most {text.format(limit)}", text.format(found), found <= limit


def machine() -> str:
    """Return the machine of the measurement."""
    return f"{os.cpu_count()} shared cores, {platform.machine()}, Python {platform.python_version()}"


_COST_COLUMNS = ("what", "CPU s", "× floor", "Postgres CPU s", "peak MB", "wall s", "rows/s")
_GOAL_COLUMNS = ("goal", "wanted", "found", "met")
_NAMES = {
    "stored": "{stored} files of 1m bars that are all stored",
    "files": "{files} files of 1m bars",
    "files to lake": "{files} files of 1m bars, lake",
    "one symbol": "{days} files of one symbol",
    "compared": "the same with bars of 1h and 1d",
    "trades": "{trades:,} trades, one day",
    "half of the trades": "half of these trades",
    "trades to lake": "{trades:,} trades, one day, lake",
    "trades to both": "{trades:,} trades, one day, lake and Postgres",
}
_WAYS = {
    "floor": "floor",
    "ours": "crypto-assets collect",
    "engine": "pipeline without Dagster",
    "again": "crypto-assets collect",
    "validate": "crypto-assets validate",
}


def _costs(results: Results) -> list[list[str]]:
    lines = []
    for name in results.samples:
        pair, _, way = name.rpartition(" ")
        floor = f"{pair} floor"
        what = _NAMES[pair].format(files=results.files, days=results.days, trades=results.trades, stored=results.stored)
        # The floor's rows are the same; otherwise the bench would have ended.
        rows = results.median(f"{pair} ours" if way == "floor" else name, lambda s: s.rows)
        wall = results.median(name, lambda s: s.cost.wall_s)
        ratio = "" if floor not in results.samples else "1" if way == "floor" else ""
        if floor in results.samples and way != "floor":
            ratio = f"{results.cpu(name) / results.cpu(floor):.2f}"
        lines.append(
            [
                f"{what}: {_WAYS[way]}",
                f"{results.cpu(name):.2f}",
                ratio,
                f"{results.median(name, lambda s: s.postgres_s):.2f}",
                f"{results.peak(name):.0f}",
                f"{wall:.1f}",
                f"{rows / wall:,.0f}",
            ]
        )
        if way == "ours":
            parts = ("start-up", "orchestration", "engine", "checks", "end")
            lines += [[f"  part: {part}", f"{results.part(name, part):.2f}", *[""] * 5] for part in parts]
    return lines


def show(results: Results, *, quick: bool) -> None:
    """Print both tables."""
    console = Console(width=150)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(_COST_COLUMNS):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for line in _costs(results):
        table.add_row(*line)
    goals = Table(box=None, header_style="bold", pad_edge=False)
    for name in _GOAL_COLUMNS:
        goals.add_column(name, no_wrap=True)
    for what, goal, found, met in results.goals():
        goals.add_row(what, goal, found, "[green]yes[/green]" if met else "[red]no[/red]")
    console.print(table, "", goals)
    launched = ", ".join(f"{seconds:.2f} s ({cpu:.2f} CPU s)" for seconds, cpu in results.launched)
    if quick:
        console.print("\nA small world: mostly start-up. The goals apply to the full run.")
    console.print(f"\nfirst lines of launched runs, one after the other: {launched}; {machine()}")


def markdown(results: Results) -> str:
    """Return docs/project/benchmarks.md."""
    runs = len(results.samples["files ours"])
    tables = (
        _markdown_table(_GOAL_COLUMNS, [[*goal[:3], "yes" if goal[3] else "no"] for goal in results.goals()]),
        _markdown_table(_COST_COLUMNS, _costs(results)),
    )
    return _PAGE.format(runs=runs, machine=machine(), goals=tables[0], costs=tables[1])


_PAGE = """# Benchmarks

Written by `python -m bench --write`; `make bench` measures on your machine. Medians of {runs} runs on {machine}.

The floor is `bench/floor.py`: a plain script that lists, downloads, compares SHA-256, parses to decimals,
writes Parquet and copies to Postgres, without checks, state, derived bars or orchestration. Both collect from the sandbox in
a separate process. The sandbox's CPU is not counted; that of Postgres has its own column. CPU is user and system time of the
whole process, imports included: pyarrow imports pandas with its first scalar if pandas is installed, in the floor too. Every
module is compiled before.

{goals}

{costs}
"""


def _markdown_table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))
