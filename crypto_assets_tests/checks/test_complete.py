"""Which funding events a day must have: one where the interval of those around it says so. Rates are no matter here."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from crypto_assets.checks.complete import CHECK
from crypto_assets.model import Partition
from crypto_assets.rows.frames import to_check_frame
from crypto_assets_tests.checks.judging import DAY_ONE, at, edited, finding_of
from crypto_assets_tests.synthetic import day_of, series_of

Events = list[tuple[int, int]]


def events(*hours_and_intervals: tuple[int, int]) -> pa.Table:
    _, table = day_of("funding_rates", DAY_ONE, "linear")
    first = table.to_pylist()[0]
    return pa.Table.from_pylist(
        [
            # Times are up to 13 ms late in published files.
            first
            | {"funding_time": at(60 * hour) + timedelta(milliseconds=hour % 14), "funding_interval_hours": interval}
            for hour, interval in hours_and_intervals
        ],
        schema=table.schema,
    )


def every(interval: int, first: int = 0, after: int = 24) -> Events:
    return [(hour, interval) for hour in range(first, after, interval)]


def finding(table: pa.Table):
    return finding_of(CHECK, "funding_rates", table, "linear")


@pytest.mark.parametrize("interval", [1, 2, 4, 8, 12, 24])
def test_a_day_of_one_interval_is_complete_with_all_its_events(interval):
    found = finding(events(*every(interval)))
    assert found.passed
    assert found.evidence["events"] == 24 // interval
    assert "missing" not in found.evidence


@pytest.mark.parametrize("interval", [1, 4, 8])
def test_every_single_event_that_is_missing_is_named(interval):
    whole = every(interval)
    for absent in range(len(whole)):
        found = finding(events(*whole[:absent], *whole[absent + 1 :]))
        assert not found.passed
        before = f"after {whole[absent - 1][0]:02}:00" if absent else "at 00:00"
        hours = " ".join(f"{hour:02}" for n, (hour, _) in enumerate(whole) if n != absent)
        assert found.evidence == {"events": len(whole) - 1, "hours": hours, "missing": before}


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ([*every(8, 0, 9), *every(4, 12)], "00 08 12 16 20"),  # from 8 to 4: the first interval of 4 ends at 12
        ([*every(8, 0, 9), *every(1, 9)], "00 08 " + " ".join(f"{hour:02}" for hour in range(9, 24))),
        ([*every(4, 0, 9), (16, 8)], "00 04 08 16"),  # from 4 to 8: the first interval of 8 ends at 16
        ([*every(1, 0, 9), (12, 4), (16, 4), (20, 4)], "00 01 02 03 04 05 06 07 08 12 16 20"),
        ([*every(1, 0, 9), (16, 8)], "00 01 02 03 04 05 06 07 08 16"),
        ([(0, 8), (8, 8), *every(1, 9, 13), (16, 4), (20, 4)], "00 08 09 10 11 12 16 20"),
    ],
)
def test_a_switch_in_the_middle_of_the_day_is_complete(day, hours):
    found = finding(events(*day))
    assert (found.passed, found.evidence) == (True, {"events": len(day), "hours": hours})


@pytest.mark.parametrize(
    ("day", "missing"),
    [
        ([(0, 8), *every(4, 12)], "after 00:00"),  # 08:00
        ([*every(8, 0, 9), *every(1, 9, 23)], "after 22:00"),  # 23:00
        ([*every(8, 0, 9), *every(1, 9, 15), *every(1, 16)], "after 14:00"),  # 15:00
        ([*every(1, 0, 9), (20, 4)], "after 08:00"),  # 12:00 and 16:00
        ([*every(8, 8, 9), *every(4, 12)], "at 00:00"),
    ],
)
def test_an_event_that_is_missing_beside_a_switch_is_named(day, missing):
    found = finding(events(*day))
    assert (found.passed, found.evidence["missing"]) == (False, missing)


def test_a_rate_that_jumps_is_no_matter_here():
    rates = [Decimal("0.0001"), Decimal("-0.0375"), Decimal("0.03")]
    table = edited(
        events(*every(8)),
        lambda rows: [row | {"funding_rate": rate} for row, rate in zip(rows, rates, strict=True)],
    )
    assert finding(table).passed


def test_a_hole_as_long_as_the_longer_interval_at_the_very_switch_is_not_told_from_the_switch():
    # 00 and 08 of 8 hours, then 16 and 20 of 4: either 12 is missing, or the switch was at 16.
    assert finding(events(*every(8, 0, 9), *every(4, 16))).passed
    assert not finding(events(*every(8, 0, 9), *every(4, 20))).passed


@pytest.mark.parametrize(
    ("until", "missing"),
    [(at(8 * 60 + 1), ""), (at(16 * 60), ""), (at(16 * 60 + 59), ""), (at(17 * 60), "after 08:00")],
)
def test_a_day_that_is_not_over_needs_the_events_up_to_now(until: datetime, missing: str):
    frame = to_check_frame(events((0, 8), (8, 8)))
    found = CHECK.run(frame, Partition("BTC/USDT", DAY_ONE, until), series_of("funding_rates", "linear"))
    assert found.passed is (missing == "")
    assert found.evidence.get("missing", "") == missing
