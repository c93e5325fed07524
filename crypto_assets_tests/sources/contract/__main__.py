"""Runs the contract and prints its table: source, market type and dataset by property."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

_ORDER = ("failed", "held", "not applicable")
_SIGNS = {"held": "held", "failed": "FAILED", "not applicable": "–"}


class Table:
    """A plugin of pytest that keeps the result of each property of each dataset."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.reasons: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.properties: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        found = [getattr(getattr(item, "function", None), "property", None) for item in session.items]
        self.properties = list(dict.fromkeys(name for name in found if name))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = (yield).get_result()
        name = getattr(getattr(item, "function", None), "property", None)
        if name is None or (report.when != "call" and report.passed):
            return
        series = item.callspec.params["subject"].series  # type: ignore[attr-defined]
        result = "failed" if report.failed else "not applicable" if report.skipped else "held"
        self.results[series.exchange, series.market_type, _kind(series.dataset)][name].add(result)
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[name, series.exchange].add(report.longrepr[2].removeprefix("Skipped: "))

    def lines(self) -> list[str]:
        """Return the table: a property of a dataset is held if it holds for each feed that it applies to."""
        head = [["source", "market", "dataset", *self.properties]]
        rows = [
            [
                *key,
                *(
                    _SIGNS[next((one for one in _ORDER if one in row[name]), "not applicable")]
                    for name in self.properties
                ),
            ]
            for key, row in self.results.items()
        ]
        table = head + rows
        widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        reasons = defaultdict(list)
        for (name, exchange), words in self.reasons.items():
            for text in words:
                reasons[name, text].append(exchange)
        said = [
            f"  {name}: {text} ({', '.join(sorted(set(exchanges)))})"
            for (name, text), exchanges in sorted(reasons.items())
        ]
        return [*lines, "", "Not applicable (–), by feed:", *said]


def _kind(dataset: str) -> str:
    return "ohlcv" if dataset.startswith("ohlcv_") else dataset


def main(arguments: list[str]) -> int:
    """Run the contract, with more arguments for pytest; return its exit code."""
    table = Table()
    here = str(Path(__file__).parent)
    code = pytest.main(["-q", "--no-header", "--tb=short", "-r", "f", here, *arguments], plugins=[table])
    sys.stdout.write("\n".join(["", *table.lines(), ""]))
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
