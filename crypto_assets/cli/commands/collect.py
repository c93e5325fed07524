"""`collect` and `fill`: collect days through Dagster, in this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import click

from crypto_assets.cli.console import err, out, print_error
from crypto_assets.cli.help import Help
from crypto_assets.cli.options import (
    DAY,
    filters,
    gaps_by_entry,
    load_listed,
    look_again,
    lost_of,
    today,
    with_ledger,
)
from crypto_assets.cli.progress import progress
from crypto_assets.cli.run_outcome import Asked, print_json, print_unchosen, problem_of_gap, report
from crypto_assets.engine.problems import Problem

_NEW_LAKE = click.option(
    "--new-lake",
    is_flag=True,
    help="Accept the lake that is there now, although another one was at its place: lost, or emptied on purpose.",
)

_NEW_ORIGIN = click.option(
    "--new-origin",
    is_flag=True,
    help="Accept the archive in collection.yaml, although the stored days came from another one.",
)


def _output(command: Any) -> Any:
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON with every day.")(command)
    return click.option("--verbose", is_flag=True, help="One line for each incomplete day.")(command)


@click.command(
    cls=Help,
    examples=(
        ("collect --from 2024-01-01 --to 2024-01-31 --symbol BTC/USDT", "One symbol, one month"),
        ("collect --from 2024-01-01 --to today --dataset ohlcv_1m", "One dataset up to now"),
    ),
)
@filters
@click.option(
    "--from", "first", type=DAY, required=True, help="First day, UTC, included: 2024-01-31, yesterday, today."
)
@click.option(
    "--to",
    "last",
    type=DAY,
    show_default="yesterday; today with --from today",
    help="Last day, UTC, included; today: up to now.",
)
@_NEW_LAKE
@_NEW_ORIGIN
@_output
def collect(
    first: date, last: date | None, new_lake: bool, new_origin: bool, verbose: bool, as_json: bool, **filters: Any
) -> None:
    """Collect a range of days of the series in collection.yaml.

    Stored days are verified, not downloaded again.
    """
    from crypto_assets.config import selection

    collection = load_listed()
    asked = dict(filters)
    misspelt = _without_misspelt(collection, filters)
    selected = selection.select(collection, **filters)
    now = today()
    if last is None and first < now:
        last = now - timedelta(days=1)
    requests, note = selection.clip(collection, selected, first, last, now, with_today=True)
    if note:
        err.print(f"note: {note}", markup=False)
    tracks = {track for request in requests for track in request.tracks}
    _require_same(collection, new_lake=new_lake, new_origin=new_origin)
    with_ledger(lambda ledger: lost_of(ledger, tracks), make=True)
    unchosen = selection.without_symbols(collection, first, last or now, **asked)
    sys.exit(collect_all(collection, requests, misspelt, unchosen=unchosen, as_json=as_json, verbose=verbose))


@click.command(
    cls=Help,
    examples=(
        ("fill", "Everything up to yesterday"),
        ("fill --symbol BTC/USDT --from 2024-01-01", "One symbol from a day on"),
    ),
)
@filters
@click.option("--from", "first", type=DAY, help="Only this day and later.")
@click.option("--to", "last", type=DAY, help="Only this day and earlier.")
@_NEW_LAKE
@_NEW_ORIGIN
@_output
def fill(
    first: date | None,
    last: date | None,
    new_lake: bool,
    new_origin: bool,
    verbose: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Collect what is missing.

    These are all incomplete days from each entry's start to yesterday.
    """
    from crypto_assets.config import selection
    from crypto_assets.config.environment import settings
    from crypto_assets.engine.archive.settled import unchanged
    from crypto_assets.ledger.symbol_rules import hints

    collection = load_listed()
    unchosen = selection.without_symbols(collection, first, last or today() - timedelta(days=1), **filters)
    misspelt = _without_misspelt(collection, filters)
    _require_same(collection, new_lake=new_lake, new_origin=new_origin)
    look_again(collection, filters, older_than=timedelta(0), timeout_s=15.0, make=True)
    found = gaps_by_entry(collection, first, last, filters, make=True)
    open_ = [gap for _, of_entry in found for gap in of_entry if gap.is_open]
    settled = with_ledger(lambda ledger: unchanged(collection, ledger, open_, egress=settings().egress), make=True)
    left_out = {gap.track_day for gap in settled}
    requests = []
    for entry, of_entry in found:
        missing = [gap.track_day for gap in of_entry if gap.is_open]
        requests += selection.as_few_requests(entry, [place for place in missing if place not in left_out])
    if settled:
        days = "1 partial day" if len(settled) == 1 else f"{len(settled)} partial days"
        err.print(
            f"{days}: the archive has no file other than the stored one; `crypto-assets gaps` shows what is missing"
        )
    if requests:
        left = [problem_of_gap(gap) for gap in settled]
        sys.exit(collect_all(collection, requests, misspelt, left, unchosen=unchosen, as_json=as_json, verbose=verbose))
    nothing = hints(collection, unchosen)
    if as_json:
        print_json(Asked(requests, misspelt=misspelt, unchosen=nothing), [], [problem_of_gap(gap) for gap in settled])
    elif nothing:
        print_unchosen(nothing)
    elif not settled:
        out.print("nothing is missing")
    sys.exit(1 if misspelt or settled or nothing else 0)


def _require_same(collection: Any, *, new_lake: bool, new_origin: bool) -> None:
    """Check that the lake is where it was, and that stored days came from the configured archives; or accept others.

    Raises:
        StoredDataError: another lake is in its place, or other archives are configured.
    """
    from crypto_assets.defs.places import configured_lake
    from crypto_assets.ledger.lakes import remember_lake, require_lake
    from crypto_assets.ledger.origins import remember_origins, require_origins

    lake = configured_lake()

    def look(ledger: Any) -> None:
        (remember_lake if new_lake else require_lake)(ledger, lake)
        (remember_origins if new_origin else require_origins)(ledger, collection)

    with_ledger(look, make=True)


def _without_misspelt(collection: Any, filters: dict[str, Any]) -> list[str]:
    """Remove symbols and datasets that the collection does not have from the filters; print and return what is wrong.

    Raises:
        ConfigError: no symbol or no dataset is left.
    """
    from crypto_assets.config import selection
    from crypto_assets.errors import ConfigError

    found: list[str] = []
    for name, known in (("symbols", selection.known_symbols), ("datasets", selection.known_datasets)):
        good, wrong = known(collection, filters[name])
        if wrong and not good:
            raise ConfigError(wrong)
        filters[name] = tuple(good)
        found += wrong
    for problem in found:
        _say_wrong(problem)
    return found


def collect_all(
    collection: Any,
    requests: Sequence[Any],
    misspelt: Sequence[str] = (),
    left: Sequence[Problem] = (),
    *,
    unchosen: Sequence[Any] = (),
    as_json: bool,
    verbose: bool = False,
) -> int:
    """Collect days, print the result, and return the exit code.

    Args:
        left: incomplete days that are not requested now; this has been printed already.
        unchosen: requested entries whose rule has chosen no symbol: nothing of them is collected.

    Raises:
        UnknownSymbol: the exchange knows none of the symbols.
    """
    from crypto_assets.defs import runs
    from crypto_assets.engine import preflight
    from crypto_assets.errors import UnknownSymbol
    from crypto_assets.ledger.symbol_rules import hints

    with err.status("asking the exchange"):
        found = with_ledger(lambda ledger: preflight.check(collection, requests, ledger, today()), make=True)
    if found.unknown and not found.requests and not found.unreachable:
        raise UnknownSymbol(preflight.unknown_in_words(found.unknown))
    for problem in preflight.unknown_in_words(found.unknown):
        _say_wrong(problem)
    down, never_asked = dict(found.unreachable), set(found.never_asked)
    if found.requests:
        with progress(sum(request.days for request in found.requests), as_json, "collecting") as step:
            skipped = runs.execute(collection, found.requests, step)
        down |= skipped.failures
        never_asked |= skipped.tracks
    asked = Asked(
        requests,
        down,
        found.unknown,
        misspelt,
        never_asked=never_asked,
        left=left,
        unchosen=hints(collection, unchosen),
    )
    return report(asked, as_json=as_json, verbose=verbose)


def _say_wrong(problem: str) -> None:
    print_error(problem)


SECTION = "Collect"
COMMANDS = (collect, fill)
