"""A partition in the Dagster UI: the preview and the chart."""

import re
from datetime import date
from decimal import Decimal
from urllib.parse import unquote

import pyarrow as pa

from crypto_assets.defs.presentation import candles, preview
from crypto_assets_tests.synthetic import day_of, series_of

INLINE = 1_000
"""From this length on Dagster shows Markdown as a link."""


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
    svg = drawing_of(candles(rows, series_of("ohlcv_1m")))
    wicks, rises, falls = re.findall(r"<path stroke[^>]* d='([^']*)'", svg)
    places = [tuple(map(int, move)) for move in re.findall(r"M(\d+),(\d+)V(\d+)", wicks)]
    assert [place for place, _, _ in places] == list(range(24))
    heights = [height for _, top, bottom in places for height in (top, bottom)]
    assert (min(heights), max(heights)) == (1, 59), "the lowest and the highest price touch the edges"
    opens, closes = column(rows, "open")[::60], column(rows, "close")[59::60]
    rising = {int(place) for place in re.findall(r"M(\d+),", rises)}
    falling = {int(place) for place in re.findall(r"M(\d+),", falls)}
    assert rising | falling == set(range(24))
    assert not rising & falling
    # Less than a pixel may be either colour.
    clear = (max(column(rows, "high")) - min(column(rows, "low"))) / 58
    up, down = ({n for n in range(24) if sign * (closes[n] - opens[n]) > clear} for sign in (1, -1))
    assert len(up | down) > 12
    assert up <= rising
    assert down <= falling


def test_the_volume_of_each_hour_is_drawn_below_the_candles():
    _, rows = day_of("ohlcv_1m", date(2024, 3, 1))
    svg = drawing_of(candles(rows, series_of("ohlcv_1m")))
    (bars,) = re.findall(r"<path fill='#aab' d='M-.5,78([^']*)V78'", svg)
    found = [78 - int(top) for top in re.findall(r"V(\d+)h1", bars)]
    volume = column(rows, "volume")
    hours = [sum(volume[60 * n : 60 * n + 60]) for n in range(24)]
    assert found == [round(16 * hour / max(hours)) for hour in hours]
    assert max(found) == 16


def test_a_chart_is_short_enough_to_be_shown_whatever_the_prices_are():
    _, rows = day_of("ohlcv_1m", date(2024, 3, 1))
    # Every hour from the lowest to the highest price: the longest possible numbers.
    prices = {"open": ["9", "1"], "high": ["9", "9"], "low": ["1", "1"], "close": ["1", "9"], "volume": ["1", "1"]}
    for name, values in prices.items():
        place = rows.column_names.index(name)
        kind = rows.schema.field(name).type
        rows = rows.set_column(place, name, pa.array([Decimal(values[n // 60 % 2]) for n in range(1440)], kind))
    assert len(candles(rows, series_of("ohlcv_1m"))) < INLINE
    days = (day_of("ohlcv_1m", date(2024, 3, day))[1] for day in range(1, 11))
    assert all(len(candles(day, series_of("ohlcv_1m"))) < INLINE for day in days)


def drawing_of(text: str) -> str:
    """Return the SVG of a Markdown image."""
    return unquote(re.fullmatch(r"!\[candles\]\(data:image/svg\+xml,([^ ()<>]*)\)", text)[1])


def column(rows: pa.Table, name: str) -> list[float]:
    return [float(value) for value in rows.column(name).to_pylist()]


def test_there_is_no_chart_of_trades_or_of_a_single_bar():
    assert candles(day_of("trades", date(2024, 3, 1))[1], series_of("trades")) is None
    assert candles(day_of("ohlcv_1d", date(2024, 3, 1))[1], series_of("ohlcv_1d")) is None
