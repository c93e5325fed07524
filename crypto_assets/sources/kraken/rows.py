"""Reads rows of Kraken's answers. Numbers are text there, times are JSON numbers; nothing passes through a float."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.datasets.types import DECIMAL, INSTANT
from crypto_assets.errors import BadContent
from crypto_assets.sources.answer_symbol import require_name
from crypto_assets.sources.kraken.symbols import names_of

_TIME = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9}))?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})?", re.ASCII)
_SIDES = {"b": 0, "s": 1}


def result_of(key: str, answer: Any) -> Mapping[str, Any]:
    """Return the `result` of an answer; raises BadContent if it has none."""
    found = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise BadContent(f"{key}: expected a result, found {str(answer)[:200]}")
    return found


def rows_of(key: str, answer: Any, widths: Sequence[int], symbol: str) -> tuple[list[list[Any]], str]:
    """Return the rows of an answer and its `last`. They stand under the only other name, in the canonical spelling.

    Args:
        symbol: the unified symbol that was asked for.

    Raises:
        BadContent: another form, rows that have not one of the widths, or rows of another pair.
    """
    result = result_of(key, answer)
    names = [name for name in result if name != "last"]
    rows = result[names[0]] if len(names) == 1 else None
    if not isinstance(rows, list) or "last" not in result:
        raise BadContent(f"{key}: expected the rows of one pair and `last`, found {', '.join(map(str, result))[:200]}")
    if names[0] not in names_of(symbol):
        require_name(key, symbol, names)
    for row in rows:
        if not isinstance(row, list) or len(row) not in widths:
            raise BadContent(f"{key}: expected rows of {' or '.join(map(str, widths))} values, found {str(row)[:200]}")
    return rows, str(result["last"])


def trades(key: str, rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return trades in the order of the answer.

    A row is price, volume, time, b or s (the taker's side), l or m, a remark, and the number of the trade. Answers of 2013
    and 2019 have no number: it is null. Times have seven decimals or fewer and are cut to microseconds, never rounded: so
    the order stays, and no trade moves into the next bar or day.
    """
    return table(
        "trades",
        {
            "trade_time": pa.array([micros(key, row[2]) for row in rows], pa.int64()).cast(INSTANT),
            "trade_id": pa.array([_whole(key, row[6]) if len(row) > 6 else None for row in rows], pa.int64()),
            "price": numbers(key, [row[0] for row in rows]),
            "amount": numbers(key, [row[1] for row in rows]),
            "side": sides(key, [row[3] for row in rows]),
        },
        len(rows),
    )


def bars(key: str, rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return bars in the order of the answer, without those in which nobody traded.

    A row is time, open, high, low, close, average price, volume, count. The answer has rows for silent bars too, the
    downloaded files have none (support.kraken.com, OHLCVT): left out, the two are equal.
    """
    counts = [_whole(key, row[7]) for row in rows]
    traded = [row for row, count in zip(rows, counts, strict=True) if count]
    return table(
        "ohlcv",
        {
            "open_time": pa.array([micros(key, row[0]) for row in traded], pa.int64()).cast(INSTANT),
            **{
                name: numbers(key, [row[place] for row in traded])
                for name, place in (("open", 1), ("high", 2), ("low", 3), ("close", 4), ("volume", 6))
            },
            "trade_count": pa.array([count for count in counts if count], pa.int64()),
        },
        len(traded),
    )


def table(name: str, columns: Mapping[str, pa.Array | pa.ChunkedArray], length: int) -> pa.Table:
    """Return a table of a dataset; columns that are not given are null."""
    schema = datasets.get(name).schema
    arrays = [columns[field.name] if field.name in columns else pa.nulls(length, field.type) for field in schema]
    return pa.table(arrays, schema=schema)


def nanoseconds(key: str, time: Any) -> int:
    """Return a time in seconds, as JSON has it (an integer, or the text of a number with a fraction), in nanoseconds."""
    match = _TIME.fullmatch(str(time))
    if match is None or isinstance(time, bool):
        raise BadContent(f"{key}: expected a time in seconds with at most 9 decimals, found {str(time)[:60]!r}")
    return int(match[1]) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


def micros(key: str, time: Any) -> int:
    """Return a time in seconds in microseconds; smaller parts are cut."""
    return nanoseconds(key, time) // 1000


def numbers(key: str, texts: Sequence[Any]) -> pa.Array:
    """Return texts of plain numbers as decimals."""
    for text in texts:
        if not isinstance(text, str) or not _NUMBER.fullmatch(text):
            raise BadContent(f"{key}: expected the text of a number, found {str(text)[:60]!r}")
    return pa.array(texts, pa.string()).cast(DECIMAL)


def _whole(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise BadContent(f"{key}: expected a whole number, found {str(value)[:60]!r}")
    return value


def sides(key: str, letters: Sequence[Any]) -> pa.Array:
    """Return the takers' sides; raises BadContent for a letter other than b and s."""
    try:
        places = pa.array([_SIDES[letter] for letter in letters], pa.int8())
    except (KeyError, TypeError):
        odd = next(letter for letter in letters if letter not in ("b", "s"))
        raise BadContent(f"{key}: expected the side b or s, found {str(odd)[:60]!r}") from None
    return pa.DictionaryArray.from_arrays(places, pa.array(["buy", "sell"]))
