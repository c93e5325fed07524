"""Bars built from the trades equal the published bars.

Binance's trades give all nine fields (README of the real data; 1,440 of 1,440 minutes of a probed day). Its aggregate
trades do too, except for these definitions:

- Quote volumes are sums of quote amounts rounded to 8 decimals for each trade; here price times amount is exact.
- On futures an aggregate has the fills of up to 100 ms with one price and side (Aggregate Trade Streams, USDⓈ-M Futures
  API), and some of its trades may belong to the next minute. If the amounts missing from one minute are in the next one, to
  the last digit, both minutes count as equal; their prices are not compared.
- The base amount of an inverse trade is contracts divided by its price, to 18 digits; bars publish fewer, rounded for each
  trade or for their sum.
- On futures ids of hidden trades (insurance fund, ADL) may be inside an aggregate's id range: it may then count more trades
  than the bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa

from crypto_assets import datasets, sources
from crypto_assets.checks._columns import AGGREGATE, TRADE
from crypto_assets.checks._differences import Differences, differences
from crypto_assets.checks._minute_bars import minute_bars
from crypto_assets.checks._words import counted
from crypto_assets.model import SHOWN_ROWS, Comparison, Finding, Partition, Series, Severity, not_judged
from crypto_assets.model.correction import plain
from crypto_assets.rows.derive import silent_bars
from crypto_assets.rows.row_keys import RowKeys, numbers, text_of_instant

_MINUTE_US = 60_000_000
_QUOTE_TOLERANCE = Decimal("1e-8")
"""Tolerance of a quote volume built from aggregate trades, for each trade in it."""

_COARSEST_STEP = Decimal("1e-4")
"""Bars of contracts have four digits of the base amount or more (rows of OKX's and Binance's files)."""

_LONGEST_CROSSING = 5
"""Most neighbouring minutes between which trades of aggregates may be shifted; longer runs occur only by chance."""

_QUOTES = ("quote_volume", "taker_buy_quote_volume")
_BASES = ("volume", "taker_buy_volume")
_SHIFTED = ("volume", "trade_count", "taker_buy_volume")
_PRICES = ("open", "high", "low", "close")

_Wrong = dict[int, dict[str, tuple[Any, Any]]]
"""The value from trades and the published one, by open time in microseconds and column."""


def agrees_with_bars(built: pa.Table, bars: pa.Table, partition: Partition, series: Series) -> Finding:
    """Every minute with trades or a bar has the same values in both, all nine if the exchange publishes them.

    Silent bars need no trades, and minutes without trades no bar.

    Minutes covered by a bar off the grid are not compared (`off_grid` counts such bars).

    Evidence: minutes `compared`, `agree` and `differ`; differing minutes without a bar (`no_bar`), and with a bar that has
    trades where there are none (`no_trades`); `columns` counts the differing values, `differences` shows the first.

    Args:
        built: from `minute_bars`.
        bars: the published 1m bars of the same symbol and day.
    """
    built, bars = until(built, bars, partition)
    if not bars.num_rows:
        return not_judged("there are no bars to compare with")
    built, bars, beside = on_the_minute(built, bars)
    if not bars.num_rows:
        return not_judged(OFF_GRID)
    found = differences(built, bars, BARS, both_publish(built, bars))
    minutes = _Minutes.of(found)
    evidence: dict[str, Any] = {}
    if datasets.get(series.table).has(AGGREGATE):
        evidence["quote_tolerance"] = f"{plain(_QUOTE_TOLERANCE)} a trade"
        if not sources.facts(series).contiguous:
            evidence |= {"crossing": minutes.accept_crossings(), "hidden_ids": minutes.accept_hidden_ids()}
        minutes.accept_rounding(_QUOTES, _QUOTE_TOLERANCE)
    if series.market_type == "inverse":
        step = _last_digit(bars)
        evidence["amount_tolerance"] = f"{plain(step)} a trade"
        minutes.accept_rounding(_BASES, step)
    compared = len(found.common[0]) + len(found.only_here) + len(found.only_there)
    evidence = {"compared": compared, "agree": compared - len(minutes.wrong), "differ": len(minutes.wrong), **evidence}
    if beside:
        evidence["off_grid"] = beside
    return Finding(not minutes.wrong, evidence | minutes.evidence())


def _last_digit(bars: pa.Table) -> Decimal:
    """Return the step of the last digit that published volumes have: 0.00000001 if they have eight digits.

    It is never larger than `_COARSEST_STEP`: volumes that happen to be round, or to be all zero, allow no more.
    """
    volumes = [value.normalize() for value in bars.column("volume").to_pylist() if value]
    return min([_COARSEST_STEP, *(Decimal(1).scaleb(int(value.as_tuple().exponent)) for value in volumes)])


BARS = RowKeys(("open_time",), is_instant=True)


def both_publish(one: pa.Table, other: pa.Table) -> list[str]:
    """Return the columns of bars that have values in both tables, besides the key; a column that an exchange does not
    publish is null throughout.
    """
    return [
        name
        for name in one.column_names
        if name not in BARS.columns and all(t.column(name).null_count < max(1, t.num_rows) for t in (one, other))
    ]


def until(built: pa.Table, bars: pa.Table, partition: Partition) -> tuple[pa.Table, pa.Table]:
    """Return the finished minutes of both; of an unfinished day only up to the last bar."""
    if partition.until is None:
        return built, bars
    end = int(partition.until.timestamp()) * 1_000_000
    opens = numbers(bars.column("open_time"))
    if len(opens):
        end = min(end, int(opens.max()) + _MINUTE_US)
    return tuple(
        table.filter(pa.array(numbers(table.column("open_time")) <= end - _MINUTE_US)) for table in (built, bars)
    )


OFF_GRID = "every bar opens off the minute"


def on_the_minute(built: pa.Table, bars: pa.Table) -> tuple[pa.Table, pa.Table, int]:
    """Return both without the minutes covered by bars off the grid, and the number of such bars.

    A bar that opens at 10:00:14.789 has trades of two minutes. The second minute stays if a bar on the grid has it.
    """
    opens = numbers(bars.column("open_time"))
    beside = opens % _MINUTE_US != 0
    if not beside.any():
        return built, bars, 0
    first = opens[beside] // _MINUTE_US * _MINUTE_US
    reached = np.concatenate([first, np.setdiff1d(first + _MINUTE_US, opens[~beside])])
    bars = bars.filter(pa.array(~beside & ~np.isin(opens, reached)))
    built = built.filter(pa.array(~np.isin(numbers(built.column("open_time")), reached)))
    return built, bars, int(beside.sum())


@dataclass
class _Minutes:
    """The minutes that differ, with their differing values."""

    wrong: _Wrong
    counts: Mapping[int, int]
    no_bar: set[int]
    no_trades: set[int]
    column_names: Sequence[str]

    @classmethod
    def of(cls, found: Differences) -> _Minutes:
        wrong: _Wrong = {}
        for column in found.columns:
            for key, one, other in found.values(column):
                wrong.setdefault(key, {})[column] = (one, other)
        sums = (*_SHIFTED, *_QUOTES)
        no_bar = _rows(found.here, found.only_here)
        for key, row in no_bar.items():
            wrong[key] = {name: (row[name], row[name] * 0) for name in sums if row[name] is not None}
        silent = silent_bars(found.there)
        no_trades = _rows(found.there, found.only_there[~silent[found.only_there]])
        for key, row in no_trades.items():
            wrong[key] = {name: (row[name] * 0, row[name]) for name in sums if row[name] is not None}
        keys = numbers(found.here.column("open_time")).tolist()
        counts = dict(zip(keys, found.here.column("trade_count").to_pylist(), strict=True))
        return cls(wrong, counts, set(no_bar), set(no_trades), found.here.column_names)

    def accept_crossings(self) -> int:
        """Accept neighbouring minutes whose differences cancel out; return how many minutes these are."""
        accepted: list[int] = []
        rest = sorted(self.wrong)
        with localcontext() as context:
            context.prec = 80
            while rest:
                run = self._crossing(rest)
                accepted += run
                del rest[: max(1, len(run))]
        for minute in accepted:
            del self.wrong[minute]
        return len(accepted)

    def _crossing(self, minutes: list[int]) -> list[int]:
        """Return the shortest run of minutes, from the first on, whose differences cancel out; empty if there is none."""
        total = dict.fromkeys((*_SHIFTED, *_QUOTES), Decimal(0))
        trades = 0
        for place, minute in enumerate(minutes[:_LONGEST_CROSSING]):
            if minute != minutes[0] + place * _MINUTE_US:
                return []
            for name in total:
                one, other = self.wrong[minute].get(name, (0, 0))
                total[name] += one - other
            if not place and not any(total[name] for name in _SHIFTED):
                return []
            trades += self.counts.get(minute, 0)
            quoted = max(abs(total[name]) for name in _QUOTES)
            if not any(total[name] for name in _SHIFTED) and quoted <= _QUOTE_TOLERANCE * trades:
                return minutes[: place + 1]
        return []

    def accept_hidden_ids(self) -> int:
        """Accept minutes with more trades than their bar but the same amount; return how many minutes these are."""
        accepted = [
            minute
            for minute, values in self.wrong.items()
            if not {*_SHIFTED, *_PRICES} & values.keys() - {"trade_count"}
            and "trade_count" in values
            and values["trade_count"][0] > values["trade_count"][1]
        ]
        for minute in accepted:
            del self.wrong[minute]["trade_count"]
            self._drop_if_right(minute)
        return len(accepted)

    def accept_rounding(self, names: Sequence[str], tolerance: Decimal) -> None:
        """Accept sums within the exchange's rounding of each trade."""
        for minute in list(self.wrong):
            allowed = tolerance * self.counts.get(minute, 0)
            for name in names:
                one, other = self.wrong[minute].get(name, (None, None))
                if one is not None and abs(one - other) <= allowed:
                    del self.wrong[minute][name]
            self._drop_if_right(minute)

    def _drop_if_right(self, minute: int) -> None:
        if not self.wrong[minute]:
            del self.wrong[minute]

    def evidence(self) -> dict[str, Any]:
        """Return the remaining differences as counts and rows for people; empty if there are none."""
        if not self.wrong:
            return {}
        columns = {name: sum(name in values for values in self.wrong.values()) for name in self.column_names}
        rows = [
            {"open_time": text_of_instant(minute), "column": column, "trades": one, "bars": other}
            for minute in sorted(self.wrong)[:SHOWN_ROWS]
            for column, one, other in self._texts(minute)
        ]
        return {
            "no_bar": len(self.no_bar & self.wrong.keys()),
            "no_trades": len(self.no_trades & self.wrong.keys()),
            "columns": {name: count for name, count in columns.items() if count},
            "differences": rows[:SHOWN_ROWS],
        }

    def _texts(self, minute: int) -> Iterable[tuple[str, str, str]]:
        values = self.wrong[minute]
        if minute in self.no_bar:
            return [("trade_count", plain(values["trade_count"][0]), "no bar")]
        return [(name, plain(values[name][0]), plain(values[name][1])) for name in self.column_names if name in values]


def _rows(table: pa.Table, places: np.ndarray) -> dict[int, dict[str, Any]]:
    keys = numbers(table.column("open_time"))[places].tolist()
    return dict(zip(keys, table.take(pa.array(places)).to_pylist(), strict=True))


def minute_series(series: Series) -> tuple[Series, ...]:
    """Return the 1m bars of the same exchange and market type."""
    return (Series(series.exchange, series.market_type, "ohlcv", "1m"),)


def words(evidence: Mapping[str, Any], series: Series) -> str:  # noqa: ARG001
    differ, compared = evidence["differ"], counted(evidence["compared"], "minute")
    if not differ:
        return f"bars built from the trades equal the published ones ({compared} compared)"
    apart = [f"{evidence[name]:,} {what}" for name, what in _APART.items() if evidence.get(name)]
    return f"bars built from the trades differ from the published ones in {differ:,} of {compared}" + (
        f" ({', '.join(apart)})" if apart else ""
    )


_APART = {"no_bar": "without a bar", "no_trades": "without trades"}


CHECK = Comparison(
    name="agrees_with_bars",
    columns=TRADE,
    severity=Severity.WARN,
    description="1m bars built from the trades equal the published ones, in every field that the exchange publishes.",
    source="lake",
    counterparts=minute_series,
    gather=minute_bars,
    run=agrees_with_bars,
    words=words,
)
