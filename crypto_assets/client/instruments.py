"""What exchanges say about their symbols: `crypto_assets.instruments`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crypto_assets.client.catalog import Names
from crypto_assets.client.forms import FLAG, INSTANT, TEXT, Answer, Form, require_form, table_in, with_facts
from crypto_assets.client.gaps import one_day
from crypto_assets.client.home import from_ledger, home_facts, names_of, of_home
from crypto_assets.ledger.instruments import KnownInstrument, asked_markets, instruments_at
from crypto_assets.model import Partition, unified_symbol

if TYPE_CHECKING:
    from crypto_assets.ledger.partitions import Ledger

_DECIMAL = pa.decimal128(38, 18)

INSTRUMENTS = {
    **dict.fromkeys(("exchange", "market_type", "symbol", "exchange_symbol", "base", "quote", "settle"), TEXT),
    "contract_size": _DECIMAL,
    "inverse": FLAG,
    "tick_size": _DECIMAL,
    "lot_size": _DECIMAL,
    "listed_at": INSTANT,
    "delisted_at": INSTANT,
    "status": TEXT,
    "renamed_from": TEXT,
    "valid_from": INSTANT,
    "valid_until": INSTANT,
    "inferred": FLAG,
}


def instruments(
    exchange: Names = None,
    market_type: Names = None,
    symbols: Names = None,
    *,
    on: date | str | None = None,
    as_: Form = "pandas",
    home: str | Path | None = None,
) -> Answer:
    """Return what exchanges say about their symbols: names, contract sizes, steps of prices and amounts, lives.

    Examples:
        >>> instruments("binance", "inverse")[["symbol", "contract_size", "tick_size"]]
        >>> then = instruments("binance", "spot", on="2024-01-05")

    Args:
        exchange, market_type: only these; one text or a list.
        symbols: only these; `BTC/USDT` is that pair in every market type, `BTC/USDT:USDT` only the contract.
        on: as it was at the end of a day, UTC; default: now.
        as_: `pandas`, `polars` or `arrow`.
        home: as in `read`.

    Returns:
        One row for each symbol that its exchange ever named to us: the columns of `market.instruments`; sizes and steps are
        decimals. `valid_from` and `valid_until` are when answers said so; an exchange is asked once a day. `inferred`: nobody
        knows whether it was so on that day, because the exchange was first asked later, or no longer had the symbol.

    Raises:
        ConfigError: an invalid argument. NothingCollected: there is no database here.
    """
    require_form(as_)
    with of_home(home):
        day = one_day("on", on)
        wanted = names_of("symbols", symbols)
        rows = from_ledger(
            lambda ledger: known_rows(
                ledger, names_of("exchange", exchange), names_of("market_type", market_type), wanted, day
            )
        )
        return with_facts(table_in(as_, INSTRUMENTS, rows), home_facts())


def known_rows(
    ledger: Ledger,
    exchanges: Iterable[str] | None = None,
    market_types: Iterable[str] | None = None,
    symbols: Iterable[str] | None = None,
    day: date | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of `instruments`, by exchange, market type and symbol."""
    instant = datetime.now(UTC) if day is None else Partition("", day).end
    texts = None if symbols is None else list(symbols)
    found: list[KnownInstrument] = []
    with ledger.transaction() as connection:
        for exchange, market_type, _ in asked_markets(connection):
            if (exchanges is None or exchange in exchanges) and (market_types is None or market_type in market_types):
                only = None if texts is None else [one for text in texts for one in _symbols_of(text, market_type)]
                found += instruments_at(connection, exchange, market_type, instant, only).values()
    return [_row(known, instant) for known in found]


def _symbols_of(text: str, market_type: str) -> list[str]:
    """Return a typed symbol as a market type has it; none if it cannot have it."""
    try:
        return [unified_symbol(text, market_type)]
    except ValueError:
        return []


def _row(known: KnownInstrument, instant: datetime) -> dict[str, Any]:
    return {
        **{name: getattr(known.instrument, name) for name in INSTRUMENTS if hasattr(known.instrument, name)},
        "valid_from": known.valid_from,
        "valid_until": known.valid_until,
        "inferred": known.is_inferred(instant),
    }
