"""Files that a person downloaded from Kraken (support.kraken.com, "Downloadable historical OHLCVT data" and "… market data").

`Kraken_OHLCVT.zip` and, for each quarter, `Kraken_OHLCVT_Q1_2026.zip`: `XBTUSD_60.csv`, without a header: time in seconds,
open, high, low, close, volume, count. Only bars in which somebody traded are there. Numbers may be written as 1E+1: 236 of
63,568 rows of `ETHUSD_60.csv`.

`Kraken_Trading_History_Q1_2026.zip`: `XBTUSD.csv`, a header, then price, volume, time, b or s, l or m, a remark, number: the
columns of REST (according to people who read such files; none was seen here, so each value is checked). The complete
`Kraken_Trading_History.zip` has time, price and volume only: without numbers nobody can say that a day is complete, and
without sides half of a trade is missing. Its rows are refused, REST has these days with both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv

from crypto_assets.datasets.types import INSTANT
from crypto_assets.errors import BadContent
from crypto_assets.machine.shortage import raise_if_ours
from crypto_assets.model import Series, Span, bar_length
from crypto_assets.sources.feeds import Digest, Timing
from crypto_assets.sources.formats_text import decimals
from crypto_assets.sources.kraken import rows
from crypto_assets.sources.listings.folder import Folder
from crypto_assets.sources.packing import PLAIN, Text

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

_BAR = ("open_time", "open", "high", "low", "close", "volume", "trade_count")
_TRADE = ("price", "amount", "time", "side", "kind", "remark", "number")

_QUARTERLY = timedelta(days=120)
"""A quarter's files appear some weeks after its end."""


@dataclass(frozen=True, slots=True)
class KrakenFiles:
    """One series in downloaded files, day by day."""

    series: Series

    name = "files"
    final = True
    bundles = False
    timing = Timing(timedelta(days=92), _QUARTERLY, _QUARTERLY)
    listing = None
    since = None
    universe = None
    packing = PLAIN
    whole = False

    @property
    def folder(self) -> Folder:
        """The names of the files, and where their times stand."""
        if self.series.table == "trades":
            return Folder("files/trades", ".csv", {3: 0, 7: 2}, timedelta(0))
        length = bar_length(self.series.timeframe or "")
        minutes = length // timedelta(minutes=1)
        return Folder(f"files/ohlcv/{minutes}", f"_{minutes}.csv", {7: 0, 8: 0}, length)

    def prefix(self, name: str) -> str:
        return f"{self.folder.prefix}/{name}/"

    def keys(self, name: str, day: date) -> tuple[str, ...]:
        return (self.folder.key(name, day),)

    def covers(self, key: str) -> Span:
        _, day = self.folder.parsed(key)
        return Span.of_days(day, day)

    def digest(self, key: str) -> Digest | None:  # noqa: ARG002  Kraken publishes none
        return None

    def parse(self, symbol: str, key: str, text: Text, instrument: Instrument | None = None) -> pa.Table:  # noqa: ARG002
        """Return the rows of a day, in file order; none for a silent day inside the file."""
        if not text:
            return rows.table(self.series.table, {}, 0)
        return _trades(key, text) if self.series.table == "trades" else _bars(key, text)


def _bars(key: str, text: Text) -> pa.Table:
    found = _read(key, text, _BAR)
    numbers = {name: decimals(key, name, found.column(name), exponents=True) for name in _BAR[1:-1]}
    seconds, counts = (_whole(key, name, found.column(name)) for name in (_BAR[0], _BAR[-1]))
    return rows.table(
        "ohlcv",
        {"open_time": seconds.cast(pa.timestamp("s", "UTC")).cast(INSTANT), **numbers, "trade_count": counts},
        found.num_rows,
    )


def _trades(key: str, text: Text) -> pa.Table:
    if text.partition(b"\n")[0].count(b",") == 2:
        raise BadContent(
            f"{key}: expected seven columns with the number and the side of each trade, found three: the complete "
            "Trading_History has neither; put the quarterly files into the folder, or leave the day to REST"
        )
    found = _read(key, text, _TRADE)
    times = [rows.micros(key, time) for time in found.column("time").to_pylist()]
    return rows.table(
        "trades",
        {
            "trade_time": pa.array(times, pa.int64()).cast(INSTANT),
            "trade_id": _whole(key, "number", found.column("number")),
            "price": decimals(key, "price", found.column("price"), exponents=True),
            "amount": decimals(key, "amount", found.column("amount"), exponents=True),
            "side": rows.sides(key, found.column("side").to_pylist()),
        },
        found.num_rows,
    )


def _read(key: str, text: Text, names: tuple[str, ...]) -> pa.Table:
    """Return the columns of lines without a header, as text."""
    try:
        return csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=csv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(text) + 1),
            parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[], strings_can_be_null=False
            ),
        )
    except (MemoryError, pa.ArrowInvalid) as error:
        raise_if_ours(error, key)
        shown = " ".join(str(error).split())[:300]
        raise BadContent(f"{key}: expected {len(names)} columns ({', '.join(names)}), found {shown}") from None


def _whole(key: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    for text in column.to_pylist():
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise BadContent(f"{key}: expected a whole number in column {name}, found {text[:60]!r}")
    return column.cast(pa.int64())
