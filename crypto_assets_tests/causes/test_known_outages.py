"""The list of known outages."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from crypto_assets.causes.known_outages import all_known, known_outages, read_known
from crypto_assets.model.kinds import Kind

HEADER = "exchange,market_type,kind,start,end,precision,what,source"
LINE = "binance,spot,exchange_outage,2020-02-09T02:00:00Z,2020-02-09T03:00:00Z,second,upgrade,https://example.org/1"


def test_the_list_has_a_source_for_each_outage_and_none_overlap() -> None:
    known = all_known()
    assert len(known) >= 30
    assert len({(one.market_type, one.start) for one in known}) == len(known)
    for before, after in pairwise(known):
        assert before.market_type != after.market_type or before.end <= after.start
    assert all(one.source.startswith("https://") and one.what and one.precision for one in known)
    assert {one.kind for one in known} == {Kind.EXCHANGE_OUTAGE, Kind.UPSTREAM_PARTIAL_FILE}
    assert {(one.exchange, one.market_type) for one in known} == {("binance", "spot"), ("binance", "linear")}


def test_the_outage_of_2018_02_08_lasts_a_day_and_a_half() -> None:
    (one,) = known_outages(
        "binance", "spot", datetime(2018, 2, 8, 12, tzinfo=UTC), datetime(2018, 2, 8, 13, tzinfo=UTC)
    )
    assert one.start == datetime(2018, 2, 8, 0, 28, 15, tzinfo=UTC)
    assert one.end == datetime(2018, 2, 9, 10, 0, 1, tzinfo=UTC)
    assert one.source.endswith("/316")


def test_a_market_has_its_own_outages_and_spans_are_half_open() -> None:
    start, end = datetime(2023, 3, 24, 11, 27, tzinfo=UTC), datetime(2023, 3, 24, 14, tzinfo=UTC)
    assert [one.end for one in known_outages("binance", "spot", start, end)] == [end]
    assert known_outages("binance", "linear", start, end) == []
    assert known_outages("okx", "spot", start, end) == []
    assert known_outages("binance", "spot", end, datetime(2023, 3, 25, tzinfo=UTC)) == []


def test_a_line_is_read_as_it_stands() -> None:
    (one,) = read_known([HEADER, LINE], "x.csv")
    assert (one.exchange, one.market_type, one.kind) == ("binance", "spot", Kind.EXCHANGE_OUTAGE)
    assert (one.end - one.start).total_seconds() == 3600
    assert (one.precision, one.what, one.source) == ("second", "upgrade", "https://example.org/1")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (LINE.replace("03:00:00Z", "02:00:00Z"), "expected start before end"),
        (LINE.replace("02:00:00Z", "02:00:00"), "both with Z"),
        (LINE.replace("https", "http"), "expected a source"),
        (LINE.replace("exchange_outage", "holiday"), "holiday"),
        ("binance,spot", "line 2"),
    ],
)
def test_a_line_that_cannot_be_is_named(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"x\.csv, line 2: .*; correct the line") as caught:
        read_known([HEADER, line], "x.csv")
    assert problem in str(caught.value)
