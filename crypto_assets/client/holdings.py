"""Stored data, its completeness and its gaps: `catalog`, `coverage`, `gaps`.

The same facts as `crypto-assets status`, `GET /v1/status` and `crypto-assets gaps`, as tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from crypto_assets.client.facts import (
    from_ledger,
    home_facts,
    names_of,
    of_home,
    the_collection,
    the_lake,
    today,
)
from crypto_assets.client.forms import COUNT, DAY, FLAG, INSTANT, TEXT, Answer, Form, require_form, table_in, with_facts
from crypto_assets.client.lake_rows import require_symbol
from crypto_assets.client.rows import asked_symbols, require_different
from crypto_assets.config.environment import settings_at_start
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.coverage import Coverage, known_coverage
from crypto_assets.ledger.coverage_filter import chosen
from crypto_assets.ledger.day_records import database_that_is_there
from crypto_assets.model import STORED_STATES, Track
from crypto_assets.reading.day_coverage import STORED
from crypto_assets.reading.day_states import day_states
from crypto_assets.reading.question import Moment, question

Names = str | Sequence[str] | None
"""A filter: one text, several, or all."""

_NAMES = {"exchange": TEXT, "market_type": TEXT, "dataset": TEXT, "symbol": TEXT}

CATALOG = {
    **_NAMES,
    "in_collection": FLAG,
    "first_stored": DAY,
    "last_stored": DAY,
    "rows": COUNT,
    "size_bytes": COUNT,
    **dict.fromkeys(
        ("days", "complete", "partial", "missing", "not_collected", "no_data", "acknowledged", "pending", "corrected"),
        COUNT,
    ),
    "checks": COUNT,
    "failed_checks": COUNT,
    "corrections": COUNT,
    "first_day": DAY,
    "last_day": DAY,
}

COVERAGE = {
    **_NAMES,
    "day": DAY,
    "state": TEXT,
    "reason": TEXT,
    "rows": COUNT,
    "until": INSTANT,
    "acknowledged": TEXT,
    "complete": FLAG,
}

GAPS = {
    **_NAMES,
    "day": DAY,
    "state": TEXT,
    "reason": TEXT,
    "cause": TEXT,
    "minutes_missing": COUNT,
    "acknowledged": TEXT,
    "open": FLAG,
}


def catalog(
    exchange: Names = None,
    market_type: Names = None,
    symbols: Names = None,
    dataset: Names = None,
    *,
    as_: Form = "pandas",
    home: str | Path | None = None,
) -> Answer:
    """Return everything stored or configured: one row for each symbol of each dataset.

    Examples:
        >>> catalog()[["dataset", "symbol", "first_stored", "last_stored", "rows"]]
        >>> stored = catalog("binance", "spot", dataset="ohlcv_1m").query("rows > 0")["symbol"].tolist()

    Args:
        exchange, market_type, dataset: only these; one text or a list.
        symbols: only these; `BTC/USDT` is that pair in every market type, `BTC/USDT:USDT` only the contract.
        as_: `pandas`, `polars` or `arrow`.
        home: as in `read`.

    Returns:
        Columns: `exchange`, `market_type`, `dataset`, `symbol`; `in_collection`: collection.yaml names it;
        `first_stored`, `last_stored`, `rows`, `size_bytes` of the files in the lake; counts of days: `days` is the sum
        of `complete`, `partial` (state `degraded`), `missing`, `not_collected`, `no_data`, `acknowledged`, `pending` (not
        published yet) and `corrected` (published again, but the new file could not be used); `checks`, `failed_checks`,
        `corrections`; `first_day`, `last_day` with a record, even of no data. Counted are the days of collection.yaml up to
        yesterday, and today if it is complete so far; outside collection.yaml the days with a record.

    Raises:
        ConfigError: a filter matches nothing, or collection.yaml cannot be read.
        NothingCollected: there is no database here.
    """
    require_form(as_)
    with of_home(home):
        found = from_ledger(lambda ledger: known_coverage(the_collection(), ledger, the_lake(), today())[1])
        wanted = {"exchange": exchange, "market_type": market_type, "dataset": dataset}
        rows = [{name: getattr(one, name) for name in CATALOG} for one in _filtered(found, symbols, **wanted)]
        return with_facts(table_in(as_, CATALOG, rows), home_facts())


def _filtered(found: Sequence[Coverage], symbols: Names, **filters: Names) -> list[Coverage]:
    given = {name: names_of(name, values) for name, values in filters.items()}
    return chosen(found, names_of("symbols", symbols), str(settings_at_start().config), **given)


def coverage(
    exchange: str,
    symbols: str | Sequence[str],
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str = "spot",
    *,
    as_: Form = "pandas",
    home: str | Path | None = None,
) -> Answer:
    """Return the coverage of every day of some symbols: its state and the reason. No file is opened.

    Examples:
        >>> days = coverage("binance", ["BTC/USDT", "ETH/USDT"], "ohlcv_1m", "2024-01-01", "2024-01-31")
        >>> days[~days["complete"]][["symbol", "day", "state", "reason"]]

    Args:
        exchange, symbols, dataset, start, end, market_type: as in `read`.
        as_: `pandas`, `polars` or `arrow`.
        home: as in `read`.

    Returns:
        One row for each symbol and day, in the order of the symbols: `exchange`, `market_type`, `dataset`, `symbol`, `day`,
        `state` (as in the ledger: `available`, `provisional`, `degraded`, `missing`, `no_data`, `pending`, `corrected`; or
        `not_collected`, or `stored` if only the file is known), `reason`, `rows`, `until` (how far an unfinished day
        goes), `acknowledged` (who accepts it, when and why), `complete`. A day whose file is missing in the lake, or has
        another size than in the ledger, is `missing`; `read` compares bytes too.

    Raises:
        ConfigError: as in `read`.
        PostgresUnavailable: the database does not answer.
    """
    require_form(as_)
    with of_home(home):
        lake = the_lake()
        rows: list[dict[str, Any]] = []
        url = database_that_is_there(settings_at_start())
        names = asked_symbols(symbols)
        wanted = [
            question(exchange, name, dataset, start, end, market_type, None, "lake", None, None) for name in names
        ]
        require_different(wanted)
        for asked in wanted:
            keys = {"exchange": exchange, "market_type": market_type, "dataset": dataset, "symbol": asked.symbol}
            days = day_states(asked, lake, url)
            if all(one.rows is None and one.state != STORED for one in days):
                require_symbol(asked, lake, url)
            rows += [
                {**keys, **{field: getattr(one, field) for field in COVERAGE if field not in keys}} for one in days
            ]
        return with_facts(table_in(as_, COVERAGE, rows), home_facts())


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
        (docs/incidents.md), `minutes_missing` (of a partial day as its bars show, null if they do not; of a day without
        rows all 1440), `acknowledged` (who accepts the
        day, when and why) and `open`: nobody accepts it. No rows: nothing is missing. `crypto-assets gaps` asks the
        exchange again about days that are `no_data` by inference, if the last look is a day old; this function does not.

    Raises:
        ConfigError: no collection.yaml, or a filter matches nothing.
        NothingCollected: there is no database here.
    """
    require_form(as_)
    with of_home(home):
        first, last = one_day("start", start), one_day("end", end)
        if first is not None and last is not None and last < first:
            raise ConfigError(f"start {start}, end {end}: expected the start before the end")
        rows = _gaps(first, last, symbols, exchange=exchange, market_type=market_type, dataset=dataset)
        return with_facts(table_in(as_, GAPS, rows), home_facts())


def _gaps(first: date | None, last: date | None, symbols: Names, **filters: Names) -> list[dict[str, Any]]:
    from crypto_assets.config.collection import load_collection
    from crypto_assets.ledger.gaps import gaps as find
    from crypto_assets.ledger.lakes import lost_days
    from crypto_assets.quality.gap_causes import Explained, explain

    collection = load_collection(settings_at_start().config)
    all_of_it = [
        Coverage(series.exchange, series.market_type, symbol, series.dataset)
        for entry in collection.series
        for series in entry.series
        for symbol in entry.symbols
    ]
    kept = {(o.exchange, o.market_type, o.dataset, o.symbol) for o in _filtered(all_of_it, symbols, **filters)}
    tracks = {
        Track(series, symbol)
        for entry in collection.series
        for series in entry.series
        for symbol in entry.symbols
        if (series.exchange, series.market_type, series.dataset, symbol) in kept
    }

    def known(ledger: Any) -> list[Explained]:
        lost = lost_days(ledger, the_lake(), tracks, first, last, collection).reasons
        return explain(
            ledger, list(find(collection, ledger, today(), tracks=tracks, first=first, last=last, lost=lost))
        )

    return [_gap_row(one) for one in from_ledger(known)]


def _gap_row(one: Any) -> dict[str, Any]:
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


def _minutes_missing(one: Any) -> int | None:
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
