"""`lock` and `verify`: name the exact files behind a query, and check later that they are still the same."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import click

from crypto_assets.cli.console import counted, err, escape, out, print_line
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import DAY, filters, load_configured, say_other_origins, with_ledger
from crypto_assets.engine.problems import word_of

_REFUSED_SHOWN = 20


@click.command(
    cls=Help,
    examples=(
        ("lock --symbol BTC/USDT --dataset ohlcv_1m -o btc.lock", "The files of one symbol"),
        ("lock --as-of 2024-06-01", "What was known on a day"),
    ),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("dataset.lock"),
    show_default=True,
    help="The file to write.",
)
@filters
@click.option("--from", "first", type=DAY, help="First day, UTC, included; default: the first known day.")
@click.option("--to", "last", type=DAY, help="Last day, UTC, included; default: the last known day.")
@click.option("--as-of", type=DAY, help="The versions that were known at the end of this day, UTC.")
def lock(output: Path, as_of: date | None, **given: Any) -> None:
    """Write a lock file: name, version and sha256 of every file behind a query.

    It also lists days without a file. Exit code 1, and no lock file, where a stored file is missing in the lake or damaged.
    """
    from crypto_assets.config.environment import settings
    from crypto_assets.defs.places import configured_lake
    from crypto_assets.quality.lock.content import write_lock
    from crypto_assets.quality.lock.create import make_lock
    from crypto_assets.quality.query import Query

    query = Query(**given)
    collection = load_configured() if settings().config.exists() else None
    at = datetime.combine(as_of + timedelta(days=1), time(), UTC) - timedelta(microseconds=1) if as_of else None
    lake = configured_lake()
    if collection is not None:
        with_ledger(lambda ledger: say_other_origins(ledger, collection))
    made = with_ledger(lambda ledger: make_lock(ledger, query, as_of=at, collection=collection, lake=lake))
    write_lock(made, output)
    without_days: dict[str, int] = {}
    for part in made.without_file:
        without_days[part.state] = without_days.get(part.state, 0) + (part.last - part.first).days + 1
    without = ", ".join(f"{n:,} {word_of(state)}" for state, n in sorted(without_days.items()))
    without = f"; days without a file: {without}" if without else ""
    out.print(f"{escape(str(output))}: {counted(len(made.files), 'file')}, {counted(made.rows, 'row')}{without}")


@click.command(cls=Help, examples=(("verify btc.lock", "Hash every file that the lock names"),))
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--quick", is_flag=True, help="Compare with the ledger only; the files are not read.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(path: Path, quick: bool, as_json: bool) -> None:
    """Check that the data of a lock file is still the same.

    Exit code 0 if it is, 1 if not, 2 if the file is not a lock file.

    A line that does not name a lake file is refused; the other lines are checked.

    Every file is read from the lake and hashed. The lake may be another one than the one that was locked.
    """
    from crypto_assets.config.environment import settings
    from crypto_assets.errors import NothingCollected, PostgresUnavailable
    from crypto_assets.model import day_spans
    from crypto_assets.quality.lock.file import read_lock
    from crypto_assets.quality.lock.verify import Found
    from crypto_assets.quality.lock.verify import verify as look
    from crypto_assets.storage.lake import Lake

    locked = read_lock(path)
    lake = None if quick else Lake(settings().lake)
    if lake is not None:
        lake.require_known_format()
    try:
        result = with_ledger(lambda ledger: look(locked, lake, ledger))
    except (PostgresUnavailable, NothingCollected) as error:
        if lake is None:
            raise
        err.print(f"without the ledger, comparing files only: {escape(str(error))}")
        result = look(locked, lake, None)
    counts = {found.value: sum(one.found is found for one in result.verdicts) for found in Found}
    other = [one for one in result.verdicts if one.found is not Found.SAME]
    appeared = [(track, begin, end) for track, days in result.appeared for begin, end in day_spans(days)]
    if as_json:
        problems = [
            {
                "file": str(one.file),
                "path": one.file.path,
                "day": str(one.file.day),
                "found": one.found,
                "reason": one.text,
                "as_of": one.as_of.isoformat() if one.as_of else None,
            }
            for one in other
        ]
        more = [
            {
                "exchange": series.exchange,
                "market_type": series.market_type,
                "symbol": symbol,
                "dataset": series.dataset,
                "first": str(begin),
                "last": str(end),
            }
            for (series, symbol), begin, end in appeared
        ]
        answer = {
            "same": result.same,
            "files": len(result.verdicts),
            "counts": counts,
            "problems": problems,
            "refused": [{"line": line.place, "reason": line.reason} for line in result.refused],
            "appeared": more,
        }
        click.echo(json.dumps(answer, indent=1))
    else:
        for line in result.refused[:_REFUSED_SHOWN]:
            print_line(f"{line.place}: refused: {line.reason}")
        if len(result.refused) > _REFUSED_SHOWN:
            out.print(f"… and {counted(len(result.refused) - _REFUSED_SHOWN, 'more refused line')}: --json")
        for one in other:
            print_line(f"{one.file}: {one.found}: {one.text}")
        for (series, symbol), begin, end in appeared:
            span = str(begin) if begin == end else f"{begin} … {end} ({(end - begin).days + 1} days)"
            name = f"{series.exchange} {series.market_type} {symbol} {series.dataset}"
            out.print(f"{name} {span}: appeared, not in the lock", markup=False)
        how = "by the ledger" if quick else "by their bytes"
        out.print(f"{counts['same']} of {len(result.verdicts)} files are the same, {how}" + _refused(result))
    sys.exit(0 if result.same else 1)


def _refused(result: Any) -> str:
    return f"; {counted(len(result.refused), 'line')} of the lock refused" if result.refused else ""


SECTION = "Look"
COMMANDS = (lock, verify)
