"""Coverage as tables for people and JSON for programs, for the command line and the API."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from rich.table import Table

from crypto_assets.ledger.coverage import Coverage
from crypto_assets.ledger.symbol_rules import Unchosen
from crypto_assets.model import NOT_JUDGED, path_symbol
from crypto_assets.model.day_counts import DAY_COUNTS, counted


def names(series: Any, symbol: str) -> dict[str, str]:
    return {"exchange": series.exchange, "market_type": series.market_type, "symbol": symbol, "dataset": series.dataset}


def record_names(record: Any) -> dict[str, str]:
    return {name: getattr(record, name) for name in ("exchange", "market_type", "symbol", "dataset")}


def shown_counts(found: Sequence[Coverage], without: Sequence[str] = ()) -> dict[str, str]:
    """Return the counts of days that a table shows, with their titles; seldom ones only if one is not zero."""
    return {
        name: f"of these {count.title}" if count.within else count.title
        for name, count in DAY_COUNTS.items()
        if name not in without and (not count.seldom or any(getattr(one, name) for one in found))
    }


def record_table(records: Sequence[Any]) -> Table:
    """Return the records of some days, one line for each asset."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    for record in records:
        groups.setdefault(tuple(record_names(record).values()), []).append(record)
    return _table([_coverage(mine) for mine in groups.values()], ("not_collected",))


def status_table(found: Sequence[Coverage]) -> Table:
    """Return the coverage of everything, one line for each asset."""
    return _table(found, (), more=True)


def _table(found: Sequence[Coverage], without: Sequence[str], *, more: bool = False) -> Table:
    counts = shown_counts(found, without)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("asset", no_wrap=True)
    corrected = more and any(one.corrections for one in found)
    for title in (
        "days",
        *counts.values(),
        "rows",
        "size",
        "checks",
        "failed",
        *(["corrections"] if corrected else []),
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("first day", "last day") if more else ():
        table.add_column(title, no_wrap=True)
    for one in found:
        asset = "/".join((one.exchange, one.market_type, one.dataset, path_symbol(one.symbol)))
        cells = [f"{one.days:,}", *(f"{getattr(one, name):,}" for name in counts), f"{one.rows:,}"]
        cells += [f"{one.size_bytes / 1e6:.1f} MB", f"{one.checks:,}", f"{one.failed_checks:,}"]
        cells += [f"{one.corrections:,}"] if corrected else []
        cells += [str(one.first_day or "–"), str(one.last_day or "–")] if more else []
        table.add_row(asset + ("" if one.in_collection else " (not in the collection)"), *cells)
    return table


def status_json(one: Coverage) -> dict[str, Any]:
    """Return the coverage of one asset as the command line and the API show it."""
    return {name: str(value) if isinstance(value, date) else value for name, value in asdict(one).items()}


def unchosen_json(one: Unchosen) -> dict[str, Any]:
    """Return the item of `status_json` for a dataset whose entry has no symbol yet: no symbol, no days, and the reason."""
    nothing = status_json(Coverage(one.exchange, one.market_type, "", one.dataset))
    return nothing | {"symbol": None, "entry": one.entry, "rule": one.rule, "reason": one.reason}


def _coverage(records: Sequence[Any]) -> Coverage:
    """Return the coverage of one asset from the records of some of its days."""
    states: dict[str, int] = {}
    for record in records:
        states[record.state] = states.get(record.state, 0) + 1
    first = records[0]
    found = Coverage(
        first.exchange,
        first.market_type,
        first.symbol,
        first.dataset,
        days=len(records),
        rows=sum(record.rows or 0 for record in records),
        size_bytes=sum(record.size_bytes or 0 for record in records),
        checks=sum(NOT_JUDGED not in finding for record in records for finding in record.findings.values()),
        failed_checks=sum(len(record.failed_checks) for record in records),
    )
    for name in DAY_COUNTS:
        setattr(found, name, counted(states, name))
    return found
