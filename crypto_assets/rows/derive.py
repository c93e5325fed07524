"""Derive rows from other rows, exactly, in decimals: longer bars from 1m bars, minute statistics from trades.

Nothing is invented: a bar is built only if all its minutes are stored and open on the minute, and a minute without trades
has no statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.datasets.types import DECIMAL, INSTANT
from crypto_assets.model import bar_length
from crypto_assets.model.epoch import midnight_us
from crypto_assets.rows.frames import approximate
from crypto_assets.rows.numpy_arrays import from_arrow, to_arrow
from crypto_assets.rows.on_disk import RowsOnDisk
from crypto_assets.rows.timeframes import BUILT_FROM

_SUMS = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")

STATISTICS_SCHEMA = datasets.get("trade_statistics_1m").schema

_MINUTE_US = 60_000_000
_MICROSECOND = timedelta(microseconds=1)


Life = tuple[datetime | None, datetime | None]
"""Since and until when a symbol trades on a day; None if from, or to, midnight."""


def longer_bars(
    days: Sequence[pa.Table], wanted: Collection[str], lives: Sequence[Life] = ()
) -> list[dict[str, pa.Table]]:
    """Return, for each day, the bars of the wanted timeframes built from its 1m bars; incomplete bars are left out.

    Open, high, low and close are those of minutes with trades, as if built from trades; a bar with silent minutes only
    repeats their price. Many days are built together, because a call costs more than a day; they may be of different
    symbols.

    Args:
        days: 1m bars in the columns of `ohlcv`, ascending, one table for each UTC day.
        wanted: some timeframes of `BUILT_FROM`.
        lives: for each day, when its symbol begins or ends in it: a bar is then complete with the parts inside. Without
            them every day is whole.
    """
    starts = np.cumsum([0, *(day.num_rows for day in days)])
    built = {"1m": (pa.concat_tables(days), starts)}
    for timeframe, source in BUILT_FROM.items():
        if any(_leads_to(timeframe, goal) for goal in wanted):
            built[timeframe] = _merge(*built[source], _micros(source), _micros(timeframe), lives)
    return [
        {
            timeframe: built[timeframe][0].slice(
                built[timeframe][1][n], built[timeframe][1][n + 1] - built[timeframe][1][n]
            )
            for timeframe in wanted
        }
        for n in range(len(days))
    ]


def _leads_to(timeframe: str, goal: str) -> bool:
    while goal not in (timeframe, "1m"):
        goal = BUILT_FROM[goal]
    return goal == timeframe


def _micros(timeframe: str) -> int:
    return bar_length(timeframe) // _MICROSECOND


def bars_of_days(
    bars: pa.Table, days: Sequence[date], step: timedelta, length: timedelta, lives: Sequence[Life]
) -> pa.Table:
    """Return the bars of `length` that the bars of `step` of some days make; incomplete bars are left out.

    Args:
        bars: of one symbol, in the columns of `ohlcv`, ascending, all on the days.
        days: ascending.
        step: the length of each, a divisor of `length`.
        length: a divisor of the day.
        lives: of each day, as `longer_bars`.
    """
    times = from_arrow(bars.column("open_time"))
    midnights = [midnight_us(day) for day in days]
    return _merge(bars, np.searchsorted(times, midnights), step // _MICROSECOND, length // _MICROSECOND, lives)[0]


def merge_bars(bars: pa.Table, step: timedelta, length: timedelta) -> pa.Table:
    """Return the bars of `length` with a complete set of bars of `step`, on the grid.

    Args:
        bars: bars of one symbol, in the columns of `ohlcv`, ascending.
        step: the length of each, a divisor of `length`.
        length: a divisor of the day.
    """
    return _merge(bars, np.array([0]), step // _MICROSECOND, length // _MICROSECOND)[0]


def _merge(
    bars: pa.Table, day_starts: np.ndarray, step_us: int, length_us: int, lives: Sequence[Life] = ()
) -> tuple[pa.Table, np.ndarray]:
    """Return the bars of `length_us` with all parts of `step_us`, and the first row of each day in them."""
    times = from_arrow(bars.column("open_time"))
    starts, counts, whole = _wholes(times, day_starts, step_us, length_us, lives)
    buckets = times // length_us
    result_starts = np.append(0, np.cumsum(whole))[np.searchsorted(starts, day_starts)]
    # A bar opens at the start of its bucket; a symbol's first bar opens there too, before its first part.
    opens = buckets[starts[whole]] * length_us
    if not whole.all():
        bars = bars.filter(to_arrow(np.repeat(whole, counts)))
        counts = counts[whole]
        starts = np.cumsum(counts) - counts
    groups = np.repeat(np.arange(len(starts), dtype=np.int32), counts)
    traded = ~silent_bars(bars)
    if not traded.all():
        # A bar without a trade repeats the earlier close, which need not be a price of this bucket: it is ignored in a
        # bucket with trades.
        keep = traded | ~np.logical_or.reduceat(traded, starts)[groups] if len(groups) else traded
        bars, groups = bars.filter(to_arrow(keep)), groups[keep]
    firsts = np.searchsorted(groups, np.arange(len(starts)))
    lasts = np.searchsorted(groups, np.arange(len(starts)), side="right") - 1
    grouped = (
        bars.select(["high", "low", *_SUMS])
        .append_column("group", to_arrow(groups))
        .group_by("group", use_threads=False)
        .aggregate([("high", "max"), ("low", "min"), *(_sum(bars, name) for name in _SUMS)])
    )
    result = {
        "open_time": to_arrow(opens).cast(INSTANT),
        "open": bars.column("open").take(to_arrow(firsts)),
        "high": grouped.column("high_max"),
        "low": grouped.column("low_min"),
        "close": bars.column("close").take(to_arrow(lasts)),
        **{name: grouped.column(f"{name}_sum").cast(bars.schema.field(name).type) for name in _SUMS},
    }
    return pa.table([result[name] for name in bars.column_names], schema=bars.schema), result_starts


def _sum(rows: pa.Table, name: str) -> tuple[str, str] | tuple[str, str, pc.FunctionOptions]:
    """Return the sum of a column, which is null if one value is: a part that is not known makes the whole not known."""
    if not rows.column(name).null_count:
        return name, "sum"
    return name, "sum", pc.ScalarAggregateOptions(skip_nulls=False)


def _wholes(
    times: np.ndarray, day_starts: np.ndarray, step_us: int, length_us: int, lives: Sequence[Life]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first row and row count of each bucket with rows, and whether all its parts are stored, on the grid.

    Args:
        times: opening times of the parts, in microseconds, ascending.
        day_starts: the first row of each day.
    """
    buckets = times // length_us
    begins = np.ones(len(buckets), dtype=bool)
    begins[1:] = buckets[1:] != buckets[:-1]
    begins[day_starts[day_starts < len(buckets)]] = True  # two symbols may have the same bucket of the same day
    starts = np.flatnonzero(begins)
    counts = np.diff(np.append(starts, len(buckets)))
    expected = np.full(len(starts), length_us // step_us)
    if any(life != (None, None) for life in lives):
        day_of = np.searchsorted(day_starts, starts, side="right") - 1
        for place, life in enumerate(lives):
            mine = day_of == place
            expected[mine] = _parts_inside(buckets[starts[mine]], step_us, length_us, life)
    whole = counts == expected
    beside = times % step_us != 0
    if beside.any():  # a part off the grid reaches into the next bucket, or does not cover the start of its own
        whole &= ~np.logical_or.reduceat(beside, starts)
    return starts, counts, whole


def bars_due(opens: np.ndarray, wanted: Collection[str], life: Life = (None, None)) -> dict[str, int]:
    """Return the number of bars of each wanted timeframe that the 1m bars of one day give (`longer_bars`).

    Args:
        opens: opening times of the 1m bars, in microseconds since 1970, ascending.
        wanted: some timeframes of `BUILT_FROM`.
        life: when the symbol begins or ends in the day.
    """
    times = {"1m": opens}
    for timeframe, source in BUILT_FROM.items():
        if any(_leads_to(timeframe, goal) for goal in wanted):
            length_us, parts = _micros(timeframe), times[source]
            starts, _, whole = _wholes(parts, np.array([0]), _micros(source), length_us, [life])
            times[timeframe] = parts[starts[whole]] // length_us * length_us
    return {timeframe: len(times[timeframe]) for timeframe in wanted}


def _parts_inside(buckets: np.ndarray, step_us: int, length_us: int, life: Life) -> np.ndarray:
    """Return how many parts of each bucket are inside a life, at least partly."""
    begins = buckets * length_us
    since, until = (None if edge is None else round(edge.timestamp() * 1_000_000) for edge in life)
    first = begins // step_us if since is None else np.maximum(begins // step_us, since // step_us)
    ends = (begins + length_us) // step_us
    return (ends if until is None else np.minimum(ends, -(-until // step_us))) - first


def silent_bars(bars: pa.Table) -> np.ndarray:
    """Return which bars have no trade."""
    if bars.column("trade_count").null_count:  # the exchange does not publish it
        return approximate(bars.column("volume")) == 0
    silent: np.ndarray = from_arrow(bars.column("trade_count")) == 0
    if silent.any():
        silent &= approximate(bars.column("volume")) == 0
    return silent


def trade_statistics(trades: pa.Table | RowsOnDisk) -> pa.Table:
    """Return one row for each minute with trades, in the columns of `STATISTICS_SCHEMA`.

    VWAP is the quote amount over the base amount, rounded half even to 18 decimals. It and the quote volume are null if the
    trades are without quote amounts.

    Args:
        trades: rows of `trades`, ascending in time.
    """
    if isinstance(trades, RowsOnDisk):
        return pa.concat_tables([_statistics(part) for part in _whole_minutes(trades)])
    return _statistics(trades)


def _whole_minutes(trades: RowsOnDisk) -> Iterator[pa.Table]:
    """Yield trades in parts that end with a minute, each of about one piece."""
    rest: pa.Table | None = None
    for piece in trades.pieces():
        part = piece if rest is None else pa.concat_tables([rest, piece])
        minutes = _minutes(part.column("trade_time"))
        end = int(np.searchsorted(minutes, minutes[-1]))
        if end:
            yield part.slice(0, end)
        rest = part.slice(end)
    if rest is not None:
        yield rest


def _minutes(times: pa.ChunkedArray) -> np.ndarray:
    return np.floor_divide(times.cast(pa.int64()).to_numpy(), _MINUTE_US)


def _statistics(trades: pa.Table) -> pa.Table:
    minutes = _minutes(trades.column("trade_time"))
    amount = trades.column("amount")
    zero = pa.scalar(Decimal(0), DECIMAL)
    bought = pa.chunked_array(
        [pc.equal(chunk.indices, chunk.dictionary.index("buy")) for chunk in trades.column("side").chunks], pa.bool_()
    )
    rows = pa.table(
        {
            "minute": pa.array(minutes),
            "amount": amount,
            "quote": trades.column("quote_amount"),
            "buy": pc.if_else(bought, amount, zero),
        }
    )
    grouped = rows.group_by("minute", use_threads=False).aggregate(
        [("amount", "sum"), _sum(rows, "quote"), ("buy", "sum"), ("amount", "max"), ("amount", "count")]
    )
    total, buy = grouped.column("amount_sum").cast(DECIMAL), grouped.column("buy_sum").cast(DECIMAL)
    quote = grouped.column("quote_sum").cast(DECIMAL)
    values = {
        "open_time": pc.multiply(grouped.column("minute"), _MINUTE_US).cast(INSTANT),
        "vwap": pa.chunked_array([_ratio(quote, total)]),
        "buy_volume": buy,
        "sell_volume": _difference(total, buy),
        "quote_volume": quote,
        "trade_count": grouped.column("amount_count"),
        "largest_trade": grouped.column("amount_max"),
    }
    return pa.table([values[name] for name in STATISTICS_SCHEMA.names], schema=STATISTICS_SCHEMA)


def _difference(whole: pa.ChunkedArray, part: pa.ChunkedArray) -> pa.ChunkedArray:
    # Arrow's result has one digit more than its operands, and 38 is the maximum.
    narrow = pa.decimal128(DECIMAL.precision - 1, DECIMAL.scale)
    return pc.subtract(whole.cast(narrow), part.cast(narrow)).cast(DECIMAL)


def _ratio(above: pa.ChunkedArray, below: pa.ChunkedArray) -> pa.Array:
    unit = Decimal(1).scaleb(-DECIMAL.scale)
    with localcontext() as context:
        context.prec = 60
        quotients = [
            None if a is None else (a / b).quantize(unit)
            for a, b in zip(above.to_pylist(), below.to_pylist(), strict=True)
        ]
    return pa.array(quotients, DECIMAL)
