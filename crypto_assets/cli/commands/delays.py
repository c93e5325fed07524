"""`delays`: the time an archive needs to publish a file, and the files that are late."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.console import counted, out, print_line, print_table
from crypto_assets.cli.options import load_configured, with_ledger

if TYPE_CHECKING:
    from crypto_assets.quality.delays import Delay, Late

_SHOWN = 50


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: `delays` and `late`.")
def delays(as_json: bool) -> None:
    """Show how long after the end of a day or month its files appear.

    `seen` counts files that appeared while we watched. `history` counts files that were published before; their times may
    belong to later versions. A file is late when 95 of 100 files of its kind appeared sooner. Late files are listed.
    """
    from crypto_assets.quality.delays import delays as measure
    from crypto_assets.quality.delays import late_objects

    collection = load_configured()

    def read(ledger: Any) -> tuple[list[Delay], list[Late]]:
        measured = measure(ledger, collection)
        return measured, late_objects(ledger, collection, measured)

    measured, late = with_ledger(read)
    if as_json:
        found = {"delays": [asdict(delay) for delay in measured], "late": [asdict(one) for one in late]}
        click.echo(json.dumps(found, indent=1, default=lambda value: value.isoformat()))
        return
    if not measured:
        out.print("no archive file has been seen yet")
    else:
        print_table(_table(measured, late))
    for one in late[:_SHOWN]:
        print_line(
            f"late: {one.exchange} {one.market_type} {one.symbol} {one.dataset} {one.day}: expected {one.key} by "
            f"{one.due_at:%Y-%m-%d %H:%M} UTC, {span(one.late_s)} ago; it is requested again automatically"
        )
    if len(late) > _SHOWN:
        out.print(f"… and {counted(len(late) - _SHOWN, 'more late object')}: --json")


def _table(measured: list[Delay], late: list[Late]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(("what", "of a", "", "objects", "p50", "p95", "latest", "latest day", "late")):
        table.add_column(name, justify="left" if number < 3 else "right", no_wrap=True)
    counts = Counter((one.exchange, one.market_type, one.dataset) for one in late)
    for delay in measured:
        names = delay.exchange, delay.market_type, delay.dataset
        table.add_row(
            "/".join(names),
            delay.period,
            "seen" if delay.watched else "history",
            str(delay.objects),
            *map(span, (delay.p50_s, delay.p95_s, delay.latest_s)),
            str(delay.latest_day),
            str(counts[names] or "") if delay.watched else "",
        )
    return table


def span(seconds: float) -> str:
    """Return a length of time in words: `42 min`, `5 h 07 min`, `3 d 4 h`."""
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


SECTION = "Quality"
COMMANDS = (delays,)
