"""The symbols that traded on a day: `crypto_assets.universe`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from crypto_assets.client.forms import DAY, FLAG, INSTANT, TEXT, Answer, Form, require_form, table_in, with_facts
from crypto_assets.client.gaps import one_day
from crypto_assets.client.home import from_ledger, home_facts, of_home, the_collection
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.universe import Traded
from crypto_assets.ledger.universe import universe as of_ledger
from crypto_assets.reading.question import require_market

UNIVERSE = {
    "symbol": TEXT,
    "listed": FLAG,
    "traded": FLAG,
    "reason": TEXT,
    "listed_from": INSTANT,
    "listed_until": INSTANT,
    "first_stored": DAY,
    "last_stored": DAY,
}


def universe(
    exchange: str,
    market_type: str = "spot",
    *,
    on: date | str,
    as_: Form = "pandas",
    home: str | Path | None = None,
) -> Answer:
    """Return which symbols traded on a day, from stored data: for a backtest without survivorship bias.

    Examples:
        >>> day = universe("binance", "spot", on="2024-01-05")
        >>> traded = day[day["traded"].fillna(False)]["symbol"].tolist()
        >>> unknown = day[day["traded"].isna()]

    Args:
        exchange, market_type: as in `read`.
        on: a day, UTC.
        as_: `pandas`, `polars` or `arrow`.
        home: as in `read`.

    Returns:
        One row for each symbol that was ever collected, that the exchange was ever seen to list (for markets whose symbols
        a rule of collection.yaml chooses: every symbol, delisted ones included), or that is in collection.yaml:
        `symbol`; `listed` and `traded`, null if unknown (the day is missing, or was not collected); `reason`, the
        evidence; `listed_from` and
        `listed_until`, if its life begins or ends inside the day; `first_stored`, `last_stored`, the first and last
        stored day of the symbol. Trades show that a symbol traded, and bars of up to a day with volume;
        funding does not. Of a symbol that was never collected `listed` is known at most, and `traded` null.
        **Without a rule such as `symbols: all` other symbols of the exchange are not included.**

    Raises:
        ConfigError: an invalid argument.
        NothingCollected: there is no database here.
    """
    require_form(as_)
    with of_home(home):
        require_market(exchange, market_type)
        day = one_day("on", on)
        if day is None:
            raise ConfigError("on: expected a day like 2024-01-31, found None")
        configured = {
            symbol
            for entry in the_collection().series
            if (entry.exchange, entry.market_type) == (exchange, market_type)
            for symbol in entry.symbols
        }

        def known(ledger: Any) -> list[Traded]:
            with ledger.transaction() as connection:
                return of_ledger(connection, exchange, market_type, day, configured)

        rows = [{name: getattr(one, name) for name in UNIVERSE} for one in from_ledger(known)]
        return with_facts(table_in(as_, UNIVERSE, rows), home_facts())
