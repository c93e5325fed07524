"""The reason of a refused file of many symbols and market types: each part is kept whole, and is written under a lock."""

from __future__ import annotations

import fcntl
import os
from datetime import date
from pathlib import Path
from typing import Any

from crypto_assets.engine.day_outcomes import Target, quarantine
from crypto_assets.errors import BadContent
from crypto_assets.model import ArchiveObject, Series
from crypto_assets.quality.quarantine.refused_files import drop, find, refused_files
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.refusal_reason import MOST_BYTES, checked_reason, joined_reason, reason_text, split_reason

DAY = date(2024, 1, 2)
KEY = f"cdn/okex/traderecords/swaprates/daily/{DAY:%Y%m%d}/allswap-fundingrates-{DAY}.zip"
CONTENT = b"one file of all perpetuals"
INVERSE, LINEAR = Series("okx", "inverse", "funding_rates"), Series("okx", "linear", "funding_rates")
COIN, BTC, ETH = "BTC/USD:BTC", "BTC/USDT:USDT", "ETH/USDT:USDT"


def refuse(lake: Lake, series: Series, symbol: str, found: str, etag: str = "e") -> str:
    source = ArchiveObject(KEY, len(CONTENT), etag, None)
    error = BadContent(f"{symbol}: bad", lines=[found])
    return quarantine(lake, KEY, CONTENT, error, Target(series, symbol, (DAY,), ()), [DAY], source).path


def test_linear_and_inverse_symbols_of_one_file_keep_their_series_and_their_evidence(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    refused = [(INVERSE, COIN, "a", "1"), (LINEAR, BTC, "b", "2"), (LINEAR, ETH, "c", "2"), (INVERSE, BTC, "d", "1")]
    [path] = {refuse(lake, *one) for one in refused}
    expected = {
        (Series("okx", series.market_type, "funding_rates"), symbol, f"{symbol}: bad", found, etag)
        for series, symbol, found, etag in refused[:3]
    }
    files = refused_files(lake)

    def told(files: Any) -> set[Any]:
        return {(one.series, one.symbol, one.reason, *one.details["lines"], one.etag) for one in files if one.series}

    assert told(files) == expected
    assert [one.reason for one in files if one.series is None] == [f"{BTC}: bad"], "no symbol of an inverse market"
    assert {(one.path, one.days if one.series else one.details["days"][0]) for one in files} == {
        (path, (DAY,)),
        (path, str(DAY)),
    }
    assert len({one.name for one in files}) == 4

    for one in find(files, path):
        if (one.series, one.symbol) != (LINEAR, BTC):
            drop(lake, one)
    [left] = refused_files(lake)
    assert told([left]) == {one for one in expected if one[1] == BTC}
    assert (left.sha256, left.size_bytes, left.key) == (files[0].details["sha256"], len(CONTENT), KEY)
    drop(lake, left)
    assert list(lake.store.paths("quarantine/")) == []


class Watched(Lake):
    """A lake that notes, at each reading of a reason, whether another process could lock the folder."""

    seen: list[str]

    def reason(self, path: str) -> dict[str, Any]:
        folder = os.open(self.url, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.seen.append("open")
        except BlockingIOError:
            self.seen.append("locked")
        finally:
            os.close(folder)
        return super().reason(path)


def test_a_reason_is_read_and_written_under_a_lock_that_other_processes_know(tmp_path: Path) -> None:
    lake = Watched(str(tmp_path / "new"))
    lake.seen = []
    refuse(lake, LINEAR, BTC, "a")
    refuse(lake, LINEAR, ETH, "a")
    first, second = refused_files(Lake(str(tmp_path / "new")))
    drop(lake, first)
    drop(lake, second)
    assert lake.seen == ["locked"] * 4
    assert lake.reason("quarantine/none") == {}
    assert lake.seen[-1] == "open"


def test_of_a_reason_that_is_too_large_the_other_parts_lose_their_evidence_first() -> None:
    def part(number: int) -> dict[str, Any]:
        names = {"market_type": "linear", "dataset": "funding_rates", "symbol": f"S{number}/USDT:USDT"}
        return {**names, "reason": "why", "days": [str(DAY)], "findings": {}, "lines": ["x" * 8_000]}

    parts = {("linear", "funding_rates", f"S{number}/USDT:USDT"): part(number) for number in range(200)}
    first = ("linear", "funding_rates", "S7/USDT:USDT")
    content = reason_text(joined_reason(parts, first))
    assert len(content) <= MOST_BYTES
    found = split_reason(checked_reason(content))
    assert found == {
        key: one if key == first else {name: value for name, value in one.items() if name != "lines"}
        for key, one in parts.items()
    }
