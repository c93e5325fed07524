"""REST while the exchange is down, silent, busy or does not answer: what came is stored, the rest is asked for again."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest

from crypto_assets.model import Series, State
from crypto_assets.sandbox.faults import make_fault
from crypto_assets_tests import project
from crypto_assets_tests.engine.rest.conftest import START, TODAY, YESTERDAY, Open, _Down, set_clock, set_market
from crypto_assets_tests.engine.rest.test_feed import BARS, BTC, EARLY, NOON, TRADES, asked, ms, published_later, spot
from crypto_assets_tests.workbench import entry


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
    # Only the missing part is requested again.
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


def test_a_busy_day_is_stored_as_far_as_it_was_received_and_continues(
    bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_rest_that_says_not_now_is_asked_again(bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_assets.transport.limit_state._FIRST_S", 0.02)
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
    # In a separate process: this one may have imported it.
    script = """
import sys
from crypto_assets.engine import pipeline
from crypto_assets.engine.rest.feed import RestFeed
from crypto_assets.definitions import build
assert not [name for name in sys.modules if name.partition(".")[0] == "ccxt"]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_run_that_reads_the_archive_only_loads_no_ccxt(sandbox, tmp_path, postgres_url, monkeypatch) -> None:
    # REST may be asked for these days, but the archive has them.
    entries = {**project.entry(["ohlcv_1h", "trades"], [BTC], START), "rest": True}
    mine = project.make(sandbox, tmp_path, postgres_url, monkeypatch, entries)
    script = """
import sys
from crypto_assets import cli
sys.argv = ["crypto-assets", "collect", "--from", "2024-12-05", "--to", "2024-12-06"]
try:
    cli.main()
except SystemExit as end:
    assert not end.code, end.code
print([name for name in sys.modules if name.partition(".")[0] == "ccxt"])
"""
    done = mine.command.python(script)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["[]"]), done.stderr
    stored = {(dataset, day.day): record.state for (_, dataset, day), record in mine.records().items()}
    assert stored == {(name, day): State.AVAILABLE for name in ("ohlcv_1h", "trades") for day in (5, 6)}
