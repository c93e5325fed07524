"""One entry of collection.yaml: datasets and symbols of one market, from a first day on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from crypto_assets.config.automation import AutomationConfig, spell_out
from crypto_assets.config.mistakes import MOST_PROBLEMS, did_you_mean
from crypto_assets.config.owners import Owners
from crypto_assets.config.symbol_rules import (
    SymbolRule,
    is_pattern,
    require_one_quote,
    rule_of,
    spell_out_all,
    top_of,
    unified_pattern,
)
from crypto_assets.model import ALL_TYPES, MARKET_TYPES, Series, Track, unified_symbol

MOST_SYMBOLS = 10_000
"""Most symbols of one entry. Binance has listed some 3,500 on spot in all years."""

_MOST_LETTERS = 64
"""Longest symbol; `1000000MOG/USDT:USDT-250328` has 27 letters."""


class SeriesEntry(BaseModel):
    """One entry of `series:`: datasets × symbols of one exchange and market type, daily from `start` to `end`, UTC.

    Both days are included; without `end` it continues. `name` is that of its op and job in Dagster; the
    default comes from `Collection.name_of`. `warehouse` says which datasets are loaded into Postgres: true is the default of
    each dataset, false none, a list exactly these. `derived_timeframes` are built there from 1m bars; None is the default
    (`crypto_assets.rows.timeframes`). `rest` allows the REST API for data that the archive does not have: today, late
    days, holes. `owners` are shown by Dagster instead of the collection's. `automation` says what runs
    by itself for this entry, where that differs from the rest of the file.
    """

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None,
        pattern="^[A-Za-z][A-Za-z0-9_]*$",
        max_length=60,
        description="name of its op and of its job in Dagster; unset: exchange and market type",
    )
    exchange: str = Field(description="the ccxt id: `binance`, `kraken`; for news `rss`")
    market_type: str = Field(description="`spot`, `linear`, `inverse` or `news`")
    datasets: list[str] = Field(
        min_length=1,
        max_length=100,
        description="`ohlcv_<timeframe>`, `trades`, `agg_trades`, `funding_rates`, `news`; "
        "`crypto-assets datasets` says who has which",
    )
    symbols: list[str] = Field(
        min_length=1,
        max_length=MOST_SYMBOLS,
        description="as ccxt writes them: `BTC/USDT`; patterns: `*/USDT`, `BTC/*`; `all`: every symbol that was ever listed",
    )
    top: str | None = Field(
        default=None,
        description="only the symbols that were ever among the largest: `50 by quote volume`, by the stored 1d bars of the "
        "day before",
    )
    start: date = Field(description="the first UTC day; days before a symbol was listed are no data")
    end: date | None = Field(default=None, description="the last UTC day, included; unset: the entry continues")
    warehouse: bool | list[str] = Field(
        default=True,
        description="what goes into Postgres: `true` the default of each dataset, `false` nothing, a list exactly these",
    )
    derived_timeframes: list[str] | None = Field(
        default=None,
        max_length=100,
        description="bars built in Postgres from `ohlcv_1m`; unset: 5m, 15m, 30m, 1h, 4h, 1d; `[]`: none",
    )
    rest: bool = Field(default=True, description="REST gives what the archive does not have")
    owners: Owners | None = Field(default=None, description="instead of the owners of the file")
    automation: AutomationConfig | None = Field(
        default=None, description="what differs for this entry; `false`: nothing is collected by itself"
    )

    _rule: SymbolRule | None = PrivateAttr(default=None)
    _waits: bool | None = PrivateAttr(default=None)
    """Whether no symbol that the rule matches is known; None: not looked up."""

    _all_symbols = field_validator("symbols", mode="before")(spell_out_all)

    # None is the default of an entry, and what `model_dump` writes.
    _automation_switch = field_validator("automation", mode="before")(
        lambda value: value if value is None else spell_out(value)
    )

    @field_validator("start", "end", mode="before")
    @classmethod
    def _day(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name == "end":
            return None
        if isinstance(value, datetime) or not isinstance(value, date | str):
            raise ValueError(f"expected a day such as 2024-01-01, found {value!r}")
        if isinstance(value, str):
            try:
                return date.fromisoformat(value)
            except ValueError:
                raise ValueError(f"expected a day such as 2024-01-01, found {value!r}") from None
        return value

    @field_validator("warehouse", mode="before")
    @classmethod
    def _switch_or_list(cls, value: Any) -> Any:
        from crypto_assets.config.warehouse import require_switch_or_list

        return require_switch_or_list(value)

    @field_validator("symbols")
    @classmethod
    def _short(cls, value: list[str]) -> list[str]:
        for symbol in value:
            if len(symbol) > _MOST_LETTERS:
                raise ValueError(
                    f"expected a symbol of at most {_MOST_LETTERS} letters, found {len(symbol)}: {symbol[:20]!r}…"
                )
        return value

    @field_validator("market_type")
    @classmethod
    def _market_type(cls, value: str) -> str:
        if value not in ALL_TYPES:
            raise ValueError(f"expected one of {', '.join(MARKET_TYPES)}, found {value!r}")
        return value

    @model_validator(mode="after")
    def _known_names(self) -> SeriesEntry:
        from crypto_assets import sources
        from crypto_assets.config.warehouse import require_loadable

        if self.exchange not in sources.names():
            raise ValueError(f"exchange {self.exchange!r} is unknown{did_you_mean(self.exchange, sources.names())}")
        exchange = sources.get(self.exchange)
        known = exchange.dataset_names(self.market_type)
        if not known:
            raise ValueError(f"{self.exchange} has no market type {self.market_type!r} here")
        for name in self.datasets:
            if name not in known:
                raise ValueError(
                    f"dataset {name!r} is not published for {self.exchange} {self.market_type}{did_you_mean(name, known)}"
                )
        require_loadable(self.series, self.warehouse, self.derived_timeframes)
        if self.end is not None and self.end < self.start:
            raise ValueError(f"expected an end on {self.start}, the start, or later, found {self.end}")
        patterns = [unified_pattern(text, self.market_type) for text in self.symbols if is_pattern(text)]
        self.symbols = [self._unified(text) for text in self.symbols if not is_pattern(text)]
        listed = getattr(exchange, "names", ())  # a source that is no exchange has a fixed list
        if listed and (patterns or self.top):
            raise ValueError(f"{self.exchange}: expected names in symbols, such as {listed[0]}, found a pattern or top")
        self._rule = rule_of(patterns, self.symbols, top_of(self.top))
        if self.top:
            self._require_ranks([*patterns, *self.symbols])
        named = self.symbols
        if self._rule and self._rule.top:
            self.symbols = []
        for what, names in (("symbols", [*patterns, *named]), ("datasets", self.datasets)):
            doubles = sorted(name for name, times in Counter(names).items() if times > 1)
            if doubles:
                raise ValueError(f"{what}: {', '.join(doubles[:MOST_PROBLEMS])} is listed twice here")
        return self

    def _unified(self, text: str) -> str:
        """Return a symbol as ccxt writes it; raises ValueError, with what may be meant."""
        from crypto_assets.sources.symbol_hints import symbol_hint

        try:
            return unified_symbol(text, self.market_type)
        except ValueError as error:
            raise ValueError(f"{error}{symbol_hint(self.exchange, self.market_type, text)}") from None

    def _require_ranks(self, texts: Sequence[str]) -> None:
        """Refuse a `top` that cannot rank: volumes in several currencies, or a source without quote volumes."""
        from crypto_assets import sources

        require_one_quote(texts)
        source = sources.get(self.exchange)
        bars = [name for name in source.dataset_names(self.market_type) if name.startswith("ohlcv_")]
        if all(
            "quote_volume" in source.facts(Series.named(self.exchange, self.market_type, name)).without for name in bars
        ):
            raise ValueError(
                f"top: expected a source whose bars have a quote volume, found {self.exchange} {self.market_type}, whose "
                "bars have none; leave `top` out, and name the symbols or write a pattern such as */USD"
            )

    @property
    def rule(self) -> SymbolRule | None:
        """The rule that chooses among the listed symbols; None if the entry names all its symbols.

        Then `symbols` has the symbols that it named, or what `ledger/symbol_rules.py` found in the ledger.
        """
        return self._rule

    @property
    def waits_for_symbols(self) -> bool:
        """Whether no symbol is known yet that the rule matches, in this entry or in another one that has it."""
        waits = not self.symbols if self._waits is None else self._waits
        return self._rule is not None and waits

    def with_symbols(self, symbols: Sequence[str], *, waits: bool | None = None) -> SeriesEntry:
        """Return the entry with the symbols that its rule chose; `waits`: nothing that it matches is known yet."""
        found = self.model_copy(update={"symbols": list(symbols)})
        found._waits = waits
        return found

    @property
    def series(self) -> list[Series]:
        """The series of the entry, in the order of `datasets`."""
        return [Series.named(self.exchange, self.market_type, name) for name in self.datasets]

    @property
    def tracks(self) -> list[Track]:
        """Every symbol of every series of the entry."""
        return [Track(series, symbol) for series in self.series for symbol in self.symbols]

    def tables_of(self, series: Series) -> tuple[str, ...]:
        """Return the tables in Postgres that a series of the entry feeds; none if it is in the lake only."""
        from crypto_assets.config.warehouse import tables_of

        return tables_of(series, self.warehouse)

    @property
    def has_warehouse(self) -> bool:
        """Whether the entry loads anything into Postgres."""
        return any(self.tables_of(series) for series in self.series)

    @property
    def span(self) -> str:
        """The days of the entry in words: `from 2024-01-01`, with `to 2024-06-30` if it ends."""
        return f"from {self.start}" + (f" to {self.end}" if self.end else "")

    def until(self, day: date) -> date:
        """Return the day, or the entry's end if that is earlier."""
        return day if self.end is None else min(day, self.end)

    def has(self, day: date) -> bool:
        """Return whether the entry has a day."""
        return self.start <= day == self.until(day)


def leading(entries: Iterable[SeriesEntry]) -> SeriesEntry:
    """Return the entry that starts first, and of several the one that ends last: it owns a table that they share."""
    return min(entries, key=lambda entry: (entry.start, -entry.until(date.max).toordinal()))
