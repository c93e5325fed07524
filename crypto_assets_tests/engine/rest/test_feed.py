"""Days from REST, the whole way: a sandbox whose clock is set, a lake in a folder, a real Postgres."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest

from crypto_assets.model import Series, State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.faults import make_fault
from crypto_assets.sandbox.market import Bars, Instrument, Market
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.published import of_day, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

START, YESTERDAY, TODAY = date(2024, 12, 1), date(2025, 1, 3), date(2025, 1, 4)
NOON = datetime(2025, 1, 4, 12, 0, 30, tzinfo=UTC)
EARLY = datetime(2025, 1, 4, 5, tzinfo=UTC)  # yesterday's files appear at 08:00
LATER = datetime(2025, 2, 10, tzinfo=UTC)
BTC, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
BARS = Series("binance", "spot", "ohlcv", "1m")
TRADES = Series("binance", "spot", "trades")
AGGREGATES = Series("binance", "spot", "agg_trades")

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    archive = SyntheticArchive(
        {"spot": ["BTCUSDT"], "linear": ["BTCUSDT"]}, START, date(2025, 1, 31), seed=5, trades_per_day=2_400
    )
    with SandboxServer(archive) as server:
        yield server


@pytest.fixture
def sandbox(running: SandboxServer) -> Iterator[SandboxServer]:
    source = running.app.state.source
    running.forget_requests()
    yield running
    source.now, source.oldest_ids = None, {}
    if isinstance(source.market, _Down):
        set_market(running, Market(source.market.seed))
    running.app.state.overrides.clear()
    running.app.state.faults.off()
    running.app.state.limits.forget()


Open = Callable[..., Workbench]


@pytest.fixture
def bench(sandbox: SandboxServer, postgres_url: str, tmp_path: Path) -> Open:
    """A function that opens a workbench for some entries at a moment."""

    def open_at(now: datetime, *entries: dict[str, Any]) -> Workbench:
        work = Workbench(sandbox, postgres_url, tmp_path / "lake", *entries)
        set_clock(work, now)
        return work

    return open_at


def spot(*datasets: str, **more: Any) -> dict[str, Any]:
    return entry("spot", datasets, [BTC], START, rest=True, **more)


def set_clock(work: Workbench, now: datetime) -> None:
    """Let it be `now` at the exchange and here."""
    work.sandbox.app.state.source.now = now
    work.now = lambda: now


def set_market(sandbox: SandboxServer, market: Market) -> None:
    """Let another market be published, and forget what was."""
    source = sandbox.app.state.source
    source.stand_still([])
    source._market = market


def asked(work: Workbench) -> list[tuple[str, dict[str, str]]]:
    """Return the REST requests so far: the last part of the path, and the parameters."""
    return [
        (item.path.rpartition("/")[2], dict(parse_qsl(item.query)))
        for item in work.sandbox.app.state.requests
        if item.kind == "rest"
    ]


def published_later(work: Workbench, series: Series, symbol: str, day: date, before: datetime | None = None) -> Rows:
    """Return what the archive publishes of a day when it does; only rows before an instant where that is given."""
    source = work.sandbox.app.state.source
    now, source.now = source.now, LATER
    try:
        stamp: date | str = f"{day:%Y-%m}" if series.table == "funding_rates" else day
        rows = work.published(series, symbol, stamp, "monthly" if series.table == "funding_rates" else "daily")
    finally:
        source.now = now
    rows = of_day(rows, day)
    return rows if before is None else [row for row in rows if row[0] < before.timestamp() * 1_000_000]


def ms(instant: datetime) -> str:
    return str(int(instant.timestamp() * 1000))


# ---- a day that is not published yet ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market_type", "dataset", "symbol"),
    [
        ("spot", "ohlcv_1m", BTC),
        ("spot", "ohlcv_1h", BTC),
        ("spot", "trades", BTC),
        ("spot", "agg_trades", BTC),
        ("linear", "ohlcv_1m", PERPETUAL),
        ("linear", "trades", PERPETUAL),
        ("linear", "funding_rates", PERPETUAL),
    ],
)
def test_yesterday_from_rest_is_digit_for_digit_what_is_published_later(
    bench: Open, market_type: str, dataset: str, symbol: str
) -> None:
    work = bench(EARLY, entry(market_type, [dataset], [symbol], START, rest=True, warehouse=[dataset]))
    series = Series.named("binance", market_type, dataset)
    outcome = work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY, dataset, symbol, market_type)
    expected = published_later(work, series, symbol, YESTERDAY)
    assert (
        len(expected)
        == {"ohlcv_1m": 1440, "ohlcv_1h": 24, "trades": 2400, "agg_trades": 1440, "funding_rates": 3}[dataset]
    )
    assert outcome.state is State.PROVISIONAL, outcome.reason
    assert outcome.failed_checks == []
    assert work.in_lake(series, symbol, YESTERDAY) == expected
    where = f"timeframe = '{series.timeframe}' AND source = 'rest'" if series.timeframe else "true"
    assert work.in_warehouse(series.table, symbol, YESTERDAY, where, market_type) == expected
    record = work.records()[symbol, dataset, YESTERDAY]
    assert (record.state, record.source, record.rows) == (State.PROVISIONAL, "rest", len(expected))
    assert record.source_key is not None
    assert record.source_key.startswith({"spot": "rest/api/v3/", "linear": "rest/fapi/v1/"}[market_type])
    assert record.reason.startswith("archive: ")
    assert record.reason.endswith("; rows from REST")


def test_the_archive_replaces_what_rest_gave_and_rest_is_not_asked_again(bench: Open) -> None:
    work = bench(EARLY, spot("ohlcv_1m"))
    assert work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY).state is State.PROVISIONAL
    provisional = work.in_lake(BARS, BTC, YESTERDAY)
    set_clock(work, NOON)
    work.sandbox.forget_requests()
    outcome = work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY)
    assert (outcome.state, outcome.reason, outcome.unchanged) == (State.AVAILABLE, "", False)
    assert asked(work) == []
    record = work.records()[BTC, "ohlcv_1m", YESTERDAY]
    assert (record.state, record.source, record.source_key) == (
        State.AVAILABLE,
        "archive",
        work.key(BARS, BTC, YESTERDAY),
    )
    assert work.in_lake(BARS, BTC, YESTERDAY) == provisional
    assert work.in_warehouse("ohlcv", BTC, YESTERDAY, "timeframe = '1m' AND source = 'archive'") == provisional


def test_a_whole_day_from_rest_is_not_asked_for_twice(bench: Open) -> None:
    work = bench(EARLY, spot("ohlcv_1m", "trades"))
    first = work.collect(YESTERDAY, YESTERDAY)
    work.sandbox.forget_requests()
    again = work.collect(YESTERDAY, YESTERDAY)
    assert asked(work) == []
    for dataset in ("ohlcv_1m", "trades"):
        before, after = first.of(YESTERDAY, dataset), again.of(YESTERDAY, dataset)
        assert after.unchanged
        assert (after.state, after.reason, after.stored) == (State.PROVISIONAL, before.reason, before.stored)


def test_without_rest_in_the_entry_the_exchange_is_not_asked(bench: Open) -> None:
    work = bench(EARLY, entry("spot", ["ohlcv_1m"], [BTC], START))
    outcome = work.collect(YESTERDAY, TODAY).of(YESTERDAY)
    assert outcome.state is State.PENDING
    assert outcome.reason.startswith("not published yet")
    assert asked(work) == []


# ---- today -----------------------------------------------------------------------------------------------------------


def test_today_is_collected_up_to_the_last_closed_bar_and_the_open_one_is_never_stored(bench: Open) -> None:
    work = bench(NOON, spot("ohlcv_1m", "ohlcv_1h", "ohlcv_1d"))
    result = work.collect(TODAY, TODAY)
    for dataset, count in (("ohlcv_1m", 720), ("ohlcv_1h", 12)):
        series, outcome = Series.named("binance", "spot", dataset), result.of(TODAY, dataset)
        expected = published_later(work, series, BTC, TODAY, datetime(2025, 1, 4, 12, tzinfo=UTC))
        assert len(expected) == count
        assert outcome.state is State.PROVISIONAL
        assert outcome.evidence["until"] == "2025-01-04T12:00:00+00:00"
        assert outcome.findings["complete"].evidence == {"expected": count, "found": count}
        assert outcome.reason == "archive: the day has not ended; rows from REST up to 12:00:00 UTC"
        assert work.in_lake(series, BTC, TODAY) == expected
    day = result.of(TODAY, "ohlcv_1d")
    assert (day.state, day.reason) == (State.PENDING, "the day has not ended; REST: it has no rows of this day")
    assert {path for _, path in work.sandbox.requests()} == {"/api/v3/time", "/api/v3/klines"}, "no archive has today"


def test_a_bar_that_closed_a_moment_ago_waits_until_it_is_final(bench: Open) -> None:
    work = bench(datetime(2025, 1, 4, 12, 0, 2, tzinfo=UTC), spot("ohlcv_1m"))
    work.collect(TODAY, TODAY)
    last = work.in_lake(BARS, BTC, TODAY)[-1]
    assert last[0] == datetime(2025, 1, 4, 11, 58, tzinfo=UTC).timestamp() * 1_000_000


def test_the_exchange_s_clock_decides_what_is_closed_not_ours(bench: Open) -> None:
    work = bench(NOON, spot("ohlcv_1m"))
    work.now = lambda: NOON + timedelta(hours=3)
    assert work.collect(TODAY, TODAY).of(TODAY).evidence["until"] == "2025-01-04T12:00:00+00:00"
    assert len(work.in_lake(BARS, BTC, TODAY)) == 720


def test_today_grows_by_what_is_new_and_nothing_is_asked_for_twice(bench: Open) -> None:
    work = bench(NOON, spot("ohlcv_1m", "trades"))
    work.collect(TODAY, TODAY)
    last_id = work.in_lake(TRADES, BTC, TODAY)[-1][1]
    work.sandbox.forget_requests()
    set_clock(work, NOON + timedelta(minutes=15))
    result = work.collect(TODAY, TODAY)
    quarter_past = datetime(2025, 1, 4, 12, 15, tzinfo=UTC)
    noon = datetime(2025, 1, 4, 12, tzinfo=UTC)
    bars = {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": ms(noon),
        "endTime": str(int(ms(quarter_past)) - 1),
        "limit": "15",
    }
    assert sorted(asked(work), key=lambda request: request[0]) == [
        ("historicalTrades", {"symbol": "BTCUSDT", "fromId": str(last_id + 1), "limit": "1000"}),
        ("klines", bars),
        ("time", {}),
    ]
    assert work.in_lake(BARS, BTC, TODAY) == published_later(work, BARS, BTC, TODAY, quarter_past)
    # Trades are final at once: what the last page has beyond the settled instant is kept.
    expected = published_later(work, TRADES, BTC, TODAY, NOON + timedelta(minutes=15))
    assert work.in_lake(TRADES, BTC, TODAY) == expected
    assert len(work.in_warehouse("ohlcv", BTC, TODAY, "timeframe = '1m'")) == 735
    assert result.tally.states == {State.PROVISIONAL: 2}


def test_a_day_that_grew_is_the_very_file_that_one_collection_would_have_made(
    bench: Open, sandbox: SandboxServer, tmp_path: Path
) -> None:
    work = bench(NOON, spot("ohlcv_1m", "trades"))
    for now in (NOON, NOON + timedelta(hours=3), NOON + timedelta(hours=17)):
        set_clock(work, now)
        grown = work.collect(TODAY, TODAY)
    other = Workbench(sandbox, work.url, tmp_path / "other", spot("ohlcv_1m", "trades"))
    set_clock(other, NOON + timedelta(hours=17))
    whole = other.collect(TODAY, TODAY)
    for dataset, series in (("ohlcv_1m", BARS), ("trades", TRADES)):
        assert grown.of(TODAY, dataset).stored == whole.of(TODAY, dataset).stored
        assert grown.of(TODAY, dataset).evidence["ended"] is True
        assert work.in_lake(series, BTC, TODAY) == published_later(work, series, BTC, TODAY)


def test_the_first_moments_of_a_day_leave_it_pending(bench: Open) -> None:
    work = bench(datetime(2025, 1, 4, 0, 0, 30, tzinfo=UTC), spot("ohlcv_1m"))
    outcome = work.collect(TODAY, TODAY).of(TODAY)
    assert (outcome.state, outcome.reason) == (
        State.PENDING,
        "the day has not ended; REST: it has no rows of this day",
    )


def test_today_does_not_need_the_archive_to_answer(bench: Open) -> None:
    work = bench(NOON, spot("ohlcv_1m"))
    work.sandbox.app.state.faults.on(make_fault(fault="http-403", kinds=("listing",)))
    result = work.collect(YESTERDAY, TODAY)
    assert result.of(TODAY).state is State.PROVISIONAL
    assert result.of(YESTERDAY).state is State.MISSING
    assert "403" in result.of(YESTERDAY).reason


# ---- holes and refused files -----------------------------------------------------------------------------------------


def test_a_hole_in_the_archive_is_filled_from_rest(bench: Open) -> None:
    work = bench(datetime(2025, 1, 20, tzinfo=UTC), spot("ohlcv_1m"))
    hole = date(2025, 1, 6)
    expected = work.published(BARS, BTC, hole)
    work.hide(work.key(BARS, BTC, hole))
    result = work.collect(hole - timedelta(days=1), hole + timedelta(days=1))
    assert result.tally.states == {State.AVAILABLE: 2, State.PROVISIONAL: 1}
    assert result.of(hole).reason.startswith(f"archive: expected {work.key(BARS, BTC, hole)}")
    assert work.in_lake(BARS, BTC, hole) == expected


def _wrong_checksum(work: Workbench, of: str) -> None:
    work.publish(of, work.bytes_at(of), checksum=b"0" * 64 + b"  other.zip\n")


def _half_a_zip(work: Workbench, of: str) -> None:
    work.publish(of, work.bytes_at(of)[:500])


def _rows_that_break_a_check(work: Workbench, of: str) -> None:
    lines = text_of(work.bytes_at(of)).splitlines()
    cells = lines[7].split(",")
    cells[3] = f"{cells[2]}1"  # low above high
    work.publish(of, zip_of(of, "\n".join([*lines[:7], ",".join(cells), *lines[8:]]) + "\n"))


@pytest.mark.parametrize("spoil", [_wrong_checksum, _half_a_zip, _rows_that_break_a_check])
def test_a_day_whose_file_is_refused_comes_from_rest_and_says_why(
    bench: Open, spoil: Callable[[Workbench, str], None]
) -> None:
    work = bench(datetime(2025, 1, 20, tzinfo=UTC), spot("ohlcv_1m"))
    day = date(2025, 1, 6)
    of = work.key(BARS, BTC, day)
    expected = work.published(BARS, BTC, day)
    spoil(work, of)
    result = work.collect(day - timedelta(days=1), day + timedelta(days=1))
    outcome = result.of(day)
    assert result.tally.states == {State.AVAILABLE: 2, State.PROVISIONAL: 1}
    assert outcome.reason.startswith(f"archive: {of}")
    assert outcome.evidence["archive"]["quarantine"] in work.quarantined()
    assert work.in_lake(BARS, BTC, day) == expected
    assert work.in_warehouse("ohlcv", BTC, day, "timeframe = '1m' AND source = 'rest'") == expected


def test_rest_is_not_asked_for_a_day_that_the_archive_gave_before(bench: Open) -> None:
    work = bench(datetime(2025, 1, 20, tzinfo=UTC), spot("ohlcv_1m"))
    day = date(2025, 1, 6)
    work.collect(day, day)
    _half_a_zip(work, work.key(BARS, BTC, day))
    work.collect(day, day)
    assert work.records()[BTC, "ohlcv_1m", day].state is State.CORRECTED
    work.hide(work.key(BARS, BTC, day))
    work.hide(work.key(BARS, BTC, "2025-01", "monthly"))
    work.collect(day, day)
    record = work.records()[BTC, "ohlcv_1m", day]
    assert (record.source, record.rows) == ("archive", 1440)
    assert asked(work) == []


# ---- what an exchange does -------------------------------------------------------------------------------------------


class _Down(Market):
    """A market without bars in some hours, as Binance's are after an outage, and with trades moved out of them."""

    def __init__(self, seed: int, start: datetime, end: datetime) -> None:
        super().__init__(seed)
        self.span = int(start.timestamp()) * 1_000_000, int(end.timestamp()) * 1_000_000

    def bars(self, item: Instrument, interval: str, day: date) -> Bars:
        bars = super().bars(item, interval, day)
        kept = (bars.open_time < self.span[0]) | (bars.open_time >= self.span[1])
        return Bars(**{name: getattr(bars, name)[kept] for name in Bars.__slots__})

    def trades(self, item: Instrument, day: date) -> Any:
        found = super().trades(item, day)
        inside = (found.time >= self.span[0]) & (found.time < self.span[1])
        return replace(found, time=np.where(inside, self.span[0] - 1, found.time))


def test_an_outage_of_hours_neither_stalls_nor_ends_the_day_and_is_not_filled(bench: Open) -> None:
    work = bench(EARLY, spot("ohlcv_1m"))
    midnight, end = datetime(2025, 1, 3, tzinfo=UTC), datetime(2025, 1, 3, 18, tzinfo=UTC)
    set_market(work.sandbox, _Down(5, midnight, end))  # longer than the window of a page
    outcome = work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY)
    expected = published_later(work, BARS, BTC, YESTERDAY)
    assert len(expected) == 360
    assert work.in_lake(BARS, BTC, YESTERDAY) == expected
    assert outcome.state is State.DEGRADED
    assert "1,080 of 1,440 bars are missing (00:00–17:59)" in outcome.reason
    # Only what lacks is asked for again.
    work.sandbox.forget_requests()
    work.collect(YESTERDAY, YESTERDAY)
    windows = [query for name, query in asked(work) if name == "klines"]
    second = midnight + timedelta(minutes=1000)
    assert [(query["startTime"], query["limit"]) for query in windows] == [(ms(midnight), "1000"), (ms(second), "80")]
    assert work.in_lake(BARS, BTC, YESTERDAY) == expected


def test_a_symbol_that_is_silent_for_hours_is_found_window_by_window(bench: Open) -> None:
    work = bench(EARLY, spot("trades"))
    set_market(work.sandbox, _Down(5, datetime(2025, 1, 3, tzinfo=UTC), datetime(2025, 1, 3, 2, 30, tzinfo=UTC)))
    work.collect(YESTERDAY, YESTERDAY)
    finds = [query for name, query in asked(work) if name == "aggTrades"]
    hours = [datetime(2025, 1, 3, hour, tzinfo=UTC) for hour in range(4)]
    assert [(query["startTime"], query["endTime"]) for query in finds] == [
        (ms(begin), str(int(ms(begin)) + 3_599_999)) for begin in hours[:3]
    ]
    rows = work.in_lake(TRADES, BTC, YESTERDAY)
    assert rows == published_later(work, TRADES, BTC, YESTERDAY)
    assert rows[0][0] >= datetime(2025, 1, 3, 2, 30, tzinfo=UTC).timestamp() * 1_000_000


def test_a_day_without_any_trade_is_known_after_a_few_requests(bench: Open) -> None:
    work = bench(datetime(2025, 2, 5, tzinfo=UTC), spot("trades"))
    outcome = work.collect(date(2025, 2, 3), date(2025, 2, 3)).of(date(2025, 2, 3), "trades")
    assert outcome.state is State.PENDING
    assert outcome.reason.endswith("REST: it has no rows of this day")
    assert [name for name, _ in asked(work)] == ["time", "aggTrades", "aggTrades", "aggTrades", "klines"]


def test_trades_behind_many_silent_hours_are_found(bench: Open) -> None:
    work = bench(EARLY, spot("trades"))
    set_market(work.sandbox, _Down(5, datetime(2025, 1, 3, tzinfo=UTC), datetime(2025, 1, 3, 17, 30, tzinfo=UTC)))
    work.collect(YESTERDAY, YESTERDAY)
    assert [name for name, _ in asked(work)][:6] == ["time", *["aggTrades"] * 3, "klines", "aggTrades"]
    assert work.in_lake(TRADES, BTC, YESTERDAY) == published_later(work, TRADES, BTC, YESTERDAY)


def test_a_busy_day_is_stored_as_far_as_it_came_and_goes_on(bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_assets.engine.rest.feed.VISIT_S", -1.0)  # one page each time
    work = bench(EARLY, spot("trades"))
    counts, states = [], []
    for _ in range(4):
        outcome = work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY, "trades")
        counts.append(len(work.in_lake(TRADES, BTC, YESTERDAY)))
        states.append(outcome.state)
    assert counts == [900, 1900, 2400, 2400]  # the first page begins a hundred trades before midnight
    assert states == [State.DEGRADED, State.DEGRADED, State.PROVISIONAL, State.PROVISIONAL]
    assert work.in_lake(TRADES, BTC, YESTERDAY) == published_later(work, TRADES, BTC, YESTERDAY)


def test_trades_that_rest_does_not_serve_any_more_are_not_lost_silently(bench: Open) -> None:
    work = bench(EARLY, spot("trades"))
    source = work.sandbox.app.state.source
    first = published_later(work, TRADES, BTC, YESTERDAY)[0][1]
    source.oldest_ids = {("spot", "BTCUSDT"): first + 500}
    outcome = work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY, "trades")
    assert outcome.state is State.PENDING
    assert f"found ids from {first + 500} on; the exchange does not serve them any more" in outcome.reason
    assert outcome.reason.startswith("not published yet")
    assert work.lake.days(TRADES, BTC) == []


def test_rest_that_says_not_now_is_asked_again(bench: Open) -> None:
    work = bench(EARLY, spot("ohlcv_1m"))
    work.sandbox.app.state.faults.on(
        make_fault(fault="http-429", kinds=("rest",), pattern="/api/v3/klines*", times=2, retry_after_s=0)
    )
    assert work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY).state is State.PROVISIONAL
    assert work.in_lake(BARS, BTC, YESTERDAY) == published_later(work, BARS, BTC, YESTERDAY)


def test_where_rest_does_not_answer_either_the_day_says_both_and_what_is_stored_stays(
    bench: Open, no_waits: None
) -> None:
    work = bench(NOON, spot("ohlcv_1m"))
    work.collect(TODAY, TODAY)
    rows = work.in_lake(BARS, BTC, TODAY)
    work.sandbox.app.state.faults.on(make_fault(fault="http-500", kinds=("rest",)))
    set_clock(work, NOON + timedelta(hours=1))
    outcome = work.collect(TODAY, TODAY).of(TODAY)
    assert outcome.state is State.PENDING
    assert outcome.reason.startswith("the day has not ended; REST: ")
    assert "500" in outcome.reason
    record = work.records()[BTC, "ohlcv_1m", TODAY]
    assert (record.state, record.rows, record.attempt_error) == (State.PROVISIONAL, 720, outcome.reason)
    assert work.in_lake(BARS, BTC, TODAY) == rows


def test_what_came_before_a_failure_is_stored_and_the_rest_is_asked_for_next_time(bench: Open) -> None:
    work = bench(EARLY, spot("trades"))
    faults = work.sandbox.app.state.faults
    first = published_later(work, TRADES, BTC, YESTERDAY)[0][1]
    faults.on(make_fault(fault="http-500", kinds=("rest",), pattern=f"*fromId={first + 900}*"))
    outcome = work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY, "trades")
    assert outcome.state is State.DEGRADED
    assert "500" in outcome.reason
    rows = work.in_lake(TRADES, BTC, YESTERDAY)
    assert rows == published_later(work, TRADES, BTC, YESTERDAY)[:900]
    faults.off()
    work.sandbox.forget_requests()
    outcome = work.collect(YESTERDAY, YESTERDAY).of(YESTERDAY, "trades")
    assert outcome.state is State.PROVISIONAL
    assert next(query["fromId"] for name, query in asked(work) if name == "historicalTrades") == str(first + 900)
    assert work.in_lake(TRADES, BTC, YESTERDAY) == published_later(work, TRADES, BTC, YESTERDAY)


def test_a_failure_in_the_middle_of_today_leaves_it_complete_up_to_where_it_came(bench: Open) -> None:
    work = bench(NOON, spot("trades"))
    first = published_later(work, TRADES, BTC, TODAY)[0][1]
    work.sandbox.app.state.faults.on(make_fault(fault="http-500", kinds=("rest",), pattern=f"*fromId={first + 900}*"))
    outcome = work.collect(TODAY, TODAY).of(TODAY, "trades")
    rows = work.in_lake(TRADES, BTC, TODAY)
    assert rows == published_later(work, TRADES, BTC, TODAY)[:900]
    assert outcome.state is State.PROVISIONAL
    assert datetime.fromisoformat(outcome.evidence["until"]).timestamp() * 1_000_000 == rows[-1][0]
    assert "500" in outcome.reason


def test_a_symbol_that_rest_does_not_know_keeps_the_archive_s_answer(bench: Open) -> None:
    work = bench(EARLY, entry("spot", ["ohlcv_1m"], ["OLD/USDT"], START, rest=True))
    outcome = work.collect(TODAY, TODAY).of(TODAY, symbol="OLD/USDT")
    assert outcome.state is State.PENDING
    assert '400 {"code":-1121,"msg":"Invalid symbol."}' in outcome.reason


def test_a_weekly_bar_comes_on_the_day_it_opens_once_it_is_closed(bench: Open) -> None:
    week = Series("binance", "spot", "ohlcv", "1w")
    monday = date(2025, 1, 6)
    work = bench(datetime(2025, 1, 8, 1, tzinfo=UTC), spot("ohlcv_1w"))
    open_bar = work.collect(monday, monday + timedelta(days=1))
    assert open_bar.of(monday, "ohlcv_1w").state is State.PENDING
    assert open_bar.of(monday, "ohlcv_1w").reason.endswith("REST: the bar that opens on this day closes on 2025-01-13")
    assert open_bar.of(monday + timedelta(days=1), "ohlcv_1w").state is State.NO_DATA
    set_clock(work, datetime(2025, 1, 13, 0, 1, tzinfo=UTC))
    assert work.collect(monday, monday).of(monday, "ohlcv_1w").state is State.PROVISIONAL
    (bar,) = work.in_lake(week, BTC, monday)
    days = [published_later(work, Series("binance", "spot", "ohlcv", "1d"), BTC, day)[0] for day in _week(monday)]
    assert bar == (
        days[0][0],
        days[0][1],
        max(day[2] for day in days),
        min(day[3] for day in days),
        days[-1][4],
        *(sum(day[place] for day in days) for place in (5, 6, 7, 8, 9)),
    )


def _week(monday: date) -> list[date]:
    return [monday + timedelta(days=n) for n in range(7)]


def test_the_archive_alone_needs_no_ccxt() -> None:
    # In a process of its own: this one may have imported it.
    script = """
import sys
from crypto_assets.engine import pipeline
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.definitions import build
assert not [name for name in sys.modules if name.partition(".")[0] == "ccxt"]
"""
    subprocess.run([sys.executable, "-c", script], check=True)
