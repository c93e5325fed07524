from __future__ import annotations

from decimal import Decimal

import pytest

from crypto_assets.checks.silence_agrees import CHECK
from crypto_assets.model import SHOWN_ROWS
from crypto_assets_tests.checks.judging import DAY_ONE, Edit, edited, finding_of, setting
from crypto_assets_tests.synthetic import day_of, read_file, series_of

NOTHING = {
    "volume": Decimal(0),
    "quote_volume": Decimal(0),
    "trade_count": 0,
    "taker_buy_volume": Decimal(0),
    "taker_buy_quote_volume": Decimal(0),
}
FLAT = dict.fromkeys(("open", "high", "low", "close"), Decimal("42000.5"))


def finding(edit: Edit):
    return finding_of(CHECK, "ohlcv_1m", edited(day_of("ohlcv_1m", DAY_ONE)[1], edit))


def test_a_clean_day_passes():
    assert finding(lambda rows: rows).passed


def test_bars_without_trades_pass_where_they_are_empty_and_flat():
    assert finding(lambda rows: [*rows[:500], *(row | NOTHING | FLAT for row in rows[500:519]), *rows[519:]]).passed


def test_a_quote_volume_that_was_rounded_away_passes():
    dust = {"volume": Decimal("0.001"), "quote_volume": Decimal(0), "taker_buy_volume": Decimal(0)}
    assert finding(setting(7, **dust, taker_buy_quote_volume=Decimal(0))).passed


def test_a_negative_number_elsewhere_in_the_column_blames_no_other_row():
    # In the frame of a check the rest of such a column is off by other units in the last place than its neighbours.
    _, table = day_of("ohlcv_1m", DAY_ONE)
    assert any(row["taker_buy_volume"] == row["volume"] for row in table.to_pylist())
    assert finding(setting(1438, taker_buy_volume=Decimal("-0.5"))).passed


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (NOTHING | FLAT | {"trade_count": 3}, "trade_count and volume are zero together"),
        ({"trade_count": 0} | FLAT, "trade_count and volume are zero together"),
        (NOTHING | FLAT | {"trade_count": 3, "quote_volume": Decimal(1)}, "no volume, no quote_volume"),
        (NOTHING | FLAT | {"quote_volume": Decimal(1)}, "no volume, no quote_volume"),
        ({"volume": Decimal(1), "taker_buy_volume": Decimal("1.00000001")}, "taker_buy_volume ≤ volume"),
        (
            {"quote_volume": Decimal(1), "taker_buy_quote_volume": Decimal("1.00000001")},
            "taker_buy_quote_volume ≤ quote_volume",
        ),
        (NOTHING | FLAT | {"high": Decimal("42000.51")}, "no trades, one price"),
        (NOTHING | FLAT | {"close": Decimal("42000.49"), "low": Decimal("42000.49")}, "no trades, one price"),
        (NOTHING | FLAT | {"open": Decimal("42000.49")}, "no trades, one price"),
    ],
)
def test_a_bar_that_contradicts_itself_is_found_and_shown(values, rule):
    found = finding(setting(514, **values))
    assert not found.passed
    assert found.evidence["rows"] == 1
    assert found.evidence["rules"][rule] == 1
    assert found.evidence["first"].startswith("2024-03-01 08:34:00+00:00: expected ")
    (example,) = found.evidence["examples"]
    assert example["open_time"] == "2024-03-01 08:34:00+00:00"
    assert {name: example[name] for name in values} == pytest.approx(
        {k: float(v) for k, v in values.items()}, rel=1e-15
    )


def test_the_first_row_is_told_in_words():
    found = finding(setting(514, **NOTHING | FLAT | {"trade_count": 3}))
    assert found.evidence["first"] == (
        "2024-03-01 08:34:00+00:00: expected trade_count and volume are zero together, found open 42000.5, high 42000.5, "
        "low 42000.5, close 42000.5, volume 0, quote_volume 0, trade_count 3, taker_buy_volume 0, taker_buy_quote_volume 0"
    )


def test_all_rows_are_counted_and_fifty_are_shown():
    found = finding(lambda rows: [row | {"trade_count": 0} for row in rows])
    assert found.evidence["rows"] == found.evidence["rules"]["trade_count and volume are zero together"] == 1440
    assert [row["open_time"] for row in found.evidence["examples"]] == [
        f"2024-03-01 00:{minute:02}:00+00:00" for minute in range(SHOWN_ROWS)
    ]


@pytest.mark.realdata
@pytest.mark.parametrize(("symbol", "silent"), [("AVAXUSDT", 22), ("FILUSDT", 41), ("ALGOUSDT", 446)])
def test_no_published_bar_of_a_thin_market_contradicts_itself(realdata, symbol, silent):
    folder = realdata / "binance_vision" / f"data/futures/um/daily/klines/{symbol}/1m"
    series, found = series_of("ohlcv_1m", "linear"), 0
    for path in sorted(folder.glob("*.zip")):
        table = read_file(series, path.name, path.read_bytes())
        assert finding_of(CHECK, "ohlcv_1m", table, "linear").passed
        found += table.column("trade_count").to_pylist().count(0)
    assert found == silent
