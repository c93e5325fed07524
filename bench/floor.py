"""The floor: a competent engineer's script of one sitting for the same files. No checks, no state, no retries.

python -m bench.floor ARCHIVE_URL FOLDER {bars|trades} SYMBOL[,SYMBOL…] [POSTGRES_URL]

One listing a symbol, zip and checksum one after the other, CSV to decimals, Parquet, COPY if a database is given.
"""

import hashlib
import io
import re
import sys
import zipfile
from pathlib import Path

import httpx
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pgpq import ArrowToPostgresBinaryEncoder
from pyarrow import csv

NUMBER, COUNT, TIME = pa.decimal128(38, 18), pa.int64(), pa.timestamp("us", "UTC")
BARS = """open_time open high low close volume close_time quote_volume trade_count
    taker_buy_volume taker_buy_quote_volume ignore""".split()  # noqa: SIM905  twelve lines otherwise
TRADES = ["trade_id", "price", "amount", "quote_amount", "trade_time", "taker_sold", "is_best_match"]
TYPES = dict.fromkeys(BARS + TRADES, NUMBER)
TYPES |= dict.fromkeys(("open_time", "close_time", "trade_count", "trade_id", "trade_time"), COUNT)
TYPES |= {"ignore": pa.string(), "taker_sold": pa.bool_(), "is_best_match": pa.bool_()}
SQL = {"int64": "bigint", "decimal128(38, 18)": "numeric", "timestamp[us, tz=UTC]": "timestamptz", "string": "text"}


def rows_of(kind: str, text: bytes) -> pa.Table:
    """Return the rows of one CSV."""
    names = BARS if kind == "bars" else TRADES
    rows = csv.read_csv(
        pa.BufferReader(text),
        read_options=csv.ReadOptions(column_names=names),
        convert_options=csv.ConvertOptions(
            column_types=TYPES, include_columns=[n for n in names if n not in ("close_time", "ignore", "is_best_match")]
        ),
    )
    time = "open_time" if kind == "bars" else "trade_time"
    rows = rows.set_column(rows.column_names.index(time), time, rows[time].cast(pa.timestamp("ms", "UTC")).cast(TIME))
    if kind == "trades":
        rows = rows.append_column("side", pc.if_else(rows["taker_sold"], "sell", "buy")).drop_columns(["taker_sold"])
    return rows


def with_keys(kind: str, symbol: str, rows: pa.Table) -> pa.Table:
    """Return the rows with the key columns of a table of many symbols."""
    keys = {"exchange": "binance", "market_type": "spot", "symbol": symbol}
    keys |= {"timeframe": "1m", "source": "archive"} if kind == "bars" else {}
    for name, value in keys.items():
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    return rows


def copy(connection: psycopg.Connection, rows: pa.Table) -> None:
    """Append rows to the table `floor`; create it if it is missing."""
    columns = ", ".join(f"{f.name} {SQL[str(f.type)]} NOT NULL" for f in rows.schema)
    key = "timeframe, open_time" if "timeframe" in rows.column_names else "trade_time, trade_id"
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS floor ({columns}, PRIMARY KEY (exchange, market_type, symbol, {key}))"
    )
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    statement = f"COPY floor ({', '.join(rows.column_names)}) FROM STDIN WITH (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as out:
        out.write(encoder.write_header())
        for batch in rows.to_batches():
            out.write(encoder.write_batch(batch))
        out.write(encoder.finish())
    connection.commit()


def main(url: str, folder: str, kind: str, symbols: str, database: str | None = None) -> None:
    """Collect everything the archive lists of these symbols."""
    connection = psycopg.connect(database) if database else None
    with httpx.Client() as client:
        for symbol in symbols.split(","):
            place = f"klines/{symbol}/1m" if kind == "bars" else f"trades/{symbol}"
            listing = client.get(f"{url}/listing", params={"prefix": f"data/spot/daily/{place}/"}).text
            for key in re.findall(r"<Key>([^<]*\.zip)</Key>", listing):
                content = client.get(f"{url}/{key}").raise_for_status().content
                published = client.get(f"{url}/{key}.CHECKSUM").raise_for_status().text.split()[0]
                if hashlib.sha256(content).hexdigest() != published:
                    raise SystemExit(f"{key}: wrong checksum")
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    rows = rows_of(kind, archive.read(archive.namelist()[0]))
                path = Path(folder, symbol, f"{key[-14:-4]}.parquet")
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(rows, path, compression="zstd")
                if connection:
                    copy(connection, with_keys(kind, symbol, rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
