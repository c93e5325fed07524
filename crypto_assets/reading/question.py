"""The arguments of `crypto_assets.read`, checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from crypto_assets import datasets
from crypto_assets.errors import ConfigError
from crypto_assets.model import ALL_TYPES, DAY, MARKET_TYPES, TIMEFRAMES, Series, days_between, unified_symbol
from crypto_assets.model.symbols import similar_symbols
from crypto_assets.rows.loads import STATISTICS

Moment = str | date | datetime
"""A day or an instant, as people write it."""

Source = Literal["lake", "warehouse"]

_MOST_DAYS = 100_000


@dataclass(frozen=True, slots=True)
class Question:
    """Rows of one symbol over [begin, after), UTC; `to_day_end`: `after` was given as a day."""

    series: Series
    symbol: str
    begin: datetime
    after: datetime
    to_day_end: bool
    columns: tuple[str, ...] | None
    source: Source
    known_at: datetime | None
    lock: Path | None

    @property
    def days(self) -> list[date]:
        """The days it touches, in order; empty for an empty span."""
        if self.after == self.begin:
            return []
        return days_between(self.begin.date(), (self.after - timedelta(microseconds=1)).date())

    @property
    def is_whole_days(self) -> bool:
        return self.begin.time() == time() and self.after.time() == time()

    def __str__(self) -> str:
        return f"{self.series} {self.symbol}"


def market_type_of(symbols: Sequence[str]) -> str:
    """Return the market type that unified symbols say; without a settle currency it is spot.

    Raises:
        ConfigError: they say several.
    """
    found = {_said_by(symbol) for symbol in symbols if isinstance(symbol, str)} or {"spot"}
    if len(found) > 1:
        raise ConfigError(
            f"symbols: expected symbols of one market type, found {', '.join(sorted(found))}; ask for each market type by "
            "itself"
        )
    return found.pop()


def _said_by(symbol: str) -> str:
    pair, _, settle = symbol.partition(":")
    if not settle:
        return "spot"
    base, _, quote = pair.partition("/")
    return "inverse" if settle.partition("-")[0] == base != quote else "linear"


def question(
    exchange: str,
    symbol: str,
    dataset: str,
    start: Moment,
    end: Moment,
    market_type: str,
    columns: Sequence[str] | None = None,
    source: str = "lake",
    as_of: Moment | None = None,
    lock: str | Path | None = None,
) -> Question:
    """Return the question; raises ConfigError with the argument, what was expected and what was found."""
    _require_text(exchange=exchange, symbol=symbol, dataset=dataset, market_type=market_type)
    if source not in get_args(Source):
        raise ConfigError(f"source: expected one of {', '.join(map(repr, get_args(Source)))}, found {source!r}")
    if lock is not None and not isinstance(lock, str | Path):
        raise ConfigError(f"lock: expected the path of a lock file, found {lock!r}")
    series = _series(exchange, market_type, dataset, source)
    try:
        unified = unified_symbol(symbol, market_type)
    except ValueError as error:
        from crypto_assets.sources.symbol_hints import symbol_hint

        raise ConfigError(f"{error}{symbol_hint(exchange, market_type, symbol)}") from None
    begin, after, to_day_end = _bounds(start, end)
    known_at = None if as_of is None else _known_at(as_of)
    if known_at is not None and lock is not None:
        raise ConfigError("as_of and lock: expected one of them; a lock has its own versions")
    if source == "warehouse" and (known_at is not None or lock is not None):
        raise ConfigError(
            f"{'lock' if lock is not None else 'as_of'}: expected source='lake', found 'warehouse'; Postgres has only the "
            "newest version of each day, the lake keeps the earlier ones"
        )
    return Question(
        series,
        unified,
        begin,
        after,
        to_day_end,
        _columns(columns),
        "warehouse" if source == "warehouse" else "lake",
        known_at,
        None if lock is None else Path(lock),
    )


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return a hint: the most similar name, or the known names."""
    return _in_words(get_close_matches(word, known, n=1), known)


def did_you_mean_symbol(symbol: str, known: Sequence[str]) -> str:
    """Return a hint: the most similar symbol, or the known symbols, in one spelling."""
    return _in_words(similar_symbols(symbol, known), known)


def _in_words(close: Sequence[str], known: Sequence[str]) -> str:
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known[:20])}" if known else "none is known"


def _require_text(**arguments: Any) -> None:
    for name, value in arguments.items():
        if not isinstance(value, str):
            raise ConfigError(f"{name}: expected text, found {value!r}")


def require_market(exchange: str, market_type: str) -> tuple[str, ...]:
    """Return the datasets of a market; raises ConfigError where there is no such exchange or market type here."""
    from crypto_assets import sources

    _require_text(exchange=exchange, market_type=market_type)
    if exchange not in sources.names():
        raise ConfigError(f"exchange {exchange!r} is unknown; {did_you_mean(exchange, sorted(sources.names()))}")
    if market_type not in ALL_TYPES:
        raise ConfigError(f"market_type: expected one of {', '.join(MARKET_TYPES)}, found {market_type!r}")
    published = sources.get(exchange).dataset_names(market_type)
    if not published:
        there = [name for name in ALL_TYPES if sources.get(exchange).dataset_names(name)]
        raise ConfigError(f"market_type: {exchange} has no {market_type} here; known: {', '.join(there)}")
    return published


def _series(exchange: str, market_type: str, dataset: str, source: str) -> Series:
    published = require_market(exchange, market_type)
    known = [*published, *(_only_in_warehouse(published) if source == "warehouse" else ())]
    try:
        series = Series.named(exchange, market_type, dataset)
    except ValueError as error:
        raise ConfigError(f"{error}; {_dataset_meant(dataset, known)}") from None
    if dataset not in known:
        if series.table not in datasets.all_datasets() and dataset not in _only_in_warehouse(published):
            others = ", ".join(sorted(name for name in known if not name.startswith("ohlcv_")))
            raise ConfigError(
                f"dataset {dataset!r}: expected ohlcv_<timeframe> or one of {others}; {_dataset_meant(dataset, known)}"
            )
        where = "; source='warehouse' has it" if dataset in _only_in_warehouse(published) else ""
        raise ConfigError(
            f"dataset {dataset!r} is not one of {exchange} {market_type}{where}; {_dataset_meant(dataset, known)}"
        )
    return series


def _dataset_meant(dataset: str, known: Sequence[str]) -> str:
    """Return a hint of datasets that can be read: for `1h` the bars of an hour, for `ohlcv` those of a minute."""
    # `1M` is a month elsewhere, here `1mo`.
    month = f"ohlcv_{dataset.removeprefix('ohlcv_').removesuffix('M')}mo" if dataset.endswith("M") else ""
    for name in (month, f"ohlcv_{dataset}", f"{dataset.lower()}_1m", f"{dataset.lower()}s"):
        if name in known:
            return f"did you mean {name}?"
    return did_you_mean(dataset, known)


def _only_in_warehouse(published: Sequence[str]) -> list[str]:
    """Return the datasets that the warehouse builds from published ones."""
    from crypto_assets.rows.timeframes import BUILT_FROM

    bars = [f"ohlcv_{name}" for name in TIMEFRAMES if name in BUILT_FROM] if "ohlcv_1m" in published else []
    return [*(name for name in bars if name not in published), *([STATISTICS] if "trades" in published else [])]


def _columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not all(isinstance(c, str) for c in columns):
        raise ConfigError(f"columns: expected a list of names such as ['close'], found {columns!r}")
    doubles = sorted({name for name in columns if list(columns).count(name) > 1})
    if doubles or not columns:
        found = f"{', '.join(doubles)} twice" if doubles else "none"
        raise ConfigError(f"columns: expected at least one name, and each name once, found {found}")
    return tuple(columns)


def _bounds(start: Moment, end: Moment) -> tuple[datetime, datetime, bool]:
    """Return [start, end) as UTC instants, and whether the end was given as a day; a day means up to its last instant."""
    begin, _ = _instant("start", start)
    after, is_day = _instant("end", end)
    try:
        after += DAY if is_day else timedelta()
    except OverflowError:
        raise ConfigError(f"end: expected a day before {date.max}, found {end}") from None
    if after < begin or (is_day and after == begin):  # the last instant of a day before the start is before it too
        raise ConfigError(f"start {start}, end {end}: expected the start on or before the end")
    if (after - begin).days > _MOST_DAYS:
        raise ConfigError(
            f"start {start}, end {end}: expected at most {_MOST_DAYS:,} days, found {(after - begin).days:,}"
        )
    return begin, after, is_day


def _known_at(moment: Moment) -> datetime:
    """Return the instant of `as_of`; a day means its last instant."""
    instant, is_day = _instant("as_of", moment)
    try:
        return instant + DAY - timedelta(microseconds=1) if is_day else instant
    except OverflowError:
        raise ConfigError(f"as_of: expected a day before {date.max}, found {moment}") from None


def _instant(name: str, given: Moment) -> tuple[datetime, bool]:
    moment: Any = given
    if isinstance(moment, str):
        try:
            moment = _parse(moment)
        except ValueError:
            raise ConfigError(f"{name}: expected a day like 2024-01-31 or an ISO instant, found {moment!r}") from None
    # pandas' NaT is also a datetime, and not equal to itself.
    if not isinstance(moment, date) or moment != moment:
        raise ConfigError(f"{name}: expected a day like 2024-01-31 or an instant, found {moment!r}")
    try:
        if isinstance(moment, datetime):
            if hasattr(moment, "to_pydatetime"):
                moment = moment.to_pydatetime(warn=False)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC), False
        return datetime.combine(moment, time(), UTC), True
    except OverflowError:
        raise ConfigError(f"{name}: expected an instant between the years 1 and 9999, found {moment}") from None


def _parse(text: str) -> date:
    """Return a date for a date in any ISO form, otherwise a datetime."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)
