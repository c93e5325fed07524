"""A query from the command line: series, symbols and days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

from crypto_assets.config.feed_names import is_feed_name
from crypto_assets.errors import ConfigError
from crypto_assets.model import MARKET_TYPES, Series, Track, unified_symbol
from crypto_assets.model.symbols import similar_symbols, symbol_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """An empty field selects everything. `BTC/USDT` and `BTC-USDT` mean that pair in every market type; days are included."""

    exchange: str | None = None
    market_type: str | None = None
    symbols: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for text that is not a symbol, or for a first day after the last."""
        for symbol in self.symbols:
            if not _spellings(symbol):
                raise ConfigError(
                    f"symbol {symbol!r}: expected the form BTC/USDT, BTC/USDT:USDT or BTC/USDT:USDT-240628"
                )
        if self.first and self.last and self.last < self.first:
            raise ConfigError(f"--from {self.first} --to {self.last}: expected --from on or before --to")

    def has(self, series: Series, symbol: str) -> bool:
        """Return whether the query includes a symbol of a series."""
        return (
            self.exchange in (None, series.exchange)
            and self.market_type in (None, series.market_type)
            and (not self.datasets or series.dataset in self.datasets)
            and (not self.symbols or any(symbol in _spellings(wanted) for wanted in self.symbols))
        )

    def has_day(self, day: date) -> bool:
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)

    def choose(self, known: Iterable[Track]) -> list[Track]:
        """Return the selected tracks, in order.

        Raises:
            ConfigError: a word matches nothing; the message lists the known values.
        """
        tracks = sorted(set(known))
        for option, wanted, there in (
            ("--exchange", [self.exchange] if self.exchange else [], {series.exchange for series, _ in tracks}),
            ("--market-type", [self.market_type] if self.market_type else [], {s.market_type for s, _ in tracks}),
            ("--dataset", self.datasets, {series.dataset for series, _ in tracks}),
        ):
            for value in wanted:
                _require(option, value, there, {value})
        for symbol in self.symbols:
            _require("--symbol", symbol, {found for _, found in tracks}, _spellings(symbol))
        chosen = [Track(series, symbol) for series, symbol in tracks if self.has(series, symbol)]
        if not chosen:
            raise ConfigError("nothing known matches all the filters together; see `crypto-assets status`")
        return chosen


def _require(option: str, value: str, there: set[str], spellings: set[str]) -> None:
    if spellings & there:
        return
    close = (similar_symbols if option == "--symbol" else _similar)(value, there)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(there)[:12]) or 'nothing yet'}"
    raise ConfigError(f"{option} {value}: no such value is known; {hint}")


def _similar(value: str, there: set[str]) -> list[str]:
    return get_close_matches(value, there, n=1)


def _spellings(symbol: str) -> set[str]:
    """Return the unified symbols that a text may mean: one with a settle currency, otherwise one for each market type."""
    found = set()
    for market_type in MARKET_TYPES:
        try:
            found.add(unified_symbol(symbol, market_type))
        except ValueError:
            continue
    if not found and is_feed_name(symbol_text(symbol)):
        found.add(symbol_text(symbol))
    return found
