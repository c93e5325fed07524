"""The rows that a source has to give: those of the sandbox's market, by the facts that the source states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets, sources
from crypto_assets.model import Partition, Series
from crypto_assets.sandbox.instruments import Instrument
from crypto_assets.sandbox.market import INTERVALS, aggregate
from crypto_assets.sandbox.world import World
from crypto_assets.sources.published import unpublished
from crypto_assets_tests.sources.contract.subjects import OF_WORLD

Columns = dict[str, list[Any]]
"""Values by column; times in microseconds."""

COARSEST_US = 1000
"""No source is allowed to round its times further than to milliseconds."""

_BASE_STEP = Decimal("1e-7")
"""Bases of inverse contracts are rounded by the exchange to eight digits, for each trade or for a sum of trades."""


def true_rows(world: World, series: Series, symbol: str, day: date) -> Columns:
    """Return what the market did in a symbol on a day, in the columns of the dataset but for the ids of trades in texts."""
    item, first, last = world.listed[series.market_type, OF_WORLD[symbol]]
    if not first <= day <= last:
        return {datasets.get(series.table).time_column: []}
    match series.table:
        case "ohlcv":
            return _bars(world, series, item, day, last)
        case "trades":
            return _trades(world, item, day)
        case "agg_trades":
            return _aggregates(world, item, day)
        case "funding_rates":
            events = world.market.funding_rates(item, day)
            return {
                "funding_time": [time for time, _ in events],
                "funding_rate": [Decimal(rate).scaleb(-8) for _, rate in events],
            }
    raise LookupError(f"{series}: the contract does not know the rows of {series.table}")


def _bars(world: World, series: Series, item: Instrument, day: date, last: date) -> Columns:
    interval = series.timeframe or ""
    if interval in INTERVALS:
        found = [world.market.bars(item, interval, day)]
    else:
        start = int(Partition("", day).start.timestamp()) * 1_000_000
        months = world.market.long_bars(item, interval, day.replace(day=1), last)
        found = [bars for bars in months if bars.open_time[0] == start]
    rows: Columns = {}
    sizes = ("volume", "taker_buy_volume"), ("quote_volume", "taker_buy_quote_volume")
    for name in ("open", "high", "low", "close"):
        rows[name] = [_scaled(value, item.price_decimals) for bars in found for value in getattr(bars, name).tolist()]
    for base, quote in zip(*sizes, strict=True):
        first, second = ([value for bars in found for value in getattr(bars, name).tolist()] for name in (base, quote))
        if item.contract_size:  # contracts, and the base that they are worth
            rows[base] = [_scaled(value, item.quote_decimals) for value in second]
            rows[quote] = [Decimal(value * item.contract_size) for value in first]
        else:
            rows[base] = [_scaled(value, item.amount_decimals) for value in first]
            rows[quote] = [_scaled(value, item.quote_decimals) for value in second]
    rows["open_time"] = [value for bars in found for value in bars.open_time.tolist()]
    rows["trade_count"] = [value for bars in found for value in bars.trade_count.tolist()]
    if sources.facts(series).silent_bars == "absent":
        traded = [place for place, count in enumerate(rows["trade_count"]) if count]
        rows = {name: [values[place] for place in traded] for name, values in rows.items()}
    return rows


def _trades(world: World, item: Instrument, day: date) -> Columns:
    trades = world.market.trades(item, day)
    prices = [_scaled(value, item.price_decimals) for value in trades.price.tolist()]
    amounts = _in_base(item, trades.amount.tolist(), prices)
    quotes = (
        [Decimal(contracts * item.contract_size) for contracts in trades.amount.tolist()]
        if item.contract_size
        else [price * amount for price, amount in zip(prices, amounts, strict=True)]
    )
    return {
        "trade_time": trades.time.tolist(),
        "trade_id": trades.id.tolist(),
        "price": prices,
        "amount": amounts,
        "quote_amount": quotes,
        "side": _sides(trades.is_buyer_maker.tolist()),
    }


def _aggregates(world: World, item: Instrument, day: date) -> Columns:
    found = aggregate(world.market.trades(item, day))
    prices = [_scaled(value, item.price_decimals) for value in found.price.tolist()]
    return {
        "trade_time": found.time.tolist(),
        "agg_trade_id": found.id.tolist(),
        "price": prices,
        "amount": _in_base(item, found.amount.tolist(), prices),
        "first_trade_id": found.first_trade_id.tolist(),
        "last_trade_id": found.last_trade_id.tolist(),
        "side": _sides(found.is_buyer_maker.tolist()),
    }


def _in_base(item: Instrument, amounts: Sequence[int], prices: Sequence[Decimal]) -> list[Decimal]:
    if not item.contract_size:
        return [_scaled(amount, item.amount_decimals) for amount in amounts]
    with localcontext(prec=60):
        return [
            (Decimal(contracts * item.contract_size) / price).quantize(Decimal("1e-18"), ROUND_HALF_EVEN)
            for contracts, price in zip(amounts, prices, strict=True)
        ]


def _scaled(value: int, decimals: int) -> Decimal:
    return Decimal(value).scaleb(-decimals)


def _sides(sold: Iterable[bool]) -> list[str]:
    return ["sell" if one else "buy" for one in sold]


# ---- comparing -------------------------------------------------------------------------------------------------------


def columns_of(table: pa.Table) -> Columns:
    """Return the values of a table; times in microseconds."""
    return {
        name: (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def part(series: Series, rows: Columns, since: datetime, until: datetime) -> Columns:
    """Return the rows of [since, until)."""
    times = rows[datasets.get(series.table).time_column]
    first, last = (int(one.timestamp() * 1_000_000) for one in (since, until))
    places = [place for place, time in enumerate(times) if first <= time < last]
    return {name: [values[place] for place in places] for name, values in rows.items()}


def of_day(series: Series, table: pa.Table, day: date) -> pa.Table:
    """Return the rows of a UTC day."""
    partition = Partition("", day)
    times = table.column(datasets.get(series.table).time_column)
    bounds = [pa.scalar(one, times.type) for one in (partition.start, partition.end)]
    return table.filter(pc.and_(pc.greater_equal(times, bounds[0]), pc.less(times, bounds[1])))


def differences(series: Series, table: pa.Table, true: Mapping[str, list[Any]]) -> list[str]:
    """Return in which columns some rows differ from those of the market, the first place of each; empty if all are right."""
    facts, time_column = sources.facts(series), datasets.get(series.table).time_column
    rows, wrong = columns_of(table), []
    if table.num_rows != len(true[time_column]):
        return [f"expected {len(true[time_column])} rows, found {table.num_rows}"]
    for name, values in rows.items():
        if name in unpublished(series):
            expected: list[Any] = [None] * len(values)
        elif name == time_column:
            step = next(step for step in _steps(series) if all(value % step == 0 for value in values))
            expected = [time // step * step for time in true[name]]
        elif name == "trade_id":
            expected = _numbers(values, true[name]) if facts.numbered else [None] * len(values)
        elif name == "trade_place":
            expected = [None] * len(values) if facts.numbered else _places(rows[time_column])
        elif name == "trade_uid":
            expected = values if facts.numbering == "text" and len(set(values)) == len(values) else [None] * len(values)
        elif name == "funding_interval_hours":
            expected = [value if value in (8, None) else 8 for value in values]
        else:
            expected = true[name]
        if series.market_type == "inverse" and name in ("amount", "volume", "taker_buy_volume"):
            expected = [
                mine if mine is not None and abs(mine - theirs) <= _BASE_STEP else theirs
                for mine, theirs in zip(values, expected, strict=True)
            ]
        if values != expected:
            place = next(place for place, value in enumerate(values) if value != expected[place])
            wrong.append(f"{name}: row {place}: expected {expected[place]}, found {values[place]}")
    return wrong


def _steps(series: Series) -> tuple[int, ...]:
    """Return the steps that an exchange may round times to, in microseconds; rates of funding are of a second at best."""
    return (1_000_000, 1_000, 1) if series.table == "funding_rates" else (COARSEST_US, 100, 1)


def _numbers(found: Sequence[Any], true: Sequence[int]) -> list[int]:
    """Return the numbers of the market, counted from where the exchange begins to count."""
    begin = found[0] - true[0] if found and found[0] is not None else 0
    return [number + (begin if begin in (0, 1) else 0) for number in true]


def _places(times: Sequence[int]) -> list[int]:
    places: list[int] = []
    for number, time in enumerate(times):
        places.append(places[-1] + 1 if number and times[number - 1] == time else 0)
    return places


def instant_of(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)
