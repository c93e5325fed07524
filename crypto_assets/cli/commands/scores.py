"""`quality`: scores for completeness, accuracy, agreement and timeliness, and their history."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.console import err, out, print_table
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import DAY, filters, load_configured, lost_of, today, with_ledger

if TYPE_CHECKING:
    from crypto_assets.ledger.lakes import LostDays
    from crypto_assets.ledger.score_query import Point, Quality

_LEVELS = ("partition", "symbol", "series", "exchange")


@click.command(
    cls=Help,
    examples=(
        ("quality", "One line for each symbol"),
        ("quality --by partition --below 0.999", "The days with a low score"),
    ),
)
@filters
@click.option("--from", "first", type=DAY, help="Only this day and later.")
@click.option("--to", "last", type=DAY, help="Only this day and earlier.")
@click.option("--by", type=click.Choice(_LEVELS), default="symbol", show_default=True, help="Group the scores by this.")
@click.option(
    "--below",
    type=click.FloatRange(0, 1),
    help="Show only totals below this; replaces the threshold.",
)
@click.option("--trend", is_flag=True, help="Show how the scores changed: a line for each UTC day with a change.")
@click.option("--no-refresh", is_flag=True, help="Show the stored scores; compute nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each score.")
def quality(
    by: str,
    first: date | None,
    last: date | None,
    below: float | None,
    trend: bool,
    no_refresh: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Show quality scores from 0 to 1.

    Exit code 1 if a total shown is below the threshold of collection.yaml, or if the file of a stored day is missing in the
    lake or damaged. Such a day counts as missing.

    A score is the mean over days: one bad day of a year hides in `--by exchange`, not in `--by partition`.
    See docs/concepts/quality.md for what each score means.
    """
    from crypto_assets.config import selection
    from crypto_assets.ledger import score_query
    from crypto_assets.ledger.lakes import in_one_line
    from crypto_assets.quality import score_store

    collection = load_configured()
    threshold = collection.quality.threshold if below is None else below
    tracks = [track for _, of_entry in selection.select(collection, **filters) for track in of_entry]
    chosen = score_query.Chosen(
        exchange=sorted({series.exchange for series, _ in tracks}),
        market_type=sorted({series.market_type for series, _ in tracks}),
        symbol=sorted({symbol for _, symbol in tracks}),
        dataset=sorted({series.dataset for series, _ in tracks}),
        first=first,
        last=last,
    )

    def read(ledger: Any) -> tuple[list[Quality], list[Point], LostDays]:
        if not no_refresh:
            start = first or min(entry.start for entry in collection.series)
            score_store.refresh_scores(ledger, collection, start, last or today(), tracks)
        lost = lost_of(ledger, tracks, first, last, collection)
        weights = collection.quality.weights.model_dump()
        scores = score_query.read_scores(
            ledger, by, chosen, threshold=threshold, below=below, lost=lost, weights=weights
        )
        return scores, score_query.trend(ledger, by, chosen) if trend else [], lost

    scores, points, lost = with_ledger(read)
    bad = [score for score in scores if score.total is not None and score.total < threshold]
    shown: Sequence[Quality | Point] = points if trend else scores
    if as_json:
        click.echo(json.dumps([asdict(one) for one in shown], indent=1, default=_plain))
    elif not shown:
        out.print("no day has been scored yet" if below is None or trend else f"no total is below {below}")
    else:
        print_table(_table(shown, trend=trend))
        if not trend:
            out.print(f"{len(bad)} of {len(scores)} below {threshold}")
    if lost.reasons:
        err.print(in_one_line(len(lost.reasons), lost.stored), markup=False)
    sys.exit(1 if bad or lost.reasons else 0)


def _table(shown: Sequence[Any], *, trend: bool) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    counts = ("judged",) if trend else ("days", "judged", "below")
    numbers = (*counts, "accuracy", "completeness", "timeliness", "agreement", "total")
    for number, name in enumerate(("what", *(("on",) if trend else ()), *numbers, *(() if trend else ("worst day",)))):
        table.add_column(name, justify="left" if not number or name in ("on", "worst day") else "right", no_wrap=True)
    for one in shown:
        cells = [_name(one), *((str(one.on),) if trend else ()), *(str(getattr(one, name)) for name in counts)]
        cells += [_number(getattr(one, name)) for name in numbers[len(counts) :]]
        table.add_row(*cells, *(() if trend else (_worst(one),)))
    return table


def _name(one: Any) -> str:
    from crypto_assets.model import path_symbol

    parts = (one.exchange, one.market_type, one.dataset, one.symbol and path_symbol(one.symbol))
    return "/".join(filter(None, parts)) + (f" {one.day}" if one.day else "")


def _worst(one: Quality) -> str:
    """Return the worst day of a score below 1, without what the line says already."""
    if one.day is not None:
        return one.reason or ""
    if one.worst is None or one.total == 1:
        return ""
    more = [one.worst[name] for name in ("market_type", "symbol", "dataset") if getattr(one, name) is None]
    return " ".join([*more, one.worst["day"], f"({_number(one.worst['total'])})"])


def _number(value: float | None) -> str:
    """Return four decimals, rounded down: 0.99999 must not look like 1."""
    return "–" if value is None else str(Decimal(repr(float(value))).quantize(Decimal("0.0001"), ROUND_FLOOR))


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


SECTION = "Quality"
COMMANDS = (quality,)
