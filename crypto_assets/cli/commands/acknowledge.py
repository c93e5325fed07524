"""`gaps acknowledge` and `gaps acknowledged`: accept gaps as they are, and list the accepted ones."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from crypto_assets.cli.console import out, print_line
from crypto_assets.cli.options import DAY, filters, load_configured, lost_of, today, with_ledger
from crypto_assets.engine.problems import Problem, days_text, spans, word_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crypto_assets.ledger.acknowledgements import Acknowledgement


@click.command()
@filters
@click.option("--from", "first", type=DAY, required=True, help="First day, UTC, included.")
@click.option("--to", "last", type=DAY, help="Last day, UTC, included; default: the first.")
@click.option("--reason", default="", help="Why you accept the days; shown with them.  [required without --withdraw]")
@click.option("--by", help="Who accepts them; default: the user of this process.")
@click.option("--withdraw", "withdrawn", is_flag=True, help="Withdraw the acknowledgement: the days count again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each day.")
def acknowledge(
    first: date,
    last: date | None,
    reason: str,
    by: str | None,
    withdrawn: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Accept gaps as they are: they no longer count and are not requested again.

    Only days that were collected and are missing or partial can be accepted. Days that `crypto-assets fill` can still
    collect (not collected yet, or stored and lost) or that the archive may still publish are refused.

    Name the symbol and the dataset, and give a reason. An acknowledgement ends automatically when the archive has another
    file of the day, or when the day's rows, state or cause change.
    """
    from crypto_assets.config import selection
    from crypto_assets.ledger.pauses import me
    from crypto_assets.quality.acknowledged_gaps import Decision, withdraw_by_hand
    from crypto_assets.quality.acknowledged_gaps import acknowledge as keep

    for name in ("symbols", "datasets"):
        if not filters[name]:
            raise click.UsageError(f"expected --{name.removesuffix('s')}: name what you accept")
    collection = load_configured()
    selected = selection.select(collection, **filters)
    until = last or first
    decision = Decision(selected, first, until, by or me(), reason)
    if withdrawn:
        found = with_ledger(lambda ledger: withdraw_by_hand(ledger, decision))
    else:

        def accept(ledger: Any) -> list[Acknowledgement]:
            tracks = {track for _, of_entry in selected for track in of_entry}
            lost = lost_of(ledger, tracks, first, until, collection).reasons
            return keep(ledger, collection, decision, today=today(), lost=lost)

        found = with_ledger(accept)
    if as_json:
        _print_json(found)
        return
    _print_spans(found, lambda one: f"counts again, it was {one}" if withdrawn else str(one))


@click.command()
@filters
@click.option("--from", "first", type=DAY, help="Only this day and later.")
@click.option("--to", "last", type=DAY, help="Only this day and earlier.")
@click.option("--all", "everything", is_flag=True, help="Include withdrawn ones.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object for each day.")
def acknowledged(
    market_type: str | None,
    symbols: tuple[str, ...],
    datasets: tuple[str, ...],
    everything: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Show the acknowledged gaps: who accepted them, when and why."""
    from crypto_assets.cli.commands.corrections import spellings
    from crypto_assets.ledger.acknowledgements import read_acknowledgements

    def read(ledger: Any) -> list[Acknowledgement]:
        with ledger.transaction() as connection:
            return read_acknowledgements(
                connection,
                market_type=market_type,
                symbols=spellings(symbols),
                datasets=datasets or None,
                holding=not everything,
                **given,
            )

    found = with_ledger(read)
    if as_json:
        _print_json(found)
        return
    _print_spans(found, lambda one: f"{word_of(one.state)}: {one}")
    if not found:
        out.print("no gaps are acknowledged")


def _print_spans(found: Sequence[Acknowledgement], words: Callable[[Acknowledgement], str]) -> None:
    """Print days; equal neighbours share one line."""
    for span in spans(Problem(*one.track_day, None, note=words(one)) for one in found):
        print_line(f"{span.track} {days_text(span.first, span.last)}: {span.note}")


def _print_json(found: Sequence[Acknowledgement]) -> None:
    from crypto_assets.quality.gap_causes import acknowledgement_json

    click.echo(json.dumps([acknowledgement_json(one) for one in found], indent=1))


SUBCOMMANDS = (acknowledge, acknowledged)
