"""Read order books and tickers in one form: the best prices of each snapshot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from crypto_assets import datasets
from crypto_assets.checks._columns import BEST
from crypto_assets.checks._folds import NO_ROWS
from crypto_assets.checks._times import instant
from crypto_assets.model import Finding, Partition, Series
from crypto_assets.rows.day_frames import array_of, times_us

if TYPE_CHECKING:
    import pandas as pd


class Tops(NamedTuple):
    """Some snapshots, as arrays: time in microseconds, update id, best prices, number of levels.

    A side without levels has a price of minus (bid) or plus (ask) infinity.
    """

    times: np.ndarray
    update_ids: np.ndarray
    bids: np.ndarray
    asks: np.ndarray
    bid_levels: np.ndarray
    ask_levels: np.ndarray

    def at(self, place: int) -> str:
        """Name one snapshot: `2024-08-08T23:54:16.501000, update 5123107852948`."""
        return f"{instant(self.times[place])}, update {self.update_ids[place]}"


class _Reader(Protocol):
    def add(self, rows: pd.DataFrame) -> Tops:
        """Return the snapshots completed by these rows."""

    def rest(self) -> Tops:
        """Return the snapshot that is not complete yet, if there is one."""


class _Books:
    """Levels of snapshots; the last snapshot may continue in the next piece, and its best prices are kept until it ends."""

    def __init__(self) -> None:
        self._open = _NONE

    def add(self, rows: pd.DataFrame) -> Tops:
        if len(rows) == 0:
            return _NONE
        times, ids, prices = times_us(rows, "book_time"), array_of(rows, "update_id"), array_of(rows, "price")
        bid, ask = is_side(rows["side"], "bid"), is_side(rows["side"], "ask")
        starts = np.append(0, np.flatnonzero((times[1:] != times[:-1]) | (ids[1:] != ids[:-1])) + 1)
        tops = Tops(
            times[starts],
            ids[starts],
            np.maximum.reduceat(np.where(bid, prices, -np.inf), starts),
            np.minimum.reduceat(np.where(ask, prices, np.inf), starts),
            np.add.reduceat(bid.astype(np.int64), starts),
            np.add.reduceat(ask.astype(np.int64), starts),
        )
        if len(self._open.times):
            if self._open.times[0] == times[0] and self._open.update_ids[0] == ids[0]:
                tops.bids[0] = max(tops.bids[0], self._open.bids[0])
                tops.asks[0] = min(tops.asks[0], self._open.asks[0])
                tops.bid_levels[0] += self._open.bid_levels[0]
                tops.ask_levels[0] += self._open.ask_levels[0]
            else:
                tops = Tops(*(np.append(one, other) for one, other in zip(self._open, tops, strict=True)))
        self._open = Tops(*(column[-1:] for column in tops))
        return Tops(*(column[:-1] for column in tops))

    def rest(self) -> Tops:
        return self._open


class _Tickers:
    """Tickers: each row is a snapshot of one level; a side with price 0 has no level."""

    def add(self, rows: pd.DataFrame) -> Tops:
        bids, asks = array_of(rows, "bid_price"), array_of(rows, "ask_price")
        return Tops(
            times_us(rows, "ticker_time"),
            array_of(rows, "update_id"),
            np.where(bids > 0, bids, -np.inf),
            np.where(asks > 0, asks, np.inf),
            (bids > 0).astype(np.int64),
            (asks > 0).astype(np.int64),
        )

    def rest(self) -> Tops:
        return _NONE


_WHOLE, _PRICE = np.empty(0, dtype=np.int64), np.empty(0)
_NONE = Tops(_WHOLE, _WHOLE, _PRICE, _PRICE, _WHOLE, _WHOLE)


def is_side(sides: pd.Series, side: str) -> np.ndarray:
    """Return which rows have a side; the categories of the column may be in any order."""
    places = [place for place, word in enumerate(sides.cat.categories) if word == side]
    codes = sides.cat.codes.to_numpy()
    return codes == places[0] if places else np.zeros(len(codes), dtype=bool)


class TopsFold(ABC):
    """Base of a check of the best prices of snapshots.

    A subclass receives snapshots in file order. It must replace its state, not change it in place: the incomplete last
    snapshot is judged on a copy.
    """

    def __init__(self, partition: Partition, series: Series) -> None:  # noqa: ARG002
        self._reader: _Reader = _Tickers() if datasets.get(series.table).has(BEST) else _Books()
        self.snapshots = 0

    @abstractmethod
    def look(self, tops: Tops) -> None:
        """Judge some snapshots."""

    @abstractmethod
    def result(self) -> Finding:
        """Return the finding on the snapshots so far, at least one."""

    def add(self, rows: pd.DataFrame) -> None:
        self._look(self._reader.add(rows))

    def _look(self, tops: Tops) -> None:
        if len(tops.times):
            self.look(tops)
            self.snapshots += len(tops.times)

    def finding(self) -> Finding:
        whole = copy(self)
        whole._look(self._reader.rest())
        return whole.result() if whole.snapshots else NO_ROWS
