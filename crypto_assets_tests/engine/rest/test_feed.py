"""Days from REST through all steps: a sandbox with a settable clock, a lake in a folder, a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from crypto_assets.model import Series, State
from crypto_assets.sandbox.faults import make_fault, parse_fault
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.sources.binance.rest import BinanceRest
from crypto_assets_tests.engine.rest.conftest import START, TODAY, YESTERDAY, Open, set_clock
from crypto_assets_tests.published import of_day, text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

NOON = datetime(2025, 1, 4, 12, 0, 30, tzinfo=UTC)


EARLY = datetime(2025, 1, 4, 5, tzinfo=UTC)  # yesterday's files appear at 08:00


LATER = datetime(2025, 2, 10, tzinfo=UTC)


BTC, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"


BARS = Series("binance", "spot", "ohlcv", "1m")


TRADES = Series("binance", "spot", "trades")


AGGREGATES = Series("binance", "spot", "agg_trades")


Rows = list[tuple[Any, ...]]


def spot(*datasets: str, **more: Any) -> dict[str, Any]:
    return entry("spot", datasets, [BTC], START, rest=True, **more)


def asked(work: Workbench) -> list[tuple[str, dict[str, str]]]:
    """Return the REST requests so far: the last part of the path, and the parameters."""
    return [
        (item.path.rpartition("/")[2], dict(parse_qsl(item.query)))
        for item in work.sandbox.app.state.requests
        if item.kind == "rest"
    ]


def published_later(work: Workbench, series: Series, symbol: str, day: date, before: datetime | None = None) -> Rows:
    """Return the rows that the archive will publish for a day; with an instant, only the rows before it."""
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


def test_a_source_that_fails_on_an_answer_costs_that_day_alone(bench: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    work = bench(EARLY, spot("ohlcv_1m", "trades"))
    real = BinanceRest.rows

    def rows(self: BinanceRest, symbol: str, answer: Any, instrument: Any = None) -> Any:
        return real(self, symbol, answer["rows"] if self.series.table == "ohlcv" else answer, instrument)

    monkeypatch.setattr(BinanceRest, "rows", rows)
    result = work.collect(YESTERDAY, YESTERDAY)
    failed = result.of(YESTERDAY, "ohlcv_1m")
    assert (failed.state, failed.evidence["rest"]["error"]) == (State.PENDING, "SourceFault")
    assert "found that its code failed: TypeError" in failed.reason
    assert result.of(YESTERDAY, "trades").state is State.PROVISIONAL


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
    # Trades are final at once: rows of the last page beyond the settled instant are kept.
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


# ---- gaps and refused files ------------------------------------------------------------------------------------------


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


WITHHELD = {
    "http-404": (["object"], "listed, but the host answers 404"),
    "http-404 for its checksum": (["checksum"], "expected a checksum beside the file, found none"),
    "http-403": (["object"], "expected 200, found 403"),
    "redirect-host": (["object"], "a redirect to https://elsewhere.example"),
    "empty": (["object"], "published sha256"),
}


@pytest.mark.parametrize("name", WITHHELD)
def test_a_day_whose_file_is_listed_but_not_given_comes_from_rest_until_the_archive_gives_it(
    bench: Open, name: str
) -> None:
    kinds, why = WITHHELD[name]
    work = bench(datetime(2025, 1, 20, tzinfo=UTC), spot("ohlcv_1m"))
    day = date(2025, 1, 6)
    expected = work.published(BARS, BTC, day)
    faults = work.sandbox.app.state.faults
    faults.on(parse_fault(f"{name.split()[0]}:*klines/BTCUSDT/1m/BTCUSDT-1m-2025-01-06.zip*:kinds={kinds[0]}"))
    result = work.collect(day - timedelta(days=1), day + timedelta(days=1))
    assert result.tally.states == {State.AVAILABLE: 2, State.PROVISIONAL: 1}
    assert why in result.of(day).reason
    assert result.of(day).reason.endswith("; rows from REST")
    assert work.in_lake(BARS, BTC, day) == expected
    faults.off()
    assert work.collect(day, day).of(day).state is State.AVAILABLE
    record = work.records()[BTC, "ohlcv_1m", day]
    assert (record.state, record.source) == (State.AVAILABLE, "archive")


def test_a_file_that_is_listed_but_not_given_is_missing_for_that_reason_where_rest_is_off(bench: Open) -> None:
    work = bench(datetime(2025, 1, 20, tzinfo=UTC), spot("ohlcv_1m") | {"rest": False})
    day = date(2025, 1, 6)
    of = work.key(BARS, BTC, day)
    work.sandbox.app.state.faults.on(parse_fault(f"http-404:{of}"))
    outcome = work.collect(day, day).of(day)
    assert outcome.state is State.MISSING
    assert outcome.reason == (
        f"{work.sandbox.archive_url}/{of}: listed, but the host answers 404; `crypto-assets fill` tries it again"
    )
    assert (outcome.evidence["error"], outcome.evidence["listed"]) == ("NotPublished", of)
    assert asked(work) == []


def test_rest_is_not_asked_where_the_host_only_says_not_now(bench: Open) -> None:
    work = bench(datetime(2025, 1, 20, tzinfo=UTC), spot("ohlcv_1m"))
    day = date(2025, 1, 6)
    work.sandbox.app.state.faults.on(parse_fault(f"http-503:{work.key(BARS, BTC, day)}"))
    outcome = work.collect(day, day).of(day)
    assert (outcome.state, outcome.evidence["status"]) == (State.MISSING, 503)
    assert "listed" not in outcome.evidence
    assert asked(work) == []


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
