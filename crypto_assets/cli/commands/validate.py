"""`validate`: check stored days again, without collecting."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import date
from typing import Any

import click
from rich.table import Table

from crypto_assets.cli.console import counted, err, out, print_line, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import DAY, filters, load_configured, say_other_origins, today, with_ledger
from crypto_assets.cli.progress import progress
from crypto_assets.cli.run_outcome import accepted_of, acknowledged_in_words, records_of
from crypto_assets.ledger.coverage_tables import record_names
from crypto_assets.model import COMPLETE_STATES, NOT_JUDGED, Series

_LINES = 200


@click.command(
    cls=Help,
    examples=(
        ("validate --from 2024-01-01 --to 2024-01-31", "One month"),
        ("validate --monthly --rest --symbol BTC/USDT", "One symbol, compared with monthly files and REST"),
    ),
)
@filters
@click.option("--from", "first", type=DAY, help="Only this day and later.")
@click.option("--to", "last", type=DAY, help="Only this day and earlier.")
@click.option("--monthly", is_flag=True, help="Compare with the archive's monthly files too; downloads them.")
@click.option("--rest", is_flag=True, help="Compare with REST too; requests every day again.")
@click.option("--strict", is_flag=True, help="Exit code 1 for warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(
    first: date | None,
    last: date | None,
    monthly: bool,
    rest: bool,
    strict: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Check stored days again with all checks.

    They are also compared with other series; nothing is collected. Exit code 1 where a stored day is degraded: its
    file is damaged, its rows break a rule, or some rows are missing.
    Acknowledged days do not count.
    """
    from crypto_assets.config import selection
    from crypto_assets.defs import runs

    collection = load_configured()
    compare = tuple(name for name, wanted in (("monthly", monthly), ("rest", rest)) if wanted)
    selected = selection.select(collection, **filters)
    clipped, note = selection.clip(collection, selected, first, last, today(), with_today=True)
    if note:
        err.print(f"note: {note}", markup=False)
    requests = [replace(request, checks_only=True, compare=compare) for request in clipped]
    # Reports also that nothing was collected, before a run creates anything.
    with_ledger(lambda ledger: say_other_origins(ledger, collection))
    with progress(sum(request.days for request in requests), as_json, "checking") as step:
        runs.execute(collection, requests, step)

    def known(ledger: Any) -> tuple[list[Any], set[Any]]:
        stored = [record for record in records_of(ledger, requests) if record.path is not None]
        return stored, accepted_of(ledger, stored)

    found, accepted = with_ledger(known)
    sizes = _other_sizes(found)
    counts, failed = _counted(found)
    problems = [record for record in found if record.state not in COMPLETE_STATES and record.track_day not in accepted]
    if accepted:
        err.print(acknowledged_in_words(len(accepted)), markup=False)
    if as_json:
        other = [asdict(one) for one in sizes]
        answer = {"days": len(found), "checks": counts, "failed": failed, "other_contract_sizes": other}
        click.echo(json.dumps(answer, indent=1, default=str))
    elif not found:
        out.print("none of these days is stored")
    else:
        _show(counts, failed, len(found))
    if not as_json:
        for one in sizes:
            print_line(str(one))
    sys.exit(1 if problems or sizes or (strict and failed) else 0)


def _other_sizes(records: Iterable[Any]) -> list[Any]:
    """Return the days of the checked symbols that were converted with another contract size than is known of them now."""
    from crypto_assets.ledger.instruments import days_with_other_size

    checked = {(one.exchange, one.market_type, one.symbol, one.dataset) for one in records if one.source_contract_size}
    if not checked:
        return []

    def read(ledger: Any) -> list[Any]:
        with ledger.transaction() as connection:
            return days_with_other_size(connection)

    return [one for one in with_ledger(read) if (one.exchange, one.market_type, one.symbol, one.dataset) in checked]


def _counted(records: Iterable[Any]) -> tuple[dict[str, dict[str, int]], list[dict[str, Any]]]:
    """Return how often each check passed, failed or was not judged, and every failure with its evidence."""
    from crypto_assets.engine.publication.validation import in_words
    from crypto_assets.ledger.outcome_rows import from_stored

    counts: dict[str, dict[str, int]] = {}
    failed: list[dict[str, Any]] = []
    for record in records:
        series = Series.named(record.exchange, record.market_type, record.dataset)
        for name, finding in sorted(record.findings.items()):
            what = "not judged" if NOT_JUDGED in finding else "passed" if finding["passed"] else "failed"
            of = counts.setdefault(name, {"passed": 0, "failed": 0, "not judged": 0})
            of[what] += 1
            if what == "failed":
                evidence = {key: value for key, value in finding.items() if key != "passed"}
                words = in_words(series, [name], from_stored(record.findings))
                failed.append(
                    {
                        **record_names(record),
                        "day": str(record.day),
                        "check": name,
                        "words": words,
                        "evidence": evidence,
                    }
                )
    return counts, failed


def _show(counts: Mapping[str, Mapping[str, int]], failed: list[dict[str, Any]], days: int) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("check")
    for name in ("passed", "failed", "not judged"):
        table.add_column(name, justify="right")
    for name, of in sorted(counts.items()):
        table.add_row(name, *(str(of[what]) for what in ("passed", "failed", "not judged")))
    print_table(table)
    for one in failed[:_LINES]:
        asset = " ".join(str(one[key]) for key in ("exchange", "market_type", "symbol", "dataset", "day"))
        print_line(f"{asset}: {one['check']}: {one['words']}")
    if len(failed) > _LINES:
        out.print(f"… and {len(failed) - _LINES} more: --json")
    out.print(f"{counted(days, 'stored day')} checked, {counted(len(failed), 'finding')}")


SECTION = "Quality"
COMMANDS = (validate,)
