"""Rows of OKX: of the CSV in its archive's files, and of its REST answers, which are written as the same CSV.

Trades: instrument_name,trade_id,side,price,size,created_time and since 2026-09 a seventh column, source (0 normal, 1 RPI).
        `size` is in base on spot, in contracts else: a fraction of one is possible (0.02), and exponents are (7.98e-05).
        An amount in base is contracts times the contract's size where that is in base (linear), contracts times size / price,
        rounded half even to 18 digits, where it is in quote (inverse); then contracts times size is the amount in quote.
        OKX publishes no other amount in quote: it is null.
Bars:   instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm, of one minute. `vol` is in base on spot,
        in contracts else, where `vol_ccy` is in base; so no contract size is needed. An unconfirmed bar (0) is not a row.
Funding: instrument_name,funding_rate,funding_time; all perpetuals in one file. The rate is the one that was paid, which REST
        calls realizedRate. The interval is not published: see `sources/funding.py`.

Names of columns are decided by the header of the file, in any order. Old headers are bilingual, in a Chinese encoding
(`trade_id/…`), and some have no instrument_name: what stands before the slash is the name. Old files have rows in no order.
Sources: rows of such files that others have quoted, and their readers; sizes were proven by trades that rebuild their bar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from crypto_assets import datasets
from crypto_assets.errors import BadContent, NoRows
from crypto_assets.model import Series
from crypto_assets.sources.contracts import base_of_inverse, times
from crypto_assets.sources.formats import in_schema, instants
from crypto_assets.sources.formats_text import decimals, read_text_csv, words
from crypto_assets.sources.funding import intervals

if TYPE_CHECKING:
    from crypto_assets.model import Instrument

_INTEGER, _TEXT, _WORD = pa.int64(), pa.string(), pa.dictionary(pa.int32(), pa.string())

_INSTRUMENT = "instrument_name"
_COLUMNS: Mapping[str, Mapping[str, pa.DataType]] = {
    "trades": {"trade_id": _INTEGER, "side": _WORD, "price": _TEXT, "size": _TEXT, "created_time": _INTEGER},
    "ohlcv": {
        **dict.fromkeys(("open", "high", "low", "close", "vol", "vol_ccy", "vol_quote"), _TEXT),
        "open_time": _INTEGER,
        "confirm": _WORD,
    },
    "funding_rates": {"funding_rate": _TEXT, "funding_time": _INTEGER},
}
_BESIDE = {"trades": ("source",), "ohlcv": (), "funding_rates": ()}

_SIDES = {"buy": "buy", "sell": "sell"}
_MOST_HEADER = 4096


def read_rows(
    series: Series,
    name: str,
    key: str,
    text: bytes | bytearray,
    instrument: Instrument | None = None,
    *,
    bundle: bool = False,
) -> pa.Table:
    """Return the rows of one instrument, by OKX's own name, in the columns of the dataset and in the order of the text.

    Args:
        instrument: needed for trades of contracts.
        bundle: the text holds other instruments too, and may have no row of this one; else another one is refused.

    Raises:
        BadContent: the text is not what the series' files have. NoRows: it has no row at all.
    """
    table = _of_instrument(key, name, _table(series.table, key, text), bundle=bundle)
    dataset = datasets.get(series.table)
    match series.table:
        case "trades":
            found = _trades(series, key, table, instrument)
        case "ohlcv":
            table, found = _bars(series, key, table)
        case _:
            found = _funding(key, table)
    return in_schema(dataset, found, table.num_rows)


def _table(dataset: str, key: str, text: bytes | bytearray) -> pa.Table:
    """Return the columns of a text under their plain names; `instrument_name` only if it has that."""
    names, body = _header(key, text)
    columns = dict(_COLUMNS[dataset])
    if _INSTRUMENT in names:
        columns[_INSTRUMENT] = _WORD
    return read_text_csv(key, body, columns, beside=_BESIDE[dataset])


def _header(key: str, text: bytes | bytearray) -> tuple[list[str], bytes]:
    """Return the names in a header, and the text with these names as its header.

    A bilingual name is `trade_id/` and bytes of any encoding. No byte of a Chinese letter is a comma, a slash or a line end:
    the second bytes of GBK begin at 0x40.
    """
    end = text.find(b"\n", 0, _MOST_HEADER)
    line = bytes(text[: end if end >= 0 else _MOST_HEADER]).removeprefix(b"\xef\xbb\xbf").rstrip(b"\r")
    cells = [cell.partition(b"/")[0].strip() for cell in line.split(b",")]
    if not all(re.fullmatch(rb"[a-z_]+", cell) for cell in cells):
        if not text:
            raise NoRows(f"{key}: expected rows, found an empty text")
        raise BadContent(
            f"{key}: expected a header with names of columns, found {line[:200].decode('utf-8', 'replace')!r}"
        )
    names = [cell.decode("ascii") for cell in cells]
    rest = bytes(text[end + 1 :]) if end >= 0 else b""
    return names, ",".join(names).encode() + b"\n" + rest


def _of_instrument(key: str, name: str, table: pa.Table, *, bundle: bool) -> pa.Table:
    """Return the rows of one instrument, without its name."""
    if _INSTRUMENT not in table.column_names:
        if bundle:
            raise BadContent(f"{key}: expected the column {_INSTRUMENT} in a file of many instruments, found none")
        return table
    column = table[_INSTRUMENT].cast(_TEXT)
    mine = pc.equal(column, pa.array([name])[0])
    if not pc.all(mine).as_py():
        if not bundle:
            other = column.filter(pc.invert(mine))[0].as_py()
            raise BadContent(f"{key}: expected rows of {name} alone, found {other[:60]!r}")
        table = table.filter(mine)
    return table.drop_columns([_INSTRUMENT])


def _trades(series: Series, key: str, table: pa.Table, instrument: Instrument | None) -> dict[str, pa.ChunkedArray]:
    price = decimals(key, "price", table["price"], exponents=True)
    size = decimals(key, "size", table["size"], exponents=True)
    return {
        "trade_time": instants(key, table["created_time"]),
        "trade_id": table["trade_id"],
        "price": price,
        **_amounts(series, key, size, price, instrument),
        "side": words(key, "side", table["side"], _SIDES),
    }


def _amounts(
    series: Series, key: str, size: pa.ChunkedArray, price: pa.ChunkedArray, instrument: Instrument | None
) -> dict[str, pa.ChunkedArray]:
    """Return the amounts in base, and in quote where that is exact."""
    if series.market_type == "spot":
        return {"amount": size}
    if instrument is None:
        raise BadContent(
            f"{key}: expected the contract size of the symbol, found no instrument; collect instruments first"
        )
    if series.market_type == "linear":
        return {"amount": times(key, size, instrument.contract_size)}
    return {
        "amount": base_of_inverse(key, size, instrument.contract_size, price),
        "quote_amount": times(key, size, instrument.contract_size),
    }


def _funding(key: str, table: pa.Table) -> dict[str, pa.ChunkedArray]:
    if table.num_rows == 0:
        return {}
    time = instants(key, table["funding_time"])
    return {
        "funding_time": time,
        "funding_rate": decimals(key, "funding_rate", table["funding_rate"], exponents=True),
        "funding_interval_hours": intervals(time),
    }


def _bars(series: Series, key: str, table: pa.Table) -> tuple[pa.Table, dict[str, pa.ChunkedArray]]:
    confirmed = words(key, "confirm", table["confirm"], {"0": "0", "1": "1"}).cast(_TEXT)
    closed = pc.equal(confirmed, pa.array(["1"])[0])
    if not pc.all(closed).as_py():
        table = table.filter(closed)
        if table.num_rows == 0:
            raise NoRows(f"{key}: expected closed bars, found none")
    volume = "vol" if series.market_type == "spot" else "vol_ccy"
    columns = {
        "open": "open",
        "high": "high",
        "low": "low",
        "close": "close",
        "volume": volume,
        "quote_volume": "vol_quote",
    }
    found = {ours: decimals(key, theirs, table[theirs], exponents=True) for ours, theirs in columns.items()}
    return table, {"open_time": instants(key, table["open_time"]), **found}
