"""`python -m bench`: measure, print one table, and report which goals are met."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from bench import measure, report
from bench.measure import Sample
from bench.report import Results
from bench.world import ROOT, Scenario, archive


def main() -> None:
    """Measure and print; exit code 1 if a goal is missed in a full run."""
    words = argparse.ArgumentParser("bench", description=__doc__)
    words.add_argument("--runs", type=int, default=3, help="of each measurement, interleaved; the median counts")
    words.add_argument("--quick", action="store_true", help="one run of a small world: tests the bench, not the cost")
    words.add_argument("--json", type=Path, metavar="FILE", help="every sample, for programs")
    words.add_argument("--write", action="store_true", help="write docs/project/benchmarks.md")
    given = words.parse_args()
    coins, days, trades, runs = (2, 10, 200_000, 1) if given.quick else (10, 90, 3_000_000, given.runs)
    stored = (coins, days) if given.quick else (3, 95)
    results = Results(files=coins * days, days=days, trades=trades, stored=stored[0] * stored[1])
    with archive(*stored, 6_000, "bars") as (bars_url, names):
        _again(results, Scenario(bars_url, "bars", names, stored[1], warehouse=True), runs)
    with archive(coins, days, 6_000, "bars") as (bars_url, names):
        _bars(results, Scenario(bars_url, "bars", names, days, warehouse=True), runs)
    with archive(1, 1, trades, "trades") as (trades_url, names):
        for warehouse in (False, True):
            _pairs(results, Scenario(trades_url, "trades", names, 1, warehouse), runs)
        _check(results, "trades", Scenario(trades_url, "trades", names, 1, warehouse=False), runs)
    with archive(1, 1, trades // 2, "trades") as (trades_url, names):
        _check(results, "half of the trades", Scenario(trades_url, "trades", names, 1, warehouse=False), runs)
    if given.json:
        given.json.write_text(json.dumps(results.as_json(), indent=1))
    report.show(results, quick=given.quick)
    if given.write:
        (ROOT / "docs" / "project" / "benchmarks.md").write_text(report.markdown(results))
    sys.exit(0 if given.quick or results.met() else 1)


def _bars(results: Results, scenario: Scenario, runs: int) -> None:
    one = replace(scenario, coins=scenario.coins[:1])
    _say("warming up")  # compiles every module and loads it into the page cache
    for way in (measure.floor, measure.engine, measure.ours):
        way(one)
    for number in range(runs):
        _pair(results, "files", scenario, number)
        _pair(results, "files to lake", replace(scenario, warehouse=False), number)
        _note(results, "files engine", number, measure.engine(scenario))
        _note(results, "one symbol ours", number, measure.ours(one))
        _note(results, "compared ours", number, measure.ours(replace(scenario, compared=("ohlcv_1h", "ohlcv_1d"))))
    _check(results, "files", scenario, runs)
    _say("first line")
    results.launched = measure.launched(scenario, runs + 1)


def _again(results: Results, scenario: Scenario, runs: int) -> None:
    for number, sample in enumerate(measure.again(scenario, max(3, runs))):
        _note(results, "stored again", number, sample)


def _check(results: Results, name: str, scenario: Scenario, runs: int) -> None:
    for number in range(runs):
        _note(results, f"{name} validate", number, measure.validated(scenario))


def _pairs(results: Results, scenario: Scenario, runs: int) -> None:
    name = "trades to both" if scenario.warehouse else "trades to lake"
    for number in range(runs):
        _pair(results, name, scenario, number)
        _note(results, f"{name} engine", number, measure.engine(scenario))


def _pair(results: Results, name: str, scenario: Scenario, number: int) -> None:
    _note(results, f"{name} floor", number, measure.floor(scenario))
    _note(results, f"{name} ours", number, measure.ours(scenario))


def _note(results: Results, name: str, number: int, sample: Sample) -> None:
    results.samples.setdefault(name, []).append(sample)
    _say(f"{name}, run {number + 1}: {sample.cost.cpu_s:.2f} CPU s, {sample.cost.peak_mb:.0f} MB")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
