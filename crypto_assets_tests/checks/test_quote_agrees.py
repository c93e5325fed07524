from __future__ import annotations

from decimal import Decimal

import pytest

from crypto_assets.checks.quote_agrees import CHECK
from crypto_assets_tests.checks.judging import DAY_ONE, edited, finding_of, setting
from crypto_assets_tests.synthetic import day_of, read_file, series_of


def test_a_clean_day_passes():
    assert finding_of(CHECK, "trades", day_of("trades", DAY_ONE)[1]).passed
    assert finding_of(CHECK, "trades", day_of("trades", DAY_ONE, "linear")[1], "linear").passed


def test_a_quote_amount_of_another_trade_is_found():
    edit = setting(40, price=Decimal(60_000), amount=Decimal("0.5"), quote_amount=Decimal("30000.01"))
    finding = finding_of(CHECK, "trades", edited(day_of("trades", DAY_ONE)[1], edit))
    assert not finding.passed
    assert finding.evidence == {
        "rows": 1,
        "first": "row 40: price 60000 × amount 0.5 = 30000, found quote_amount 30000.01",
    }


def test_every_wrong_row_is_counted_and_the_first_is_shown():
    _, table = day_of("trades", DAY_ONE)
    finding = finding_of(
        CHECK,
        "trades",
        edited(table, lambda rows: [*rows[:2990], *(row | {"quote_amount": Decimal(1)} for row in rows[2990:])]),
    )
    assert finding.evidence["rows"] == 10
    assert finding.evidence["first"].startswith("row 2990: price ")


@pytest.mark.parametrize(
    ("price", "amount", "quote_amount", "passes"),
    [
        # The product has more digits than the exchange writes: rounded by half a unit of the eighth at most.
        ("0.00000123", "0.005", "0.00000001", True),  # 0.00000000615
        ("0.5", "0.00000003", "0.00000002", True),  # 0.000000015, rounded up from the very half
        ("0.5", "0.00000003", "0.00000001", True),
        ("0.00000123", "0.005", "0.00000002", False),
        ("0.5", "0.00000003", "0.00000003", False),
        # Of large trades a billionth.
        ("61800.3", "161.812", "10000030.1436", True),
        ("61800.3", "161.812", "10000030.153", True),
        ("61800.3", "161.812", "10000030.163", False),
        ("61800.3", "161.812", "0", False),
    ],
)
def test_only_the_exchanges_rounding_is_allowed(price, amount, quote_amount, passes):
    edit = setting(5, price=Decimal(price), amount=Decimal(amount), quote_amount=Decimal(quote_amount))
    assert finding_of(CHECK, "trades", edited(day_of("trades", DAY_ONE)[1], edit)).passed is passes


def test_inverse_contracts_are_not_judged_by_it():
    assert CHECK.applies(series_of("trades", "spot"))
    assert CHECK.applies(series_of("trades", "linear"))
    assert not CHECK.applies(series_of("trades", "inverse"))


@pytest.mark.realdata
def test_recorded_trades_agree(realdata):
    key = "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"
    table = read_file(series_of("trades", "linear"), key, (realdata / "binance_vision" / key).read_bytes())
    assert table.num_rows == 21_313
    assert finding_of(CHECK, "trades", table, "linear").passed
