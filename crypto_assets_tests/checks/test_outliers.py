"""A bar that is not of this market is found; what real markets do, in a quiet month and in a crash, is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crypto_assets.checks.outliers import CHECK, hours_of
from crypto_assets.engine.publication.profile_fold import profile_of
from crypto_assets.model import Finding, Partition, Profile, Series, days_between
from crypto_assets.rows.frames import to_check_frame
from crypto_assets_tests.synthetic import day_of, read_file, series_of

DAY = date(2024, 5, 3)
PRICES = ["open", "high", "low", "close"]
AMOUNTS = ["volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"]


@cache
def frame(day: date, dataset: str = "ohlcv_1m") -> pd.DataFrame:
    return to_check_frame(day_of(dataset, day)[1])


@cache
def profile(day: date, dataset: str = "ohlcv_1m") -> Profile:
    return profile_of(series_of(dataset), Partition("BTC/USDT", day), frame(day, dataset))


def weeks(day: date, count: int = 8, dataset: str = "ohlcv_1m") -> list[Profile]:
    return [profile(day - timedelta(weeks=n + 1), dataset) for n in range(count)]


def judge(rows: pd.DataFrame, day: date = DAY, count: int = 8, dataset: str = "ohlcv_1m") -> Finding:
    found = CHECK.run(rows, Partition("BTC/USDT", day), series_of(dataset), weeks(day, count, dataset))
    json.dumps(dict(found.evidence))
    return found


def times(place: int, by: float, columns: list[str], rows: pd.DataFrame) -> pd.DataFrame:
    """Return a copy in which some numbers of one bar are so many times as great."""
    rows = rows.copy()
    rows.loc[rows.index[place], columns] = rows.loc[rows.index[place], columns] * by
    return rows


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "ohlcv_5m", "ohlcv_15m", "ohlcv_30m"])
def test_no_day_of_a_clean_month_is_blamed(dataset):
    for day in days_between(DAY, DAY + timedelta(days=29 if dataset == "ohlcv_1m" else 6)):
        assert judge(frame(day, dataset), day, dataset=dataset) == Finding(True, {"weeks": 8, "bars": 0})


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "ohlcv_5m", "ohlcv_15m", "ohlcv_30m"])
@pytest.mark.parametrize("place", [0, 7, -1])
@pytest.mark.parametrize("columns", [PRICES, ["high"], ["close", "high"], ["open", "high"]])
def test_ten_times_the_price_is_always_found(dataset, place, columns):
    rows = frame(DAY, dataset)
    found = judge(times(place, 10, columns, rows), dataset=dataset)
    assert not found.passed
    assert 1 <= found.evidence["bars"] <= 2
    bar = rows["open_time"].iloc[place].tz_localize(None)
    mine = [row for row in found.evidence["examples"] if row["open_time"] == str(bar)]
    # The first bar has nothing before it: if its prices are all wrong, the second one moves.
    if place or columns != PRICES:
        assert [row["what"] for row in mine] == ["price_move"]
        assert mine[0]["value"] == pytest.approx(np.log(10), rel=0.05)
        assert mine[0]["usual"] < 0.01
    else:
        assert found.evidence["examples"][0]["what"] == "price_move"


@pytest.mark.parametrize("by", [0.1, 0.001])
def test_a_tenth_of_the_price_is_found_as_well(by):
    found = judge(times(700, by, ["low"], frame(DAY)))
    assert (found.passed, found.evidence["bars"]) == (False, 1)


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "ohlcv_5m", "ohlcv_15m", "ohlcv_30m"])
def test_a_thousand_times_the_volume_is_found_in_every_bar_that_is_not_tiny(dataset):
    rows = frame(DAY, dataset)
    usual = np.flatnonzero(rows["volume"] >= rows["volume"].median() / 2)
    assert len(usual) > len(rows) // 2
    for place in usual[:: max(1, len(usual) // 60)]:
        found = judge(times(place, 1000, AMOUNTS, rows), dataset=dataset)
        assert found.evidence["bars"] == 1
        shown = {row["what"]: row for row in found.evidence["examples"]}
        assert shown.keys() <= {"volume", "amount_per_trade"}
        volume = rows["volume"].iloc[place] * 1000
        if "volume" in shown:
            assert shown["volume"]["value"] == pytest.approx(volume, rel=1e-5)
        assert shown["amount_per_trade"]["value"] == pytest.approx(volume / rows["trade_count"].iloc[place], rel=1e-5)


def test_a_thousand_times_the_trades_is_found():
    found = judge(times(600, 1000, ["trade_count"], frame(DAY)))
    assert {row["what"] for row in found.evidence["examples"]} == {"trade_count"}


def test_a_small_volume_and_a_silent_bar_are_nothing_to_warn_of():
    rows = times(5, 0.0001, AMOUNTS, frame(DAY))
    rows = times(9, 0, [*AMOUNTS, "trade_count"], rows)
    assert judge(rows) == Finding(True, {"weeks": 8, "bars": 0})


def test_a_wild_hour_is_its_own_measure():
    """All bars of 13:00 are 300 times as busy: news, not an error; one of them a thousand times more is."""
    rows = frame(DAY).copy()
    hour = rows.index[780:840]
    rows.loc[hour, [*AMOUNTS, "trade_count"]] = rows.loc[hour, [*AMOUNTS, "trade_count"]] * 300
    assert judge(rows).passed
    assert judge(times(800, 1000, AMOUNTS, rows)).evidence["bars"] == 1


def test_at_most_fifty_examples_are_shown_in_the_order_of_time():
    rows = frame(DAY).copy()
    some = rows.index[::10]
    rows.loc[some, "volume"] = rows.loc[some, "volume"] * 1e6
    found = judge(rows)
    assert found.evidence["bars"] == len(some)
    shown = [row["open_time"] for row in found.evidence["examples"]]
    assert len(shown) == 50
    assert shown == sorted(shown)


@pytest.mark.parametrize("count", [0, 2])
def test_fewer_than_three_weeks_say_nothing(count):
    found = judge(times(600, 1000, AMOUNTS, frame(DAY)), count=count)
    assert found.passed
    assert found.evidence == {"not_judged": f"the same weekday is stored for {count} weeks before, 3 are needed"}
    assert not judge(times(600, 1000, AMOUNTS, frame(DAY)), count=3).passed


def test_one_bad_week_among_those_before_does_not_matter():
    bad = frame(DAY - timedelta(weeks=1)).copy()
    bad[AMOUNTS] = bad[AMOUNTS] * 1e5
    series, partition = series_of("ohlcv_1m"), Partition("BTC/USDT", DAY)
    before = [profile_of(series, Partition("BTC/USDT", DAY - timedelta(weeks=1)), bad), *weeks(DAY)[1:]]
    assert CHECK.run(frame(DAY), partition, series, before).passed
    assert not CHECK.run(times(600, 1000, AMOUNTS, frame(DAY)), partition, series, before).passed


def test_weeks_without_hours_do_not_count():
    series, partition = series_of("ohlcv_1m"), Partition("BTC/USDT", DAY)
    before = [replace(one, hours=None) for one in weeks(DAY)[:6]] + weeks(DAY)[6:]
    assert not CHECK.run(frame(DAY), partition, series, before).judged


def test_a_move_over_missing_bars_is_not_that_of_one_bar():
    """The market falls by two thirds while nothing is recorded; inside the bars it moves as ever."""
    rows = frame(DAY).copy()
    rows.loc[rows.index[500:], PRICES] = rows.loc[rows.index[500:], PRICES] / 3
    assert judge(rows.drop(index=range(490, 510))).passed
    assert not judge(rows).passed


def test_an_hour_that_never_trades_is_not_judged():
    quiet = [*AMOUNTS, "trade_count"]

    def still(day):
        rows = frame(day).copy()
        rows.loc[rows.index[:60], quiet] = 0 * rows.loc[rows.index[:60], quiet]
        return rows

    series = series_of("ohlcv_1m")
    before = [
        profile_of(series, Partition("BTC/USDT", day), still(day))
        for day in (DAY - timedelta(weeks=n) for n in range(1, 6))
    ]
    found = CHECK.run(frame(DAY), Partition("BTC/USDT", DAY), series, before)
    assert found == Finding(True, {"weeks": 5, "bars": 0})
    assert not CHECK.run(times(600, 1000, AMOUNTS, still(DAY)), Partition("BTC/USDT", DAY), series, before).passed


def test_the_packed_hours_are_medians_and_deviations_of_logarithms():
    rows = frame(DAY).drop(index=[3, 65]).reset_index(drop=True)
    packed = hours_of(rows, Partition("BTC/USDT", DAY), series_of("ohlcv_1m"))
    hours = np.frombuffer(packed, dtype=np.float32).reshape(2, 4, 24)
    for hour, minutes in ((0, slice(0, 59)), (5, slice(298, 358))):
        logs = np.log(rows["volume"].to_numpy()[minutes])
        middle = np.median(logs)
        assert hours[0, 1, hour] == pytest.approx(middle, rel=1e-5)
        assert hours[1, 1, hour] == pytest.approx(1.4826 * np.median(np.abs(logs - middle)), rel=1e-4)
    empty = rows.assign(trade_count=0, volume=0.0)
    assert hours_of(empty, Partition("BTC/USDT", DAY), series_of("ohlcv_1m")) is None


def test_it_is_about_bars_shorter_than_an_hour():
    applies = {t: CHECK.applies(Series("binance", "spot", "ohlcv", t)) for t in ("1s", "1m", "30m", "1h", "1d", "1mo")}
    assert applies == {"1s": True, "1m": True, "30m": True, "1h": False, "1d": False, "1mo": False}


REAL = [("AVAX", date(2023, 9, 1)), ("FIL", date(2023, 9, 1)), ("ALGO", date(2024, 9, 1))]


@pytest.mark.realdata
@pytest.mark.parametrize(("base", "first"), REAL)
def test_real_months_are_not_blamed_and_what_is_planted_in_them_is_found(realdata: Path, base, first):
    series = Series("binance", "linear", "ohlcv", "1m")
    folder = realdata / f"binance_vision/data/futures/um/daily/klines/{base}USDT/1m"
    days, frames, profiles = days_between(first, first + timedelta(days=29)), [], []
    for day in days:
        name = f"{base}USDT-1m-{day}.zip"
        frames.append(to_check_frame(read_file(series, name, (folder / name).read_bytes())))
        profiles.append(profile_of(series, Partition(f"{base}/USDT:USDT", day), frames[-1]))
    chance = np.random.default_rng(7)
    volumes = prices = planted = 0
    for n in range(21, 30):
        partition, before = Partition(f"{base}/USDT:USDT", days[n]), [profiles[n - 7 * week] for week in (1, 2, 3)]
        assert CHECK.run(frames[n], partition, series, before) == Finding(True, {"weeks": 3, "bars": 0})
        usual = np.flatnonzero(frames[n]["volume"] >= frames[n]["volume"].median())
        for place in chance.choice(usual, 15, replace=False):
            planted += 1
            prices += not CHECK.run(times(place, 10, PRICES, frames[n]), partition, series, before).passed
            volumes += not CHECK.run(times(place, 1000, AMOUNTS, frames[n]), partition, series, before).passed
    assert (planted, prices) == (135, 135)
    assert volumes == planted


def test_examples_name_the_bar_in_utc():
    found = judge(times(754, 1000, AMOUNTS, frame(DAY)))
    assert found.evidence["examples"][0]["open_time"] == "2024-05-03 12:34:00"
    assert (
        datetime.fromisoformat(found.evidence["examples"][0]["open_time"]).replace(tzinfo=UTC)
        == frame(DAY)["open_time"].iloc[754]
    )
