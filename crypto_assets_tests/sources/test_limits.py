"""Limits as they are written, and the proof that they hold, judged by what it must not miss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crypto_assets.sources.limits import Limit, parse_limit
from proofs.limits import Arrival, judge


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("20/s", Limit(20, 1, "requests")),
        ("100 requests/10s", Limit(100, 10, "requests")),
        ("6000 weight/min", Limit(6_000, 60)),
        ("6000 weight/min aligned", Limit(6_000, 60, aligned=True)),
        ("12 requests/0.5 s", Limit(12, 0.5, "requests")),
        ("300000 requests/5 min", Limit(300_000, 300, "requests")),
    ],
)
def test_a_limit_is_read_as_it_is_written(text, limit):
    assert parse_limit(text) == limit
    assert parse_limit(str(limit)) == limit


@pytest.mark.parametrize("text", ["", "20", "0/s", "20/0s", "20/61min", "-1/s", "20 weights/s", "20/day", "²/s"])
def test_another_form_of_a_limit_is_refused(text):
    with pytest.raises(ValueError, match="expected a limit"):
        parse_limit(text)


def test_the_proof_sees_one_request_too_many_what_is_wasted_and_who_is_left_out():
    # Two a second for each of two workers, in bursts at whole seconds; the server notes some of them at other instants.
    limit = Limit(4, 1, "requests")
    record = [Arrival(second + n / 128, "linear", 1, n % 2) for second in range(10) for n in range(4)]
    good = judge(record, "linear", limit, workers=2, seconds=10)
    assert (good.requests, good.violations, good.fullest, good.used, good.least_share) == (40, 0, 4, 1.0, 1.0)
    assert good.held
    early = judge([*record, Arrival(4.99, "linear", 1, 0)], "linear", limit, workers=2, seconds=10)
    assert (early.violations, early.fullest, early.held) == (5, 5, False)
    idle = judge(record[:36], "linear", limit, workers=2, seconds=10)
    assert (idle.used, idle.held) == (32 / 36, False)
    alone = judge([replace(arrival, worker=0) for arrival in record], "linear", limit, workers=2, seconds=10)
    assert (alone.least_share, alone.held) == (0.0, False)
