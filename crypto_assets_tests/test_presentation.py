"""What the Dagster UI shows of a partition."""

import base64
import re
from datetime import date

from crypto_assets.presentation import candles, preview
from crypto_assets_tests.synthetic import day_of, series_of

INLINE = 1_000
"""Markdown of this length or more is a link in Dagster, not shown."""


def test_a_preview_has_the_first_and_last_rows_with_the_digits_that_were_published():
    _, rows = day_of("ohlcv_1m", date(2024, 3, 1))
    lines = preview(rows).splitlines()
    assert lines[:2] == ["|open_time|open|high|low|close|volume|", "|-|-|-|-|-|-|"]
    assert lines[5] == "|…|…|…|…|…|…|"
    assert [line.split("|")[1] for line in lines[2:5] + lines[6:]] == [
        "00:00:00",
        "00:01:00",
        "00:02:00",
        "23:57:00",
        "23:58:00",
        "23:59:00",
    ]
    first = rows.slice(0, 1).to_pylist()[0]
    shown = lines[2].strip("|").split("|")[1:]
    assert shown == [format(first[name].normalize(), "f") for name in ("open", "high", "low", "close", "volume")]
    assert len(preview(rows)) < INLINE


def test_a_short_day_is_shown_whole():
    _, rows = day_of("funding_rates", date(2024, 3, 1), "linear")
    assert len(preview(rows).splitlines()) == 2 + 3


def test_a_chart_has_a_candle_for_each_hour_within_the_prices_of_the_day():
    _, rows = day_of("ohlcv_1m", date(2024, 3, 1))
    text = candles(rows, series_of("ohlcv_1m"))
    assert text is not None
    assert len(text) < INLINE
    svg = base64.b64decode(re.search(r"base64,([^)]+)", text)[1]).decode()
    wicks = [tuple(map(int, move)) for move in re.findall(r"M(\d+) (\d+)V(\d+)", svg)]
    assert len(wicks) == 2 * 24, "a wick and a body for each hour"
    heights = [height for _, top, bottom in wicks for height in (top, bottom)]
    assert (min(heights), max(heights)) == (1, 59), "the lowest and the highest price touch the edges"


def test_there_is_no_chart_of_trades_or_of_a_single_bar():
    assert candles(day_of("trades", date(2024, 3, 1))[1], series_of("trades")) is None
    assert candles(day_of("ohlcv_1d", date(2024, 3, 1))[1], series_of("ohlcv_1d")) is None
