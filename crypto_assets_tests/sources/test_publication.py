"""When each series of each source is published: a file's span, and the times that follow from it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from crypto_assets import sources
from crypto_assets.model import Series
from crypto_assets.sources.publication import publication
from crypto_assets_tests.sources.test_facts import OFFERED

DAY = date(2024, 1, 31)


@pytest.mark.parametrize("series", OFFERED, ids=str)
def test_every_series_says_when_its_days_are_published(series: Series) -> None:
    """Whatever the names of its symbols look like."""
    found = publication(series)
    assert timedelta(0) <= found.earliest <= found.mostly_by <= found.missing_after
    assert found.period == ("answer" if not sources.archives(series) else found.period)
    assert sources.expected_by(series, DAY) >= datetime(2024, 2, 1, tzinfo=UTC) + timedelta(days=1)
    assert found.in_words.count(".") >= 2


def test_a_day_that_two_files_hold_is_expected_after_the_later_one() -> None:
    okx = Series.named("okx", "spot", "trades")
    assert sources.covered(okx, DAY).end == datetime(2024, 2, 1, 16, tzinfo=UTC)
    assert sources.expected_by(okx, DAY) == datetime(2024, 2, 1, 16, tzinfo=UTC) + timedelta(days=5)
    assert "16:00" in publication(okx).in_words
