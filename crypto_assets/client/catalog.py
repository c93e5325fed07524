"""Everything stored or configured: `crypto_assets.catalog`, the facts of `crypto-assets status` and `GET /v1/status`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crypto_assets.client.forms import COUNT, DAY, FLAG, TEXT, Answer, Form, require_form, table_in, with_facts
from crypto_assets.client.home import (
    from_ledger,
    home_facts,
    names_of,
    of_home,
    the_collection,
    the_lake,
    today,
    warn_other_origins,
)
from crypto_assets.config.environment import settings_at_start
from crypto_assets.ledger.coverage import Coverage, known_coverage
from crypto_assets.ledger.coverage_filter import chosen
from crypto_assets.model.day_counts import DAY_COUNTS

Names = str | Sequence[str] | None
"""A filter: one text, several, or all."""

NAMES = {"exchange": TEXT, "market_type": TEXT, "dataset": TEXT, "symbol": TEXT}

CATALOG = {
    **NAMES,
    "in_collection": FLAG,
    "first_stored": DAY,
    "last_stored": DAY,
    "rows": COUNT,
    "size_bytes": COUNT,
    **dict.fromkeys(("days", *DAY_COUNTS), COUNT),
    "checks": COUNT,
    "failed_checks": COUNT,
    "corrections": COUNT,
    "first_day": DAY,
    "last_day": DAY,
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
        published yet) and `corrected` (published again, but the new file could not be used); `provisional` are those of the
        complete days that are from a feed that is not final; `checks`, `failed_checks`, `corrections`;
        `first_day`, `last_day` with a record, even of no data. Counted are the days of collection.yaml up to yesterday,
        and today if it is complete so far; outside collection.yaml the days with a record.

    Raises:
        ConfigError: a filter matches nothing, or collection.yaml cannot be read.
        NothingCollected: there is no database here.
    """
    require_form(as_)
    with of_home(home):
        warn_other_origins()
        found = from_ledger(lambda ledger: known_coverage(the_collection(), ledger, the_lake(), today())[1])
        wanted = {"exchange": exchange, "market_type": market_type, "dataset": dataset}
        rows = [{name: getattr(one, name) for name in CATALOG} for one in filtered(found, symbols, **wanted)]
        return with_facts(table_in(as_, CATALOG, rows), home_facts())


def filtered(found: Sequence[Coverage], symbols: Names, **filters: Names) -> list[Coverage]:
    given = {name: names_of(name, values) for name, values in filters.items()}
    return chosen(found, names_of("symbols", symbols), str(settings_at_start().config), **given)
