"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from crypto_assets.cli.console import err, escape
from crypto_assets.machine.ports import HOST, HOSTS


class _Day(click.ParamType):
    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> date:
        """Return the day; the last day of a command must not be before its first, whichever is written first."""
        day = self._day(value, param, context)
        if param is not None and context is not None and param.name in ("first", "last"):
            given = {**context.params, param.name: day}
            _require_order(given.get("first"), given.get("last"))
        return day

    def _day(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        if value in _RELATIVE_DAYS:
            return today() - timedelta(days=_RELATIVE_DAYS[value])
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day; write 2024-01-31, yesterday or today", param, context)


def _require_order(first: date | None, last: date | None) -> None:
    from crypto_assets.errors import ConfigError

    if first and last and last < first:
        raise ConfigError(f"--from {first} --to {last}: expected --from on or before --to")


_RELATIVE_DAYS = {"today": 0, "yesterday": 1}
"""Words for a day, with its distance from today in UTC days."""


DAY = _Day()

HOST_OPTION = click.option(
    "--host",
    type=click.Choice(HOSTS),
    default=HOST,
    show_default=True,
    help="Address to listen on. 0.0.0.0 is for containers and needs CRYPTO_ASSETS_UI_USERS=*.",
)


ENVIRONMENT = f"{__name__}.environment"
"""Where a command's context has the names of the variables that were set before it began."""


def once(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return the value of an option that may be given once; click itself would take the last of several in silence."""
    if len(values) > 1:
        raise click.BadParameter(f"expected one, found {', '.join(values)}; run the command for each", param=option)
    return values[0] if values else None


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option("--exchange", multiple=True, callback=once, help="Only this exchange."),
            click.option(
                "--market-type",
                multiple=True,
                callback=once,
                help="Only this market type: spot, linear, inverse or news.",
            ),
            click.option(
                "--symbol",
                "symbols",
                multiple=True,
                help="Only this symbol; may be repeated. BTC/USDT (or btc-usdt) selects the pair in every market type, "
                "BTC/USDT:USDT only the contract.",
            ),
            click.option(
                "--dataset", "datasets", multiple=True, help="Only this dataset, e.g. ohlcv_1m; may be repeated."
            ),
        )
    ):
        command = option(command)
    return command


def today() -> date:
    """Return the current UTC day, one value for a whole command: midnight must not pass between two looks at the clock."""
    context = click.get_current_context(silent=True)
    now = datetime.now(UTC).date()
    return now if context is None else context.meta.setdefault(f"{__name__}.today", now)


def load_configured() -> Any:
    """Return the collection, with the symbols that its rules choose; say on stderr which rules choose none yet."""
    from crypto_assets.config.environment import settings
    from crypto_assets.ledger.symbol_rules import hints, load_known_collection

    collection = load_known_collection(settings().config)
    for line in hints(collection):
        err.print(line, markup=False)
    return collection


def known_collection() -> Any:
    """Return the collection; an empty one if there is no file of it."""
    from crypto_assets.config.collection import Collection
    from crypto_assets.config.environment import settings
    from crypto_assets.ledger.symbol_rules import load_known_collection

    path = settings().config
    return load_known_collection(path) if path.exists() else Collection.empty()


def load_listed(*, required: bool = True) -> Any:
    """Return the collection as `load_configured`, after the symbols that its rules choose from were listed.

    Raises:
        ConfigError: no entry has a symbol, and one is `required`.
    """
    from crypto_assets.config.collection import load_collection
    from crypto_assets.config.environment import settings
    from crypto_assets.engine.universe import RECENT, refresh_universe
    from crypto_assets.errors import ConfigError
    from crypto_assets.ledger.symbol_rules import hints, load_known_collection

    path = settings().config
    if (ruled := load_collection(path)).ruled:
        found = with_ledger(lambda ledger: refresh_universe(ruled, ledger, older_than=RECENT, lives=0), make=True)
        for line in (line for one in found for line in one.in_words()):
            err.print(line, markup=False)
    collection = load_known_collection(path)
    if required and not collection.series:
        raise ConfigError(hints(collection))
    for line in hints(collection):
        err.print(line, markup=False)
    return collection


def with_ledger(use: Callable[[Any], Any], *, make: bool = False) -> Any:
    """Return the result of `use` on the ledger; `make` allows creating the database if it does not exist."""
    from crypto_assets.defs.places import configured_ledger
    from crypto_assets.storage.patience import outlast

    with configured_ledger(make=make) as ledger:
        return outlast(use, ledger)


def lost_of(
    ledger: Any, tracks: Any, first: date | None = None, last: date | None = None, collection: Any = None
) -> Any:
    """Return the stored days that are missing in the configured lake; warn when the ledger belongs to another lake.

    With a collection, include days whose table in Postgres was emptied.
    """
    from crypto_assets.defs.places import configured_lake
    from crypto_assets.ledger.lakes import lost_days

    if collection is not None:
        say_other_origins(ledger, collection)
    lost = lost_days(ledger, configured_lake(), tracks, first, last, collection)
    _say_other_lake(lost)
    return lost


def coverage_of(collection: Any) -> tuple[list[Any], list[Any]]:
    """Return the gaps of a collection and the coverage of everything stored or configured; warns about another lake."""
    from crypto_assets.defs.places import configured_lake
    from crypto_assets.ledger.coverage import known_coverage

    def look(ledger: Any) -> Any:
        say_other_origins(ledger, collection)
        return known_coverage(collection, ledger, configured_lake(), today())

    gaps, found, lost = with_ledger(look)
    _say_other_lake(lost)
    return gaps, found


def say_other_origins(ledger: Any, collection: Any) -> None:
    """Warn, once in a command, when stored days came from another archive than the configured one."""
    from crypto_assets.ledger.origins import other_origins

    context = click.get_current_context(silent=True)
    said: set[str] = set() if context is None else context.meta.setdefault(f"{__name__}.origins", set())
    lines = [line for line in other_origins(ledger, collection) if line not in said]
    said.update(lines)
    for line in lines:
        err.print(line, markup=False)


def _say_other_lake(lost: Any) -> None:
    if lost.other and lost.notice:
        err.print(lost.notice, markup=False)


def look_again(
    collection: Any, filters: dict[str, Any], *, older_than: timedelta, timeout_s: float, make: bool = False
) -> None:
    """Check days again that are `no_data` by inference, where the last look is old enough; print the result."""
    from crypto_assets.config import selection
    from crypto_assets.config.environment import settings
    from crypto_assets.engine.archive.review import review
    from crypto_assets.quality.stored_causes import refresh_causes_of

    chosen = selection.select(collection, **filters)

    def look(ledger: Any) -> Any:
        found = review(collection, ledger, chosen, older_than=older_than, timeout_s=timeout_s, egress=settings().egress)
        refresh_causes_of(ledger, found.reopened)
        return found

    for line in with_ledger(look, make=make).in_words():
        err.print(escape(line))


def gaps_by_entry(
    collection: Any, first: date | None, last: date | None, filters: dict[str, Any], *, make: bool = False
) -> list[tuple[Any, list[Any]]]:
    """Return the gaps of each entry that match the filters; name days that cannot be requested on stderr.

    Raises:
        ConfigError: a filter matches nothing, or no day is left.
    """
    from crypto_assets.config import selection
    from crypto_assets.ledger.gaps import gaps as find

    requests, note = selection.clip(collection, selection.select(collection, **filters), first, last, today())
    if note:
        err.print(f"note: {note}", markup=False)

    def of_entry(ledger: Any) -> Iterator[tuple[Any, list[Any]]]:
        if not requests:
            return
        first, last = min(request.first for request in requests), max(request.last for request in requests)
        tracks = {track for request in requests for track in request.tracks}
        lost = lost_of(ledger, tracks, first, last, collection).reasons
        for request in requests:
            found = find(
                collection,
                ledger,
                today(),
                [request.entry],
                tracks=set(request.tracks),
                first=request.first,
                last=request.last,
                lost=lost,
            )
            yield request.entry, list(found)

    return list(with_ledger(lambda ledger: list(of_entry(ledger)), make=make))
