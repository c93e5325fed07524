"""A partition in the Dagster UI: the preview and the chart."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import accumulate
from xml.etree import ElementTree

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


DAY = date(2024, 3, 1)


def test_a_chart_has_a_candle_for_each_hour_within_the_prices_of_the_day():
    _, rows = day_of("ohlcv_1m", DAY)
    drawing = drawing_of(candles(rows, series_of("ohlcv_1m")))
    assert [place for place, _, _ in drawing.wicks] == list(range(24))
    heights = [height for _, top, bottom in drawing.wicks for height in (top, bottom)]
    assert (min(heights), max(heights)) == (1, 49), "the lowest and the highest price touch the edges"
    opens, closes = column(rows, "open")[::60], column(rows, "close")[59::60]
    rising, falling = ({place for place, _, _ in bodies} for bodies in (drawing.rises, drawing.falls))
    assert rising | falling == set(range(24))
    assert not rising & falling
    # Less than a pixel may be either colour.
    clear = (max(column(rows, "high")) - min(column(rows, "low"))) / 48
    up, down = ({n for n in range(24) if sign * (closes[n] - opens[n]) > clear} for sign in (1, -1))
    assert len(up | down) > 12
    assert up <= rising
    assert down <= falling
    highs, lows = column(rows, "high"), column(rows, "low")
    for place, top, bottom in drawing.wicks:
        hour = slice(60 * place, 60 * place + 60)
        assert (top, bottom) == (height_of(rows, max(highs[hour])), height_of(rows, min(lows[hour])))
    for place, top, bottom in (*drawing.rises, *drawing.falls):
        edges = sorted((height_of(rows, opens[place]), height_of(rows, closes[place])))
        assert [bottom, top] == edges or (edges[0] == edges[1] == top == bottom + 1)


def test_the_volume_of_each_hour_is_drawn_below_the_candles():
    _, rows = day_of("ohlcv_1m", DAY)
    found = drawing_of(candles(rows, series_of("ohlcv_1m"))).volumes
    volume = column(rows, "volume")
    hours = [sum(volume[60 * n : 60 * n + 60]) for n in range(24)]
    assert found == [round(9 * hour / max(hours)) for hour in hours]
    assert max(found) == 9


def test_the_axes_say_the_highest_lowest_and_last_price_at_their_heights_and_the_hours():
    _, rows = day_of("ohlcv_1m", DAY)
    drawing = drawing_of(candles(rows, series_of("ohlcv_1m")))
    prices = {"high": max, "low": min, "close": lambda values: values[-1]}
    wanted = {name: choose(rows.column(name).to_pylist()) for name, choose in prices.items()}
    assert drawing.prices == {f"{price.normalize():f}": height_of(rows, float(price)) for price in wanted.values()}
    assert drawing.hours == {"00": 0, "06": 6, "12": 12, "18": 18}


def test_a_day_that_begins_at_nine_is_labelled_so():
    _, rows = day_of("ohlcv_1m", DAY)
    drawing = drawing_of(candles(rows.slice(9 * 60), series_of("ohlcv_1m")))
    assert list(drawing.hours) == ["09", "12", "16", "20"]


def test_prices_that_would_overlap_are_left_out_and_long_ones_are_rounded():
    _, rows = day_of("ohlcv_1m", DAY)
    tiny = {
        "high": ["0.000000123456789012"] * 2,
        "low": ["0.000000023456789012"] * 2,
        "open": ["0.00000003", "0.00000004"],
        "close": ["0.00000003", "0.000000023456789013"],  # the last one, at the height of the lowest
    }
    found = drawing_of(candles(with_prices(rows, tiny), series_of("ohlcv_1m"))).prices
    assert found == {"1.23457e-7": 1, "2.34568e-8": 49}


def test_a_day_of_one_price_is_a_line():
    _, rows = day_of("ohlcv_1m", DAY)
    same = {name: ["7", "7"] for name in ("open", "high", "low", "close")}
    assert drawing_of(candles(with_prices(rows, same), series_of("ohlcv_1m"))).prices == {"7": 1}


def test_a_chart_is_short_enough_to_be_shown_whatever_the_prices_are():
    _, rows = day_of("ohlcv_1m", DAY)
    # Every hour from the lowest to the highest price: the longest possible numbers.
    prices = {"open": ["9", "1"], "high": ["9", "9"], "low": ["1", "1"], "close": ["1", "9"], "volume": ["1", "1"]}
    wild = candles(with_prices(rows, prices), series_of("ohlcv_1m"))
    assert len(wild) < INLINE
    assert len(drawing_of(wild).wicks) >= 18
    for day in range(1, 11):
        text = candles(day_of("ohlcv_1m", date(2024, 3, day))[1], series_of("ohlcv_1m"))
        assert len(text) < INLINE
        assert len(drawing_of(text).wicks) == 24


Line = tuple[int, int, int]
"""Place, begin and end of a vertical line."""


@dataclass(frozen=True)
class Drawing:
    """What a chart shows; heights count from the top."""

    wicks: list[Line]
    rises: list[Line]
    falls: list[Line]
    volumes: list[int]
    prices: dict[str, int]
    hours: dict[str, int]


def drawing_of(text: str) -> Drawing:
    """Read the SVG of a Markdown image."""
    inside = re.fullmatch(r"!\[candles\]\(<data:image/svg\+xml,((?:[^<>\\\n#%]|\\[<>])*)>\)", text)[1]
    svg = ElementTree.fromstring(re.sub(r"\\([<>])", r"\1", inside))
    name = "{http://www.w3.org/2000/svg}"
    bars, *lines = (path.get("d") for path in svg.iter(f"{name}path"))
    steps = re.findall(r"(?:v(-?\d+))?h1", re.fullmatch(r"M-.5 61(.*)V61", bars)[1])
    *prices, hours = svg.iter(f"{name}text")
    places = [(int(x) - 60) / 18 for x in hours.get("x").split()[::2]]
    return Drawing(
        *map(lines_of, lines),
        list(accumulate(-int(step or 0) for step in steps)),
        {price.text: round((int(price.get("y")) - 10) / 3) for price in prices},
        {hours.text[2 * n : 2 * n + 2]: place for n, place in enumerate(places)},
    )


def lines_of(path: str) -> list[Line]:
    """Return the vertical lines of a path, each written as the way from the end of the one before."""
    steps = re.findall(r"m(\d+) ?(-?\d+)v(-?\d+)", path)
    assert "".join(f"m{x}{'' if y[0] == '-' else ' '}{y}v{long}" for x, y, long in steps) == path
    found, x, y = [], 0, 0
    for across, down, long in (map(int, step) for step in steps):
        x, y = x + across, y + down
        found.append((x, y, y + long))
        y += long
    return found


def height_of(rows: pa.Table, price: float) -> int:
    top, bottom = max(column(rows, "high")), min(column(rows, "low"))
    return round(1 + (top - price) * 48 / (top - bottom))


def with_prices(rows: pa.Table, prices: dict[str, list[str]]) -> pa.Table:
    """Return the rows with two values of some columns, by turns each hour."""
    for name, values in prices.items():
        place, kind = rows.column_names.index(name), rows.schema.field(name).type
        column = [Decimal(values[n // 60 % 2]) for n in range(rows.num_rows)]
        rows = rows.set_column(place, name, pa.array(column, kind))
    return rows


def column(rows: pa.Table, name: str) -> list[float]:
    return [float(value) for value in rows.column(name).to_pylist()]


def test_there_is_no_chart_of_trades_or_of_a_single_bar():
    assert candles(day_of("trades", date(2024, 3, 1))[1], series_of("trades")) is None
    assert candles(day_of("ohlcv_1d", date(2024, 3, 1))[1], series_of("ohlcv_1d")) is None
