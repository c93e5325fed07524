"""Coverage as tables for people and as JSON for programs. Used by the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from crypto_assets.model import NOT_JUDGED, path_symbol


def names(series: Any, symbol: str) -> dict[str, str]:
    return {"exchange": series.exchange, "market_type": series.market_type, "symbol": symbol, "dataset": series.dataset}


def record_names(record: Any) -> dict[str, str]:
    return {name: getattr(record, name) for name in ("exchange", "market_type", "symbol", "dataset")}


_COLUMNS = ("asset", "days", "stored", "no data", "not there", "rows", "size", "checks", "failed")


def _table() -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _row(names: Mapping[str, str], states: dict[str, int], rows: int, size: int, checks: int, failed: int) -> list[str]:
    asset = "/".join((names["exchange"], names["market_type"], path_symbol(names["symbol"]), names["dataset"]))
    stored = sum(states.get(state, 0) for state in ("available", "provisional", "degraded", "corrected"))
    absent = states.get("missing", 0) + states.get("pending", 0)
    counts = [str(sum(states.values())), str(stored), str(states.get("no_data", 0)), str(absent)]
    return [asset, *counts, f"{rows:,}", f"{size / 1e6:.1f} MB", str(checks), str(failed)]


def record_table(records: Sequence[Any]) -> Table:
    groups: dict[tuple[str, ...], list[Any]] = {}
    for record in records:
        groups.setdefault(tuple(record_names(record).values()), []).append(record)
    table = _table()
    for mine in groups.values():
        names = record_names(mine[0])
        states: dict[str, int] = {}
        for record in mine:
            states[record.state] = states.get(record.state, 0) + 1
        failed = sum(len(record.failed_checks) for record in mine)
        table.add_row(
            *_row(
                names,
                states,
                sum(r.rows or 0 for r in mine),
                sum(r.size_bytes or 0 for r in mine),
                sum(NOT_JUDGED not in finding for r in mine for finding in r.findings.values()),
                failed,
            )
        )
    return table


def summary_table(summaries: Sequence[Any]) -> Table:
    table = _table()
    table.add_column("corrected", justify="right")
    table.add_column("first day")
    table.add_column("last day")
    for summary in summaries:
        row = _row(
            record_names(summary),
            summary.states,
            summary.rows,
            summary.size_bytes,
            summary.checks,
            summary.failed_checks,
        )
        table.add_row(*row, str(summary.corrections), str(summary.first_day), str(summary.last_day))
    return table


def summary_json(summary: Any) -> dict[str, Any]:
    return {
        **record_names(summary),
        "states": summary.states,
        "rows": summary.rows,
        "size_bytes": summary.size_bytes,
        "checks": summary.checks,
        "failed_checks": summary.failed_checks,
        "corrections": summary.corrections,
        "first_day": str(summary.first_day),
        "last_day": str(summary.last_day),
    }
