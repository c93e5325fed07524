"""The state of every day of some symbols: `crypto_assets.coverage`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crypto_assets.client.catalog import NAMES
from crypto_assets.client.forms import COUNT, DAY, FLAG, INSTANT, TEXT, Answer, Form, require_form, table_in, with_facts
from crypto_assets.client.home import home_facts, of_home, the_lake, warn_other_origins
from crypto_assets.client.lake_rows import require_symbol
from crypto_assets.client.read import asked_symbols, require_different
from crypto_assets.config.environment import settings_at_start
from crypto_assets.ledger.day_records import database_that_is_there
from crypto_assets.reading.day_coverage import STORED
from crypto_assets.reading.day_states import day_states
from crypto_assets.reading.question import Moment, market_type_of, question

COVERAGE = {
    **NAMES,
    "day": DAY,
    "state": TEXT,
    "reason": TEXT,
    "rows": COUNT,
    "until": INSTANT,
    "acknowledged": TEXT,
    "complete": FLAG,
}


def coverage(
    exchange: str,
    symbols: str | Sequence[str],
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str | None = None,
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
        market = market_type or market_type_of(names)
        wanted = [question(exchange, name, dataset, start, end, market) for name in names]
        require_different(wanted)
        warn_other_origins([exchange])
        for asked in wanted:
            keys = {"exchange": exchange, "market_type": market, "dataset": dataset, "symbol": asked.symbol}
            days = day_states(asked, lake, url)
            if all(one.rows is None and one.state != STORED for one in days):
                require_symbol(asked, lake, url)
            rows += [
                {**keys, **{field: getattr(one, field) for field in COVERAGE if field not in keys}} for one in days
            ]
        return with_facts(table_in(as_, COVERAGE, rows), home_facts())
