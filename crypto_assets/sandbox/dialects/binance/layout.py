"""Binance's folders and file formats, from a market to the bytes of one zip.

COIN-M (inverse) is as linear, except: amounts are contracts, written with one digit after the point in trades and aggTrades;
the amount in base stands in the columns of quote amounts, which klines still call quote_volume and trades call base_qty.

| dataset     | spot                                   | futures (linear)                                      |
|-------------|----------------------------------------|-------------------------------------------------------|
| header      | none                                   | one line                                              |
| numbers     | eight digits after the point           | as many digits as tick and lot have                   |
| booleans    | True, False                            | true, false                                           |
| time        | milliseconds; microseconds since 2025  | milliseconds                                          |
| klines      | 1s to 1mo                              | 1m to 1mo                                             |
| trades      | 7 columns, the last is is_best_match   | 6 columns                                             |
| aggTrades   | 8 columns, the last is is_best_match   | 7 columns                                             |
| fundingRate | -                                      | 3 columns, by month only                              |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from crypto_assets.sandbox.damage import Table
from crypto_assets.sandbox.market import (
    INTERVALS,
    LONG_INTERVALS,
    Aggregates,
    Bars,
    Bools,
    Instrument,
    Ints,
    Market,
    Trades,
    aggregate,
    days_between,
    month_end,
)
from crypto_assets.sandbox.text import Boolean, Column, Constant, Decimal, Integer, csv_rows, zip_member

_ROOTS = {"spot": "data/spot", "linear": "data/futures/um", "inverse": "data/futures/cm"}
_SPOT_MICROSECONDS_SINCE = date(2025, 1, 1)  # by data date, in all time columns (binance-public-data README)
HEADERS = {
    "klines": "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
    "taker_buy_quote_volume,ignore",
    "trades": "id,price,qty,quote_qty,time,is_buyer_maker",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    "fundingRate": "calc_time,funding_interval_hours,last_funding_rate",
}


_TABLES = {
    "klines": Table("bars", 0, 3, 5, 7, high=2, close=4, end_time=6, header=HEADERS["klines"]),
    "trades": Table("trades", 4, 1, 2, 3, header=HEADERS["trades"]),
    "aggTrades": Table("aggregates", 5, 1, 2, id=0, header=HEADERS["aggTrades"]),
    "fundingRate": Table("funding", 0, 2, 2, header=HEADERS["fundingRate"]),
}


def table(key: str) -> Table:
    """Return where the columns of a file are, by the folder in its key; of an unknown one those of bars."""
    return _TABLES[next((part for part in key.split("/") if part in _TABLES), "klines")]


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one symbol, dataset and interval, one file a day or a month."""

    item: Instrument
    dataset: str
    interval: str | None
    monthly: bool
    first_day: date
    last_day: date

    @property
    def path(self) -> str:
        cadence = "monthly" if self.monthly else "daily"
        below = f"{self.interval}/" if self.interval else ""
        return f"{_ROOTS[self.item.market]}/{cadence}/{self.dataset}/{self.item.symbol}/{below}"

    def file_name(self, period: date) -> str:
        text = f"{period:%Y-%m}" if self.monthly else period.isoformat()
        return f"{self.item.symbol}-{self.interval or self.dataset}-{text}.zip"

    def period(self, file_name: str) -> date | None:
        """Return the first day of the file with this name; None if the name is not of this folder."""
        start = f"{self.item.symbol}-{self.interval or self.dataset}-"
        try:
            text = file_name.removeprefix(start).removesuffix(".zip")
            period = date.fromisoformat(f"{text}-01" if self.monthly else text)
        except ValueError:
            return None
        return period if self.file_name(period) == file_name else None


def folders(item: Instrument, first_day: date, last_day: date) -> Iterator[Folder]:
    """Yield all folders of one symbol, listed from `first_day` to `last_day`."""
    for monthly in (False, True):
        for interval in (*INTERVALS, *(LONG_INTERVALS if monthly else ())):
            if interval != "1s" or item.market == "spot":
                yield Folder(item, "klines", interval, monthly, first_day, last_day)
        for dataset in ("trades", "aggTrades"):
            yield Folder(item, dataset, None, monthly, first_day, last_day)
    if item.market != "spot":
        yield Folder(item, "fundingRate", None, True, first_day, last_day)


def has_rows(market: Market, folder: Folder, period: date) -> bool:
    """Return whether a day or month has anything to publish; `period` is its first day."""
    days = days_between(period, month_end(period) if folder.monthly else period)
    return any(market.has_day(folder.item, day, traded=folder.dataset in ("trades", "aggTrades")) for day in days)


def build(market: Market, folder: Folder, period: date, written: datetime) -> bytes:
    """Return the zip of one day or month; `period` is its first day."""
    days = list(days_between(period, month_end(period) if folder.monthly else period))
    name = folder.file_name(period).replace(".zip", ".csv")
    rows = folder.item.trades_per_day * len(days)
    return zip_member(name, _lines(market, folder, days), written, rows)


def _lines(market: Market, folder: Folder, days: list[date]) -> Iterator[bytes]:
    item = folder.item
    if item.market != "spot":
        header = HEADERS[folder.dataset]
        yield (header.replace("quote_qty", "base_qty") if item.market == "inverse" else header).encode() + b"\n"
    if folder.dataset == "fundingRate":
        for day in days:
            for time, rate in market.funding_rates(item, day):
                sign = "-" if rate < 0 else ""
                yield f"{time // 1_000},8,{sign}0.{abs(rate):08d}\n".encode()
        return
    # One time unit in a file: by its first day.
    unit = 1 if item.market == "spot" and days[0] >= _SPOT_MICROSECONDS_SINCE else 1_000
    write = Format(item, unit, in_file=True)
    if folder.interval in LONG_INTERVALS:
        for bars in market.long_bars(item, folder.interval, days[0], folder.last_day):
            yield from csv_rows(write.klines(bars))
        return
    for day in days:
        if folder.interval:
            yield from csv_rows(write.klines(market.bars(item, folder.interval, day)))
        elif folder.dataset == "trades":
            yield from csv_rows(write.trades(market.trades(item, day)))
        else:
            yield from csv_rows(write.aggregate_trades(aggregate(market.trades(item, day))))


@dataclass(frozen=True, slots=True)
class Format:
    """The notation of the columns of one file or answer; `unit` is the length of its time unit in microseconds."""

    item: Instrument
    unit: int
    in_file: bool = False

    def klines(self, bars: Bars) -> list[Column]:
        return [
            self._time(bars.open_time),
            *(self._price(prices) for prices in (bars.open, bars.high, bars.low, bars.close)),
            self._amount(bars.volume),
            Integer(bars.end_time // self.unit - 1),
            self._quote(bars.quote_volume),
            Integer(bars.trade_count),
            self._amount(bars.taker_buy_volume),
            self._quote(bars.taker_buy_quote_volume),
            Constant("0"),
        ]

    def trades(self, trades: Trades) -> list[Column]:
        return [
            Integer(trades.id),
            self._price(trades.price),
            self._traded(trades.amount),
            self._quote(trades.quote_amount),
            self._time(trades.time),
            self._boolean(trades.is_buyer_maker),
            *self._best_match(),
        ]

    def aggregate_trades(self, merged: Aggregates) -> list[Column]:
        return [
            Integer(merged.id),
            self._price(merged.price),
            self._traded(merged.amount),
            Integer(merged.first_trade_id),
            Integer(merged.last_trade_id),
            self._time(merged.time),
            self._boolean(merged.is_buyer_maker),
            *self._best_match(),
        ]

    def _time(self, values: Ints) -> Integer:
        return Integer(values // self.unit)

    def _price(self, values: Ints) -> Decimal:
        return self._decimal(values, self.item.price_decimals)

    def _amount(self, values: Ints) -> Decimal:
        return self._decimal(values, self.item.amount_decimals)

    def _traded(self, values: Ints) -> Decimal:
        # 83.0 contracts in the files of trades, 83 over REST and in klines.
        return Decimal(values, 0, 1) if self.item.contract_size and self.in_file else self._amount(values)

    def _quote(self, values: Ints) -> Decimal:
        return self._decimal(values, self.item.quote_decimals)

    def _decimal(self, values: Ints, scale: int) -> Decimal:
        # Futures: 61800.30 and 370.8018, as published for BTCUSDT on 2024-08-08: zeros down to the tick are written.
        return Decimal(values, scale, 8 if self.item.market == "spot" else scale)

    def _boolean(self, values: Bools) -> Boolean:
        return Boolean(values, *(("True", "False") if self.item.market == "spot" else ("true", "false")))

    def _best_match(self) -> list[Column]:
        return [Constant("True")] if self.item.market == "spot" else []
