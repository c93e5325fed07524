"""What can be wrong with a day, as changes of the CSV that an exchange publishes; and which checks must say so.

The changes keep everything else right: what a defect does not concern stays what the exchange would publish.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

Lines = list[list[str]]

MINUTE_MS = 60_000

# Columns of the CSVs, by the dataset.
OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, COUNT, TAKER, TAKER_QUOTE = 1, 2, 3, 4, 5, 7, 8, 9, 10
PRICES = (OPEN, HIGH, LOW, CLOSE)
PRICE, AMOUNT, TRADE_QUOTE, TRADE_TIME, SOLD = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Defect:
    """A change of one dataset's day, and every (dataset, day from the damaged one, check) that must fail; none else may."""

    name: str
    dataset: str
    change: Callable[[Lines], Lines]
    caught_by: frozenset[tuple[str, int, str]]

    def __str__(self) -> str:
        return f"{self.dataset}: {self.name}"


def defects() -> list[Defect]:
    return [Defect(name, dataset, change, _by(dataset, by)) for dataset, name, change, by in _ALL]


def _by(dataset: str, text: str) -> frozenset[tuple[str, int, str]]:
    """Return what `check`, `check+1` (of the next day) or `other_dataset.check`, blanks between them, say."""
    found = set()
    for word in text.split():
        where, _, rest = word.rpartition(".")
        name, _, days = rest.partition("+")
        found.add((where or dataset, int(days or 0), name))
    return frozenset(found)


def _each(change: Callable[[list[str]], None], *rows: int) -> Callable[[Lines], Lines]:
    """Change some rows."""

    def changed(lines: Lines) -> Lines:
        for row in rows or range(len(lines)):
            change(lines[row])
        return lines

    return changed


def _set(column: int, value: str) -> Callable[[list[str]], None]:
    return lambda cells: cells.__setitem__(column, value)


def _times(factor: str, *columns: int) -> Callable[[list[str]], None]:
    def change(cells: list[str]) -> None:
        for column in columns:
            old = Decimal(cells[column])
            cells[column] = f"{(old * Decimal(factor)).quantize(old):f}"

    return change


def _more(column: int, units: int) -> Callable[[list[str]], None]:
    def change(cells: list[str]) -> None:
        old = Decimal(cells[column])
        cells[column] = f"{old + units * Decimal((0, (1,), int(old.as_tuple().exponent))):f}"

    return change


def _without(first: int, last: int | None = None) -> Callable[[Lines], Lines]:
    return lambda lines: lines[:first] + ([] if last is None else lines[last:])


def _doubled(lines: Lines) -> Lines:
    return [*lines[:700], list(lines[700]), *lines[700:]]


def _doubled_otherwise(column: int) -> Callable[[Lines], Lines]:
    """Repeat a row with one value that is another one."""

    def change(lines: Lines) -> Lines:
        other = list(lines[700])
        _more(column, 1)(other)
        return [*lines[:701], other, *lines[701:]]

    return change


def _contradicting(lines: Lines) -> Lines:
    """Exchange the times of two trades, not their ids."""
    lines[700][TRADE_TIME], lines[900][TRADE_TIME] = lines[900][TRADE_TIME], lines[700][TRADE_TIME]
    return lines


def _swapped(lines: Lines) -> Lines:
    lines[700], lines[900] = lines[900], lines[700]
    return lines


def _of_next_day(lines: Lines) -> Lines:
    extra = list(lines[-1])
    extra[0] = str(int(extra[0]) + MINUTE_MS)
    return [*lines, extra]


def _off_grid(lines: Lines) -> Lines:
    lines[700][0] = str(int(lines[700][0]) + 7_000)
    return lines


def _flat(cells: list[str]) -> None:
    """Make a bar silent and flat at its close, its number of trades as it was."""
    for column in (OPEN, HIGH, LOW):
        cells[column] = cells[CLOSE]
    for column in (VOLUME, QUOTE, TAKER, TAKER_QUOTE):
        cells[column] = f"{Decimal(0).quantize(Decimal(cells[column])):f}"


def _stale(lines: Lines) -> Lines:
    """Repeat a close for two hours of bars; volumes go on."""
    for cells in lines[600:720]:
        for column in PRICES:
            cells[column] = lines[599][CLOSE]
    return lines


def _fat_finger(lines: Lines) -> Lines:
    _times("3", HIGH)(lines[700])
    lines[700][CLOSE] = lines[700][HIGH]
    return lines


def _ids(shift: int, first: int = 0) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        for cells in lines[first:]:
            cells[0] = str(int(cells[0]) + shift)
        return lines

    return change


def _dear_trade(cells: list[str]) -> None:
    """A trade at ten times its price, with the quote amount that follows."""
    _times("10", PRICE, TRADE_QUOTE)(cells)


def _flipped(cells: list[str]) -> None:
    cells[SOLD] = "False" if cells[SOLD] == "True" else "True"


_AGREEMENT = "trades.agrees_with_bars agg_trades.agrees_with_bars"

_ALL: list[tuple[str, str, Callable[[Lines], Lines], str]] = [
    # ---- bars: wrong in themselves, refused
    ("ohlcv_1m", "a high below its low", _each(_times("0.5", HIGH), 700), "ohlc_consistent"),
    ("ohlcv_1m", "a low above its close", _each(_times("1.5", LOW), 700), "ohlc_consistent"),
    ("ohlcv_1m", "a negative volume", _each(_times("-1", VOLUME), 700), "contract silence_agrees"),
    ("ohlcv_1m", "a price of zero", _each(_set(LOW, "0.00000000"), 700), "contract"),
    ("ohlcv_1m", "a negative count", _each(_set(COUNT, "-1"), 700), "contract"),
    ("ohlcv_1m", "a bar twice, with two volumes", _doubled_otherwise(VOLUME), "unique_key"),
    ("ohlcv_1m", "a bar of the next day", _of_next_day, "inside_day"),
    # ---- bars: odd, and all there
    ("ohlcv_1m", "a bar twice", _doubled, "duplicate_rows"),
    ("ohlcv_1m", "two bars in each other's place", _swapped, "file_order"),
    ("ohlcv_1m", "a bar beside the grid", _off_grid, "on_grid"),
    # ---- bars: not all there, stored
    ("ohlcv_1m", "three bars lost", _without(700, 703), f"complete {_AGREEMENT}"),
    ("ohlcv_1m", "cut at 07:36", _without(456), f"complete {_AGREEMENT}"),
    ("ohlcv_1m", "the first hour lost", _without(0, 60), f"complete {_AGREEMENT}"),
    # ---- bars: wrong beside others, stored
    (
        "ohlcv_1m",
        "a bar silenced, its count left",
        _each(_flat, 700),
        f"silence_agrees ohlcv_1h.agrees_with_shorter {_AGREEMENT}",
    ),
    (
        "ohlcv_1m",
        "a taker volume above the volume",
        _each(lambda cells: _set(TAKER, f"{2 * Decimal(cells[VOLUME])}")(cells), 700),
        f"silence_agrees ohlcv_1h.agrees_with_shorter {_AGREEMENT}",
    ),
    (
        "ohlcv_1m",
        "a volume one unit off",
        _each(_more(VOLUME, 1), 700),
        f"ohlcv_1h.agrees_with_shorter {_AGREEMENT}",
    ),
    (
        "ohlcv_1m",
        "a count one off",
        _each(lambda cells: _set(COUNT, str(int(cells[COUNT]) + 1))(cells), 700),
        f"ohlcv_1h.agrees_with_shorter {_AGREEMENT}",
    ),
    (
        "ohlcv_1m",
        "prices in another unit",
        _each(_times("10", *PRICES)),
        f"price_step price_step+1 ohlcv_1h.agrees_with_shorter {_AGREEMENT} trades.price_band agg_trades.price_band",
    ),
    (
        "ohlcv_1m",
        "a price that stands still for two hours",
        _stale,
        f"stale_prices ohlcv_1h.agrees_with_shorter {_AGREEMENT} trades.price_band agg_trades.price_band",
    ),
    (
        "ohlcv_1m",
        "a fat finger",
        _fat_finger,
        f"outliers ohlcv_1h.agrees_with_shorter {_AGREEMENT}",
    ),
    (
        "ohlcv_1m",
        "a volume a thousand times as great",
        _each(_times("1000", VOLUME, QUOTE, TAKER, TAKER_QUOTE), 700),
        f"outliers ohlcv_1h.agrees_with_shorter {_AGREEMENT}",
    ),
    # ---- longer bars
    (
        "ohlcv_1h",
        "a volume one unit off",
        _each(_more(VOLUME, 1), 7),
        "agrees_with_shorter ohlcv_1d.agrees_with_shorter",
    ),
    ("ohlcv_1h", "an hour lost", _without(7, 8), "complete agrees_with_shorter"),
    ("ohlcv_1d", "a high one unit off", _each(_more(HIGH, 1)), "agrees_with_shorter"),
    # ---- trades: refused
    ("trades", "an amount of zero", _each(_set(AMOUNT, "0.00000000"), 700), "contract quote_agrees"),
    ("trades", "a negative price", _each(_times("-1", PRICE), 700), "contract quote_agrees"),
    ("trades", "a trade twice, at two prices", _doubled_otherwise(PRICE), "unique_key"),
    ("trades", "two trades with each other's times", _contradicting, "ascending_time"),
    # ---- trades: odd, and all there
    ("trades", "a trade twice", _doubled, "duplicate_rows"),
    ("trades", "two trades in each other's place", _swapped, "file_order"),
    # ---- trades: not all there
    ("trades", "a trade lost", _without(700, 701), "complete agrees_with_bars"),
    ("trades", "the last ten minutes lost", _without(-20), "ids_continue agrees_with_bars"),
    ("trades", "the first ten minutes lost", _without(0, 20), "ids_continue agrees_with_bars"),
    ("trades", "cut at noon", lambda lines: lines[: len(lines) // 2], "complete ids_continue agrees_with_bars"),
    ("trades", "ids that the day before has too", _ids(-5), "ids_continue"),
    # ---- trades: wrong beside others
    ("trades", "a trade at ten times its price", _each(_dear_trade, 700), "price_band agrees_with_bars"),
    ("trades", "a side turned round", _each(_flipped, 700), "agrees_with_bars"),
    (
        "trades",
        "a quote amount one percent off",
        _each(_times("1.01", TRADE_QUOTE), 700),
        "quote_agrees agrees_with_bars",
    ),
    # ---- aggregate trades
    ("agg_trades", "an aggregate lost", _without(700, 701), "complete agrees_with_bars"),
    ("agg_trades", "an amount one unit off", _each(_more(AMOUNT, 1), 700), "agrees_with_bars"),
    ("agg_trades", "a price beyond its bar", _each(_times("2", PRICE), 700), "price_band agrees_with_bars"),
]
