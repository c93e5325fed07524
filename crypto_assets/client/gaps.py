"""Every incomplete day with its cause: `crypto_assets.gaps`, the facts of `crypto-assets gaps`."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crypto_assets.client.catalog import NAMES, Names, filtered
from crypto_assets.client.forms import COUNT, DAY, FLAG, TEXT, Answer, Form, require_form, table_in, with_facts
from crypto_assets.client.home import from_ledger, home_facts, names_of, of_home, the_lake, today, warn_other_origins
from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.coverage import Coverage
from crypto_assets.model import STORED_STATES
from crypto_assets.model.kinds import Kind

if TYPE_CHECKING:
    from crypto_assets.config.collection import Collection
    from crypto_assets.ledger.partitions import Ledger
    from crypto_assets.ledger.symbol_rules import Unchosen
    from crypto_assets.quality.gap_causes import Explained

GAPS = {
    **NAMES,
    "day": DAY,
    "state": TEXT,
    "reason": TEXT,
    "cause": TEXT,
    "minutes_missing": COUNT,
    "acknowledged": TEXT,
    "open": FLAG,
}


def gaps(
    exchange: Names = None,
    market_type: Names = None,
    symbols: Names = None,
    dataset: Names = None,
    start: date | str | None = None,
    end: date | str | None = None,
    *,
    as_: Form = "pandas",
    home: str | Path | None = None,
) -> Answer:
    """Return every incomplete day of collection.yaml, up to yesterday, with its cause: one row for each.

    Examples:
        >>> missing = gaps("binance", symbols="BTC/USDT")
        >>> missing[missing["open"]].groupby("cause")["day"].count()

    Args:
        exchange, market_type, symbols, dataset: only these, as in `catalog`.
        start, end: limit the days, both included.
        as_: `pandas`, `polars` or `arrow`.
        home: as in `read`.

    Returns:
        Columns: `exchange`, `market_type`, `dataset`, `symbol`, `day`, `state` (null: not collected yet), `reason`, `cause`
        (docs/concepts/incidents.md), `minutes_missing` (of a partial day as its bars show, null if they do not; of a day
        without rows all 1440), `acknowledged` (who accepts the day, when and why) and `open`: nobody accepts it. Where an
        entry by rule (`symbols: all`) has no symbol yet, `symbol` and `day` are null, and `reason` says why. No rows: nothing
        is missing. `crypto-assets gaps` asks the exchange again about days that are `no_data` by inference, if the
        last look is a day old; this function does not.

    Raises:
        ConfigError: no collection.yaml, a filter matches nothing, or `start` is after `end`.
        NothingCollected: there is no database here.
    """
    require_form(as_)
    with of_home(home):
        first, last = one_day("start", start), one_day("end", end)
        if first is not None and last is not None and last < first:
            raise ConfigError(f"start {start}, end {end}: expected the start on or before the end")
        warn_other_origins()
        rows = _gaps(first, last, symbols, exchange=exchange, market_type=market_type, dataset=dataset)
        return with_facts(table_in(as_, GAPS, rows), home_facts())


def _gaps(first: date | None, last: date | None, symbols: Names, **filters: Names) -> list[dict[str, Any]]:
    from crypto_assets.ledger.gaps import gaps as find
    from crypto_assets.ledger.lakes import lost_days
    from crypto_assets.ledger.symbol_rules import load_known_collection
    from crypto_assets.quality.gap_causes import explain

    collection = load_known_collection(settings_at_start().config)
    named = {
        (track.series.exchange, track.series.market_type, track.symbol, track.series.dataset): track
        for entry in collection.series
        for track in entry.tracks
    }
    waiting = _waiting(collection, first, last, symbols, **filters)
    try:
        kept = filtered([Coverage(*names) for names in named], symbols, **filters)
    except ConfigError:
        if not waiting:  # else the filters match an entry without symbols
            raise
        kept = []
    tracks = {named[one.exchange, one.market_type, one.symbol, one.dataset] for one in kept}

    def known(ledger: Ledger) -> list[Explained]:
        lost = lost_days(ledger, the_lake(), tracks, first, last, collection).reasons
        return explain(
            ledger, list(find(collection, ledger, today(), tracks=tracks, first=first, last=last, lost=lost))
        )

    return [*map(_unchosen_row, waiting), *map(_gap_row, from_ledger(known) if tracks or not waiting else ())]


def _waiting(
    collection: Collection, first: date | None, last: date | None, symbols: Names, **filters: Names
) -> list[Unchosen]:
    """Return the datasets of entries without a symbol yet that match the filters."""
    from crypto_assets.config.selection import without_symbols
    from crypto_assets.ledger.symbol_rules import unchosen

    given = {name: names_of(name, values) for name, values in filters.items()}
    some = names_of("symbols", symbols) or ()
    entries = without_symbols(collection, first, last or today() - timedelta(days=1), symbols=some)
    return [
        one
        for one in unchosen(collection, entries)
        if all(values is None or getattr(one, name) in values for name, values in given.items())
    ]


def _unchosen_row(one: Unchosen) -> dict[str, Any]:
    facts = {"exchange": one.exchange, "market_type": one.market_type, "dataset": one.dataset, "reason": one.reason}
    return dict.fromkeys(GAPS) | facts | {"cause": Kind.NOT_COLLECTED.value, "open": True}


def _gap_row(one: Explained) -> dict[str, Any]:
    gap, series = one.gap, one.gap.series
    noted = gap.acknowledged
    return {
        "exchange": series.exchange,
        "market_type": series.market_type,
        "dataset": series.dataset,
        "symbol": gap.symbol,
        "day": gap.day,
        "state": gap.state,
        "reason": gap.reason,
        "cause": one.cause.kind.value,
        "minutes_missing": _minutes_missing(one),
        "acknowledged": str(noted) if noted is not None and noted.holds else None,
        "open": gap.is_open,
    }


def _minutes_missing(one: Explained) -> int | None:
    """Return the missing minutes of a partial day from its bars, all minutes of a day without rows; None: unknown."""
    found = sum(round((span.end - span.start).total_seconds() / 60) for span in one.spans if span.missing)
    if found:
        return int(found)
    return None if one.gap.state in STORED_STATES and not one.gap.lost else 24 * 60


def one_day(name: str, given: date | str | None) -> date | None:
    if given is None:
        return None
    try:
        return date.fromisoformat(given) if isinstance(given, str) else date(given.year, given.month, given.day)
    except (ValueError, AttributeError):
        raise ConfigError(f"{name}: expected a day like 2024-01-31, found {given!r}") from None
