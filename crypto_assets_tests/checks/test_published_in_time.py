"""A file that came late is told from one that was collected late, and from one that has no time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_assets import sources
from crypto_assets.checks import of_kind
from crypto_assets.checks.published_in_time import CHECK, percentile, published_in_time
from crypto_assets.model import Finding, Partition, Series, Severity, SourceCheck, SourceFile

BARS = Series("binance", "spot", "ohlcv", "1m")
FUNDING = Series("binance", "linear", "funding_rates")
DAY = date(2024, 3, 5)
END = datetime(2024, 3, 6, tzinfo=UTC)
KEY = f"data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-{DAY}.zip"
MONTHLY = "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-03.zip"
H = 3600.0
USUAL = [4 * H + 60 * n for n in range(20)]
"""Twenty files that came from 4 h 00 min to 4 h 19 min after midnight."""


def judged(delay_s: float | None, others: Sequence[float] = USUAL, *, seen: bool = True, key: str = KEY) -> Finding:
    modified = None if delay_s is None else END + timedelta(seconds=delay_s)
    usual = sorted([*others, *([delay_s] if seen and delay_s is not None else [])])
    source = SourceFile(key, 70, "e1", "a" * 64, last_modified=modified)
    return published_in_time(source, Partition("BTC/USDT", DAY), BARS, usual)


def test_a_file_that_comes_as_usual_passes_and_says_how_long_it_took() -> None:
    found = judged(5 * H)
    assert found.passed
    assert found.evidence == {"delay_s": 18_000, "deadline_s": 259_200, "seen": 21, "p95_s": 4 * 3600 + 19 * 60}


@pytest.mark.parametrize(
    ("delay_h", "late"),
    [
        (72, "much later than usual"),
        (72.001, "after the exchange's deadline; much later than usual"),
        (10.2, None),  # more than twice the 4 h 19 min, not 6 hours beyond them
        (10.4, "much later than usual"),
    ],
)
def test_a_file_that_comes_late_fails_and_says_by_what(delay_h: float, late: str | None) -> None:
    found = judged(delay_h * H)
    assert (found.passed, found.evidence.get("late")) == (late is None, late)


def test_without_twenty_others_only_the_deadline_counts() -> None:
    assert judged(60 * H, USUAL[:19]).evidence == {"delay_s": 216_000, "deadline_s": 259_200, "seen": 20}
    found = judged(80 * H, [])
    assert (found.passed, found.evidence["late"]) == (False, "after the exchange's deadline")


def test_where_all_are_slow_twice_the_usual_is_not_enough_alone() -> None:
    slow = [20 * H + n for n in range(40)]
    assert judged(39 * H, slow).passed
    assert not judged(41 * H, slow).passed


@pytest.mark.parametrize(
    ("finding", "why"),
    [
        (judged(900 * H, seen=False), "not seen to appear"),
        (judged(5 * H, seen=False), "not seen to appear"),
        (judged(5 * H, [], seen=False), "not seen to appear"),
        (judged(None), "does not say when"),
        (judged(80 * H, key=MONTHLY), f"another file replaces {KEY}"),
    ],
)
def test_what_was_not_seen_to_appear_is_not_judged(finding: Finding, why: str) -> None:
    assert (finding.passed, finding.judged) == (True, False)
    assert why in finding.evidence["not_judged"]


def test_rows_of_rest_have_no_file_to_judge() -> None:
    source = SourceFile("https://api.binance.com/api/v3/klines", 70, "", "a" * 64, last_modified=END, source="rest")
    finding = published_in_time(source, Partition("BTC/USDT", DAY), BARS, [0.0])
    assert (finding.passed, finding.judged) == (True, False)


def test_a_file_of_a_month_has_the_deadline_of_its_month() -> None:
    key = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-03.zip"
    end = datetime(2024, 4, 1, tzinfo=UTC)
    assert sources.span_of(FUNDING, key).end == end

    def passes(days: float) -> bool:
        source = SourceFile(key, 70, "e1", "a" * 64, last_modified=end + timedelta(days=days))
        finding = published_in_time(source, Partition("BTC/USDT:USDT", DAY), FUNDING, [days * 86_400])
        assert finding.judged
        return finding.passed

    assert (passes(2), passes(34), passes(36)) == (True, True, False)


def test_it_warns_on_every_series_of_the_archive() -> None:
    assert CHECK.severity is Severity.WARN
    assert CHECK in of_kind(BARS, SourceCheck)
    assert CHECK in of_kind(FUNDING, SourceCheck)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    ascending = sorted(values)
    found = percentile(ascending, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)
