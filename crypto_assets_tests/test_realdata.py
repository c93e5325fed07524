"""Real files of Binance, through the whole command: every published value is in the lake and in the warehouse.

One process collects all of it; the files are served as they stand. `realdata/README.md` says what each one can prove.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crypto_assets.model import Series
from crypto_assets.sandbox.archive import FolderArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.command import Answer, Command, no_traceback
from crypto_assets_tests.published import days, key, of_day, rows_of, text_of
from crypto_assets_tests.workbench import entry, lake_rows, warehouse_rows

pytestmark = pytest.mark.realdata

SEPTEMBER = date(2023, 9, 1)
AVAX, FIL, ALGO, PERPETUAL = "AVAX/USDT:USDT", "FIL/USDT:USDT", "ALGO/USDT:USDT", "BTC/USDT:USDT"
RECORDED = date(2024, 8, 8)
LINEAR_1M = Series("binance", "linear", "ohlcv", "1m")

COLLECT = {
    "avax fil": "collect --json --symbol AVAX/USDT --symbol FIL/USDT --from 2023-09-01 --to 2023-09-30",
    "algo": "collect --json --symbol ALGO/USDT --from 2024-09-01 --to 2024-09-30",
    "spot 1m": "collect --json --market-type spot --dataset ohlcv_1m --from 2020-01-01 --to 2020-01-02",
    "spot 1h": "collect --json --dataset ohlcv_1h --from 2026-05-08 --to 2026-05-08",
    "funding": "collect --json --dataset funding_rates --from 2026-04-01 --to 2026-04-30",
    "trades": "collect --dataset trades --from 2024-08-08 --to 2024-08-08",
}
ASK = {
    "status": "status --json",
    "gaps of bars": "gaps --json --dataset ohlcv_1m --market-type linear --symbol AVAX/USDT --to 2023-10-02",
    "gaps of trades": "gaps --json --dataset trades --to 2024-08-08",
}


@dataclass
class Collected:
    """What the commands answered, and where everything is."""

    answers: dict[str, Answer]
    folder: Path
    lake: Lake
    url: str

    def text(self, of: str) -> str:
        return text_of((self.folder / of).read_bytes())


@pytest.fixture(scope="module")
def collected(
    realdata: Path, tmp_path_factory: pytest.TempPathFactory, module_postgres_url: str
) -> Iterator[Collected]:
    folder = realdata / "binance_vision"
    command = Command.at(tmp_path_factory.mktemp("realdata"), module_postgres_url)
    with SandboxServer(FolderArchive(folder)) as server:
        urls = {"archive_url": server.archive_url, "listing_url": server.listing_url}
        series = [
            entry("linear", ["ohlcv_1m"], [AVAX, FIL], SEPTEMBER),
            entry("linear", ["ohlcv_1m"], [ALGO], date(2024, 9, 1)),
            entry("spot", ["ohlcv_1m"], ["BTC/USDT"], date(2020, 1, 1)),
            entry("spot", ["ohlcv_1h"], ["BTC/USDT"], date(2026, 5, 8)),
            entry("linear", ["funding_rates"], [PERPETUAL], date(2026, 4, 1)),
            entry("linear", ["trades"], [PERPETUAL], RECORDED),
        ]
        command.configure({"exchanges": {"binance": urls}, "series": series})
        commands = COLLECT | ASK
        answers = dict(zip(commands, command.sequence(*commands.values()), strict=True))
    assert all(no_traceback(answer) for answer in answers.values()), answers
    return Collected(answers, folder, Lake(str(command.home / "lake")), module_postgres_url)


@pytest.mark.parametrize(
    ("symbol", "first"), [(AVAX, SEPTEMBER), (FIL, SEPTEMBER), (ALGO, date(2024, 9, 1))], ids=["AVAX", "FIL", "ALGO"]
)
def test_a_month_of_futures_bars_is_stored_to_the_last_digit(collected: Collected, symbol: str, first: date) -> None:
    expected = []
    for day in days(first, 30):
        of = key("linear", "klines", symbol.partition("/")[0] + "USDT", "1m", day)
        rows = rows_of("klines", collected.text(of))
        assert lake_rows(collected.lake, LINEAR_1M, symbol, day) == rows, day
        expected += rows
    assert len(expected) == 43_200
    stored = warehouse_rows(
        collected.url,
        *("ohlcv", symbol, first, "timeframe = '1m' AND source = 'archive'"),
        count=30,
        market_type="linear",
    )
    assert stored == expected


def test_the_stored_month_is_the_published_month(collected: Collected) -> None:
    month = rows_of("klines", collected.text(key("linear", "klines", "AVAXUSDT", "1m", "2023-09", "monthly")))
    stored = [row for day in days(SEPTEMBER, 30) for row in lake_rows(collected.lake, LINEAR_1M, AVAX, day)]
    assert len(stored) == 43_200
    assert stored == month


def test_zero_volume_bars_of_an_outage_are_kept_as_published(collected: Collected) -> None:
    rows = lake_rows(collected.lake, LINEAR_1M, AVAX, date(2023, 9, 12))
    quiet = [row[0] // 60_000_000 % 1440 for row in rows if row[5] == 0]
    assert set(range(8 * 60 + 34, 8 * 60 + 53)) <= set(quiet)


@pytest.mark.parametrize(
    ("timeframe", "day", "count"),
    [("1m", date(2020, 1, 1), 1440), ("1m", date(2020, 1, 2), 1440), ("1h", date(2026, 5, 8), 24)],
)
def test_spot_bars_in_milliseconds_and_in_microseconds(
    collected: Collected, timeframe: str, day: date, count: int
) -> None:
    expected = rows_of("klines", collected.text(key("spot", "klines", "BTCUSDT", timeframe, day)))
    assert len(expected) == count
    assert lake_rows(collected.lake, Series("binance", "spot", "ohlcv", timeframe), "BTC/USDT", day) == expected
    where = f"timeframe = '{timeframe}' AND source = 'archive'"
    assert warehouse_rows(collected.url, "ohlcv", "BTC/USDT", day, where) == expected


def test_funding_rates_of_a_month_lie_on_their_days(collected: Collected) -> None:
    published = rows_of(
        "fundingRate", collected.text(key("linear", "fundingRate", "BTCUSDT", "fundingRate", "2026-04", "monthly"))
    )
    assert len(published) == 90
    series = Series("binance", "linear", "funding_rates")
    for day in days(date(2026, 4, 1), 30):
        expected = of_day(published, day)
        assert len(expected) == 3
        assert lake_rows(collected.lake, series, PERPETUAL, day) == expected
        assert warehouse_rows(collected.url, "funding_rates", PERPETUAL, day, market_type="linear") == expected


def test_a_partial_day_of_trades_is_stored_and_marked_degraded(collected: Collected) -> None:
    answer = collected.answers["trades"]
    assert answer.code == 1
    assert f"binance linear {PERPETUAL} trades {RECORDED}: partial: no trade in the first 23 h 54 min" in answer.out
    expected = rows_of("trades", collected.text(key("linear", "trades", "BTCUSDT", "trades", RECORDED)))
    assert len(expected) > 1000
    assert lake_rows(collected.lake, Series("binance", "linear", "trades"), PERPETUAL, RECORDED) == expected


def test_minute_statistics_of_recorded_trades_are_the_published_bars(collected: Collected, realdata: Path) -> None:
    stored = {
        row[0] // 60_000_000 % 1440: row
        for row in warehouse_rows(collected.url, "trade_statistics_1m", PERPETUAL, RECORDED, market_type="linear")
    }
    with (realdata / "loose" / "BTCUSDT-1m-2024-08.slice.csv").open() as file:
        bars = {int(line[0]) // 60_000 % 1440: line for line in csv.reader(file)}
    for minute in range(23 * 60 + 55, 24 * 60):
        bar, (_, bought, sold, quote, count, _) = bars[minute], stored[minute]
        published = (Decimal(bar[5]), Decimal(bar[9]), Decimal(bar[7]), int(bar[8]))
        assert (bought + sold, bought, quote, count) == published


def test_the_commands_say_that_every_other_day_is_available(collected: Collected) -> None:
    expected = {
        "avax fil": (60, 86_400),
        "algo": (30, 43_200),
        "spot 1m": (2, 2_880),
        "spot 1h": (1, 24),
        "funding": (30, 90),
    }
    for name, (count, rows) in expected.items():
        answer = collected.answers[name]
        assert answer.code == 0, answer
        assert answer.json == {"days": count, "states": {"available": count}, "rows": rows, "problems": []}


def test_status_counts_what_is_stored(collected: Collected) -> None:
    found = {
        (row["market_type"], row["symbol"], row["dataset"]): (
            row["states"],
            row["rows"],
            row["first_day"],
            row["last_day"],
        )
        for row in collected.answers["status"].json
    }
    trades = found.pop(("linear", PERPETUAL, "trades"))
    assert trades[0] == {"degraded": 1}
    assert found == {
        ("linear", AVAX, "ohlcv_1m"): ({"available": 30}, 43_200, "2023-09-01", "2023-09-30"),
        ("linear", FIL, "ohlcv_1m"): ({"available": 30}, 43_200, "2023-09-01", "2023-09-30"),
        ("linear", ALGO, "ohlcv_1m"): ({"available": 30}, 43_200, "2024-09-01", "2024-09-30"),
        ("spot", "BTC/USDT", "ohlcv_1m"): ({"available": 2}, 2_880, "2020-01-01", "2020-01-02"),
        ("spot", "BTC/USDT", "ohlcv_1h"): ({"available": 1}, 24, "2026-05-08", "2026-05-08"),
        ("linear", PERPETUAL, "funding_rates"): ({"available": 30}, 90, "2026-04-01", "2026-04-30"),
    }


def test_gaps_name_exactly_the_days_that_are_not_complete(collected: Collected) -> None:
    answer = collected.answers["gaps of bars"]
    assert answer.code == 1
    assert [(row["symbol"], row["day"], row["state"], row["reason"]) for row in answer.json] == [
        (AVAX, str(SEPTEMBER + timedelta(days=n)), None, "not collected yet") for n in (30, 31)
    ]
    answer = collected.answers["gaps of trades"]
    assert answer.code == 1
    ((day, state, reason),) = [(row["day"], row["state"], row["reason"]) for row in answer.json]
    assert (day, state) == (str(RECORDED), "degraded")
    assert reason.startswith("no trade in the first 23 h 54 min")
