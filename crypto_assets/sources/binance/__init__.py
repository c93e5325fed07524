"""Binance.

Archive: https://data.binance.vision, listed at https://s3-ap-northeast-1.amazonaws.com/data.binance.vision (S3 XML,
         1,000 keys a page; `data.binance.vision/?prefix=` answers an HTML page instead).
Path:    data/{spot|futures/um}/{daily|monthly}/{klines|trades|aggTrades|fundingRate}/{symbol}/[{interval}/]
         {symbol}-{interval or dataset}-{date or month}.zip
Each zip holds one CSV and has a sibling .CHECKSUM (SHA-256). Daily files appear the next day, mostly before 12:00 UTC,
sometimes days later; monthly files from the first Monday of the next month on. 3d, 1w and 1mo bars and funding rates are
published monthly only. Source: github.com/binance/binance-public-data (README) and its issues #166, #181, #328, #414.

The format of a file follows no date rule, because old files are regenerated: spot files mostly have no header, futures files
mostly have one; spot times are microseconds since 2025-01-01 and milliseconds before, futures times milliseconds; booleans
are `True` on spot, `true` on futures. The parser decides each by the content of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa

from crypto_assets import datasets
from crypto_assets.datasets.types import DECIMAL
from crypto_assets.model import Series
from crypto_assets.sources.binance.instruments import BinanceInstruments
from crypto_assets.sources.binance.rest import BinanceRest
from crypto_assets.sources.facts import Facts
from crypto_assets.sources.formats import instants, read_csv, sides, unzip_one
from crypto_assets.sources.limits import Limit

_TREES = {"spot": "data/spot", "linear": "data/futures/um"}
_BAR_TIMEFRAMES = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1mo")
_MONTHLY_TIMEFRAMES = frozenset({"3d", "1w", "1mo"})
_TAGS = {"trades": "trades", "agg_trades": "aggTrades", "funding_rates": "fundingRate"}

_DAILY_TOLERANCE = timedelta(days=3)
_MONTHLY_TOLERANCE = timedelta(days=35)

_INTEGER, _TEXT = pa.int64(), pa.string()

_KLINES = {
    "open_time": _INTEGER,
    "open": DECIMAL,
    "high": DECIMAL,
    "low": DECIMAL,
    "close": DECIMAL,
    "volume": DECIMAL,
    # Two rows of early 2018 have a wrong close_time (binance-public-data #77); it follows from open_time and is not used.
    "close_time": _INTEGER,
    "quote_volume": DECIMAL,
    "trade_count": _INTEGER,
    "taker_buy_volume": DECIMAL,
    "taker_buy_quote_volume": DECIMAL,
    "ignore": _TEXT,
}
_KLINES_NAMES = ("open_time", "open", "high", "low", "close", "volume", "close_time")
_KLINES_HEADERS = (
    (*_KLINES_NAMES, "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
    # Named as in the README and the REST API.
    (
        *_KLINES_NAMES,
        *("quote_asset_volume", "number_of_trades", "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"),
        "ignore",
    ),
)

_TRADES = {
    "trade_id": _INTEGER,
    "price": DECIMAL,
    "amount": DECIMAL,
    "quote_amount": DECIMAL,
    "trade_time": _INTEGER,
    "taker_sold": pa.bool_(),
}
_TRADES_HEADERS = (
    ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker"),
    ("trade_id", "price", "quantity", "quote_quantity", "timestamp", "is_buyer_maker"),
)

_AGG_TRADES = {
    "agg_trade_id": _INTEGER,
    "price": DECIMAL,
    "amount": DECIMAL,
    "first_trade_id": _INTEGER,
    "last_trade_id": _INTEGER,
    "trade_time": _INTEGER,
    "taker_sold": pa.bool_(),
}
_AGG_TRADES_HEADERS = (
    ("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time", "is_buyer_maker"),
    ("agg_id", "price", "qty", "first_trade_id", "last_trade_id", "time", "is_buyer_maker"),
    (
        "aggregate_trade_id",
        "price",
        "quantity",
        "first_trade_id",
        "last_trade_id",
        "timestamp",
        "was_the_buyer_the_maker",
    ),
)

# Spot files have one column more; COIN-M names the amount in base.
_BEST_MATCH = {"is_best_match": pa.bool_()}
_BESIDE = {**_BEST_MATCH, "base_qty": DECIMAL}

_FUNDING = {"funding_time": _INTEGER, "funding_interval_hours": pa.int16(), "funding_rate": DECIMAL}
_FUNDING_HEADERS = (("calc_time", "funding_interval_hours", "last_funding_rate"),)

_KEY = re.compile(r"-(\d{4})-(\d{2})(?:-(\d{2}))?\.zip$")


class Binance:
    """Spot (`spot`) and USD-M futures (`linear`)."""

    name = "binance"
    archive_url = "https://data.binance.vision"
    listing_url = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
    rest_url = "https://api.binance.com"
    # Includes S3's two names of one region (S3 user guide, "Request redirection"), and the REST host of futures.
    hosts = frozenset(
        {
            "data.binance.vision",
            "s3-ap-northeast-1.amazonaws.com",
            "s3.ap-northeast-1.amazonaws.com",
            "api.binance.com",
            "fapi.binance.com",
        }
    )
    # The host also answers list-type=2; the exchange's own page uses version 1 (binance-public-data, web list script).
    listing_version = 1
    # For each address (rest-api.md, "LIMITS"; exchangeInfo, rateLimits). Binance counts calendar minutes; kept in every
    # sliding window, the limits need no common clock. Its maintainers know of no limit on the archive
    # (binance-public-data #328).
    limits: Mapping[str, Sequence[Limit]] = {
        "spot": (Limit(6_000, 60), Limit(300_000, 300, "requests")),
        "linear": (Limit(2_400, 60),),
    }

    def dataset_names(self, market_type: str) -> tuple[str, ...]:
        bars = tuple(f"ohlcv_{timeframe}" for timeframe in _BAR_TIMEFRAMES)
        if market_type == "spot":
            return ("ohlcv_1s", *bars, "trades", "agg_trades")
        if market_type == "linear":
            return (*bars, "trades", "agg_trades", "funding_rates")
        return ()

    def facts(self, series: Series) -> Facts:
        # Futures leave out internal and insurance trades, which the order book did not match (binance-public-data #190,
        # #363, #378).
        return Facts() if series.market_type == "spot" else Facts(numbering="holes", hidden_ids=100)

    def exchange_symbol(self, symbol: str) -> str:
        pair, _, settle = symbol.partition(":")
        _, dash, expiry = settle.partition("-")
        return pair.replace("/", "") + ("_" + expiry if dash else "")

    def expires_at(self, symbol: str) -> datetime | None:
        # Delivery is at 08:00 UTC of the day in the name (fapi exchangeInfo, deliveryDate).
        _, dash, expiry = symbol.partition(":")[2].partition("-")
        try:
            return datetime.strptime(expiry, "%y%m%d").replace(hour=8, tzinfo=UTC) if dash else None
        except ValueError:  # 241399 is not a day
            return None

    def prefixes(self, series: Series, symbol: str) -> list[str]:
        # Daily before monthly: monthly klines are known to differ from daily ones and from the API
        # (binance-public-data #475) and to miss days (#140, #253).
        return [
            f"{self._folder(series, frequency)}{self.exchange_symbol(symbol)}/"
            + (f"{series.timeframe}/" if series.timeframe else "")
            for frequency in (("monthly",) if _monthly_only(series) else ("daily", "monthly"))
        ]

    def universe_prefix(self, series: Series) -> str:
        return self._folder(series, "monthly" if _monthly_only(series) else "daily")

    def key(self, prefix: str, series: Series, symbol: str, day: date) -> str:
        stamp = day.strftime("%Y-%m") if "/monthly/" in prefix else day.isoformat()
        return f"{prefix}{self.exchange_symbol(symbol)}-{series.timeframe or _TAGS[series.table]}-{stamp}.zip"

    def period(self, key: str) -> tuple[date, date]:
        match = _KEY.search(key)
        if not match:
            raise ValueError(f"{key}: expected a name that ends in -YYYY-MM-DD.zip or -YYYY-MM.zip")
        year, month = int(match[1]), int(match[2])
        if match[3]:
            day = date(year, month, int(match[3]))
            return day, day
        return date(year, month, 1), _month_end(date(year, month, 1))

    def checksum_key(self, key: str) -> str | None:
        return f"{key}.CHECKSUM"

    def usual_delay(self, series: Series) -> timedelta:
        # A kline file of 2026-08-29 appeared at 08:41 the next day; spot 4–6 hours after midnight (#181), monthly files on
        # day 1–3 (#328).
        return timedelta(days=1) if _monthly_only(series) else timedelta(hours=4)

    def mostly_by(self, series: Series) -> timedelta:
        # Daily files mostly before 12:00 UTC of the next day, monthly ones until the middle of the month (#181, #328).
        return timedelta(days=15) if _monthly_only(series) else timedelta(hours=12)

    def expected_by(self, series: Series, day: date) -> datetime:
        if _monthly_only(series):
            return datetime.combine(_month_end(day), time(), UTC) + timedelta(days=1) + _MONTHLY_TOLERANCE
        return datetime.combine(day, time(), UTC) + timedelta(days=1) + _DAILY_TOLERANCE

    def parse(self, series: Series, key: str, content: bytes) -> pa.Table:
        return self._rows(series, key, unzip_one(key, content))

    def counted_weight(self, budget: str, headers: Mapping[str, str]) -> tuple[int, float] | None:
        used = headers.get("x-mbx-used-weight-1m", "")
        return (int(used), 60.0) if budget in self.limits and used.isascii() and used.isdigit() else None

    def instruments(self, market_type: str) -> BinanceInstruments | None:
        return BinanceInstruments(market_type) if market_type in ("spot", "linear", "inverse") else None

    def rest(self, series: Series) -> BinanceRest | None:
        return BinanceRest(series, self.facts(series), self.exchange_symbol, self._rows)

    def _rows(self, series: Series, key: str, text: bytes | bytearray) -> pa.Table:
        spot = series.market_type == "spot"
        match series.table:
            case "ohlcv":
                table = read_csv(key, text, _KLINES, headers=_KLINES_HEADERS, use=_KLINES_USED)
            case "trades":
                columns = _TRADES | _BEST_MATCH if spot else _TRADES
                table = read_csv(key, text, columns, headers=_TRADES_HEADERS, optional=_BESIDE, words=_BOOLEANS)
            case "agg_trades":
                columns = _AGG_TRADES | _BEST_MATCH if spot else _AGG_TRADES
                table = read_csv(key, text, columns, headers=_AGG_TRADES_HEADERS, optional=_BESIDE, words=_BOOLEANS)
            case "funding_rates":
                table = read_csv(key, text, _FUNDING, headers=_FUNDING_HEADERS)
            case _:
                raise ValueError(f"{series}: Binance's archive has no such dataset")
        schema = datasets.get(series.table).schema
        time_column = datasets.get(series.table).time_column
        found = {name: table.column(name) for name in table.column_names}
        found[time_column] = instants(key, found[time_column])
        if "taker_sold" in found:
            found["side"] = sides(found.pop("taker_sold"))
        return pa.table([found[name] for name in schema.names], schema=schema)

    def _folder(self, series: Series, frequency: str) -> str:
        kind = "klines" if series.table == "ohlcv" else _TAGS[series.table]
        return f"{_TREES[series.market_type]}/{frequency}/{kind}/"


_BOOLEANS = (b"true", b"false")

_KLINES_USED = [name for name in _KLINES if name not in ("close_time", "ignore")]


def _monthly_only(series: Series) -> bool:
    return series.table == "funding_rates" or series.timeframe in _MONTHLY_TIMEFRAMES


def _month_end(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


EXCHANGE = Binance()
