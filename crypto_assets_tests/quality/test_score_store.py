"""Scores in a real PostgreSQL: a row only when one changed, means by level, and the way they came."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_assets.checks._minutes import MINUTES, to_bits
from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.ledger.profiles import write_profiles
from crypto_assets.ledger.score_query import Chosen, Point, read_scores, trend
from crypto_assets.model import (
    ArchiveObject,
    Finding,
    Outcome,
    Partition,
    Profile,
    Series,
    SourceFile,
    State,
    StoredFile,
)
from crypto_assets.quality.score_store import refresh_scores
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests.workbench import entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC, ETH = "BTC/USDT", "ETH/USDT"
FIRST, LAST = date(2024, 3, 1), date(2024, 3, 4)
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
ENTRY = entry("spot", ["ohlcv_1m"], [BTC, ETH], FIRST)
WHOLE = {"complete": Finding(True, {"expected": 1440, "found": 1440}), "unique_key": Finding(True)}
CUT = {"complete": Finding(False, {"expected": 1440, "found": 1080, "missing": 360}), "unique_key": Finding(True)}
CUT_TOTAL = (0.4 * 0.75 + 0.3) / 0.7


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Ledger]:
    migrate(postgres_url)
    with Ledger(postgres_url) as ledger:
        yield ledger


def collection(*entries: dict[str, Any], **quality: Any) -> Collection:
    return parse_collection({"series": list(entries or (ENTRY,)), "quality": quality})


def key_of(day: date, symbol: str = BTC) -> str:
    text = symbol.replace("/", "")
    return f"data/spot/daily/klines/{text}/1m/{text}-1m-{day}.zip"


def stored(day: date, symbol: str = BTC, findings: Mapping[str, Finding] = WHOLE) -> Outcome:
    complete = findings["complete"].passed
    rows = int(findings["complete"].evidence["found"])
    return Outcome(
        BARS,
        Partition(symbol, day),
        State.AVAILABLE if complete else State.DEGRADED,
        "" if complete else "360 bars lack",
        source=SourceFile(key_of(day, symbol), 70, "e1", "a" * 64),
        stored=StoredFile(f"{symbol} {day}", rows, 9, f"{symbol} {day} {rows}"),
        findings=findings,
    )


def days(count: int = 4) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(count)]


def no_outage(*_: Any) -> dict[date, np.ndarray]:
    return {}


def scored(ledger: Ledger, at: datetime = NOW, last: date = LAST, **more: Any) -> int:
    return refresh_scores(
        ledger,
        more.pop("collection", collection()),
        FIRST,
        last,
        outages=more.pop("outages", no_outage),
        now=at,
        **more,
    )


def totals(ledger: Ledger, symbol: str = BTC) -> dict[int, float | None]:
    found = read_scores(ledger, "partition", Chosen(symbol=[symbol]))
    return {one.day.day: one.total for one in found if one.day}


def rows_of(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT symbol, day, state, total, scored_at FROM collection.quality ORDER BY 1, 2, 5"
        ).fetchall()


# ---- scoring ----------------------------------------------------------------------------------------------------------


def test_days_are_scored_by_what_is_known_of_them(ledger: Ledger) -> None:
    ledger.record_outcomes(
        [
            stored(FIRST),
            stored(FIRST + timedelta(days=1), findings=CUT),
            Outcome(BARS, Partition(BTC, FIRST + timedelta(days=2)), State.MISSING, "gone", {"error": "BadContainer"}),
            *(Outcome(BARS, Partition(ETH, day), State.NO_DATA, "not listed") for day in days()),
        ]
    )
    assert scored(ledger) == 4
    assert totals(ledger) == {1: 1.0, 2: pytest.approx(CUT_TOTAL), 3: 0.0, 4: 0.0}
    assert totals(ledger, ETH) == {}, "nothing was expected, nothing is judged"
    refused, never = read_scores(ledger, "partition", Chosen(symbol=[BTC], first=date(2024, 3, 3)))
    assert (refused.accuracy, refused.completeness, refused.state, refused.reason) == (0.0, 0.0, "missing", "gone")
    assert (never.accuracy, never.completeness, never.state, never.reason) == (None, 0.0, None, None)


def test_a_row_is_added_only_when_a_score_changed(ledger: Ledger, postgres_url: str) -> None:
    ledger.record_outcomes([stored(day, symbol, CUT) for day in days() for symbol in (BTC, ETH)])
    assert scored(ledger) == 8
    before = rows_of(postgres_url)
    assert scored(ledger, NOW + timedelta(hours=1)) == 0
    assert rows_of(postgres_url) == before
    ledger.record_outcomes([stored(LAST)])
    later = NOW + timedelta(hours=2)
    assert scored(ledger, later) == 1
    assert [row for row in rows_of(postgres_url) if row not in before] == [(BTC, LAST, "available", 1.0, later)]
    assert totals(ledger) == {n: pytest.approx(CUT_TOTAL) for n in (1, 2, 3)} | {4: 1.0}


def test_a_day_that_can_no_longer_be_judged_is_remembered_as_such(ledger: Ledger) -> None:
    assert scored(ledger, last=FIRST) == 2
    ledger.record_outcomes([Outcome(BARS, Partition(BTC, FIRST), State.NO_DATA, "not listed before")])
    assert scored(ledger, NOW + timedelta(hours=1), last=FIRST) == 1
    assert (totals(ledger), totals(ledger, ETH)) == ({1: None}, {1: 0.0})
    [mean] = read_scores(ledger, "series")
    assert (mean.days, mean.judged, mean.total) == (2, 1, 0.0)


def test_a_day_never_collected_is_0_only_after_the_deadline_and_today_is_none_at_all(ledger: Ledger) -> None:
    today = datetime(2024, 3, 5, 1, tzinfo=UTC)  # three days after its end a day counts as missing
    assert scored(ledger, today, last=date(2024, 3, 6)) == 2
    assert totals(ledger) == {1: 0.0}
    assert scored(ledger, today + timedelta(days=1), last=date(2024, 3, 6)) == 2
    assert totals(ledger) == {1: 0.0, 2: 0.0}


def test_only_pairs_and_days_of_the_collection_are_scored(ledger: Ledger) -> None:
    ledger.record_outcomes([stored(day, symbol) for day in days() for symbol in (BTC, ETH)])
    late = collection(entry("spot", ["ohlcv_1m"], [BTC, ETH], date(2024, 3, 3)))
    other = Series("binance", "spot", "ohlcv", "1h")
    assert scored(ledger, collection=late, tracks=[(BARS, ETH), (other, BTC)]) == 2
    assert (totals(ledger), totals(ledger, ETH)) == ({}, {3: 1.0, 4: 1.0})
    assert scored(ledger, collection=late, tracks=[]) == 0


def test_weights_of_the_collection_count(ledger: Ledger) -> None:
    ledger.record_outcomes([stored(FIRST, findings=CUT)])
    scored(ledger, last=FIRST, tracks=[(BARS, BTC)])
    assert totals(ledger) == {1: pytest.approx(CUT_TOTAL)}
    weights = {"accuracy": 0, "completeness": 1}
    scored(ledger, NOW + timedelta(hours=1), FIRST, tracks=[(BARS, BTC)], collection=collection(weights=weights))
    assert totals(ledger) == {1: 0.75}


def test_bars_of_an_outage_are_not_expected(ledger: Ledger) -> None:
    absent = np.zeros(MINUTES, dtype=bool)
    absent[:360] = True
    outcome = stored(FIRST, findings=CUT)
    assert outcome.stored is not None
    ledger.record_outcomes([outcome, stored(FIRST + timedelta(days=1), findings=CUT)])
    start = datetime(2024, 3, 1, 6, tzinfo=UTC)
    profile = Profile(BTC, FIRST, outcome.stored.sha256, 1080, start, start, absent=to_bits(absent))
    with ledger.transaction() as connection:
        write_profiles(connection, BARS, [profile])
    asked = []

    def outages(connection: psycopg.Connection[Any], *of: Any) -> dict[date, np.ndarray]:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        asked.append(of)
        return {FIRST: absent}

    scored(ledger, outages=outages)
    assert asked == [("binance", "spot", FIRST, LAST)], "once for all symbols"
    assert (totals(ledger)[1], totals(ledger)[2]) == (1.0, pytest.approx(CUT_TOTAL))
    # A profile of another file says nothing of this one: as many minutes as the outage has are excused.
    with ledger.transaction() as connection:
        write_profiles(connection, BARS, [replace(profile, content_sha256="other", absent=to_bits(~absent))])
    assert scored(ledger, NOW + timedelta(hours=1), outages=outages) == 0


@pytest.mark.parametrize(
    ("appeared_h", "seen_h", "timeliness"),
    [(5, 5.1, 1.0), (72, 80, 1.0), (144, 145, 0.5), (144, 337, None), (5, 24 * 90, None)],
)
def test_an_object_that_was_seen_to_appear_is_judged_by_the_deadline(
    ledger: Ledger, postgres_url: str, appeared_h: float, seen_h: float, timeliness: float | None
) -> None:
    end = datetime(2024, 3, 2, tzinfo=UTC)
    key = key_of(FIRST)
    ledger.record_objects("binance", [ArchiveObject(key, 70, "e1", end + timedelta(hours=appeared_h))])
    # Published again later: that is no delay of the first publication.
    ledger.record_objects("binance", [ArchiveObject(key, 71, "e2", end + timedelta(days=60))])
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE collection.archive_objects SET first_seen = %s", (end + timedelta(hours=seen_h),))
    ledger.record_outcomes([stored(FIRST)])
    scored(ledger, last=FIRST, tracks=[(BARS, BTC)])
    [found] = read_scores(ledger, "partition")
    assert found.timeliness == (None if timeliness is None else pytest.approx(timeliness))


def test_nine_hundred_days_are_scored_and_averaged(ledger: Ledger) -> None:
    last = FIRST + timedelta(days=299)
    symbols = [BTC, ETH, "SOL/USDT"]
    many = collection(entry("spot", ["ohlcv_1m"], symbols, FIRST))
    outcomes = [stored(day, symbol) for day in days(300) for symbol in symbols]
    ledger.record_outcomes(outcomes)
    later = NOW + timedelta(days=999)
    scored(ledger, later, FIRST, collection=many)
    assert scored(ledger, later, last, collection=many) == 897
    [mean] = read_scores(ledger, "exchange")
    assert (mean.days, mean.judged, mean.below, mean.total) == (900, 900, 0, 1.0)


def test_days_after_the_end_of_an_entry_are_not_scored(ledger: Ledger) -> None:
    ledger.record_outcomes([stored(day, BTC) for day in days(4)])
    ended = collection().model_copy(deep=True)
    for part in ended.series:
        part.end = FIRST + timedelta(days=1)
    assert scored(ledger, collection=ended) == 2 * len([BTC, ETH])


def test_two_processes_that_score_the_same_days_keep_one_row_each(ledger: Ledger, postgres_url: str) -> None:
    ledger.record_outcomes([stored(day, symbol) for day in days(60) for symbol in (BTC, ETH)])
    changed: list[int] = []

    def work() -> None:
        with Ledger(postgres_url) as mine:
            changed.append(
                refresh_scores(mine, collection(), FIRST, FIRST + timedelta(days=59), outages=no_outage, now=None)
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [0, 0, 0, 120]
    assert len(rows_of(postgres_url)) == 120


# ---- reading ----------------------------------------------------------------------------------------------------------


def test_means_name_their_worst_day_and_count_those_under_the_threshold(ledger: Ledger) -> None:
    ledger.record_outcomes([stored(day, symbol) for day in days() for symbol in (BTC, ETH)])
    ledger.record_outcomes([stored(LAST, ETH, CUT), stored(FIRST, ETH, CUT)])
    scored(ledger)
    worst = {"market_type": "spot", "symbol": ETH, "dataset": "ohlcv_1m", "day": "2024-03-01", "total": CUT_TOTAL}
    btc, eth = read_scores(ledger)
    assert (btc.symbol, btc.days, btc.below, btc.total) == (BTC, 4, 0, 1.0)
    assert (eth.symbol, eth.judged, eth.below, eth.completeness, eth.accuracy) == (ETH, 4, 2, 0.875, 1.0)
    assert eth.worst is not None
    assert {**eth.worst, "total": pytest.approx(CUT_TOTAL)} == worst
    assert (eth.agreement, eth.timeliness) == (None, None)
    [exchange] = read_scores(ledger, "exchange", threshold=0.5)
    assert (exchange.exchange, exchange.market_type, exchange.symbol, exchange.below) == ("binance", None, None, 0)
    assert exchange.total == pytest.approx((6 + 2 * CUT_TOTAL) / 8)
    assert [one.symbol for one in read_scores(ledger, below=0.95)] == [ETH]
    assert [one.day for one in read_scores(ledger, "partition", Chosen(symbol=[ETH], first=LAST, last=LAST))] == [LAST]
    assert [one.symbol for one in read_scores(ledger, limit=1, offset=1)] == [ETH]
    assert read_scores(ledger, chosen=Chosen(exchange=["okx"])) == []
    with pytest.raises(KeyError):
        read_scores(ledger, "planet")


def test_the_trend_is_what_the_means_were_at_the_end_of_each_day(ledger: Ledger) -> None:
    ledger.record_outcomes([stored(FIRST, findings=CUT)])
    scored(ledger, NOW, FIRST)
    ledger.record_outcomes([stored(FIRST, findings=CUT), stored(FIRST, ETH)])
    scored(ledger, NOW + timedelta(hours=1), FIRST)
    ledger.record_outcomes([stored(FIRST), Outcome(BARS, Partition(ETH, FIRST), State.AVAILABLE)])
    scored(ledger, NOW + timedelta(days=2), FIRST)
    one, two = date(2024, 6, 1), date(2024, 6, 3)
    names = ("binance", "spot", None, "ohlcv_1m", None)
    assert trend(ledger, "series") == [
        Point(*names, one, 2, 1.0, 0.875, None, None, pytest.approx((CUT_TOTAL + 1) / 2)),
        Point(*names, two, 2, 1.0, 1.0, None, None, 1.0),
    ]
    btc = trend(ledger, "partition", Chosen(symbol=[BTC]))
    assert [(point.day, point.on, point.total) for point in btc] == [
        (FIRST, one, pytest.approx(CUT_TOTAL)),
        (FIRST, two, 1.0),
    ]
    assert [point.on for point in trend(ledger, "series", limit=1, offset=1)] == [two]


def test_the_queries_of_the_documentation_give_what_they_promise(ledger: Ledger, postgres_url: str) -> None:
    ledger.record_outcomes([stored(FIRST, findings=CUT), stored(LAST)])
    scored(ledger, NOW)
    ledger.record_outcomes([stored(FIRST)])
    scored(ledger, NOW + timedelta(days=1))
    text = (Path(__file__).resolve().parents[2] / "docs" / "concepts" / "quality.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    queries = [query for query in block.split(";") if query.strip()]
    with psycopg.connect(postgres_url) as connection:
        bad, history, months, by_time = (connection.execute(query).fetchall() for query in queries)
    bad.sort(key=lambda row: (row[1], row[3]))
    assert [(row[1], row[3], row[-1]) for row in bad] == [
        *((BTC, FIRST + timedelta(days=n), 0.0) for n in (1, 2)),
        *((ETH, FIRST + timedelta(days=n), 0.0) for n in range(4)),
    ]
    assert history == [
        (NOW, "degraded", pytest.approx(CUT_TOTAL)),
        (NOW + timedelta(days=1), "available", 1.0),
    ]
    assert months == [(FIRST, pytest.approx(2 / 8), 0.0, 6)]
    points = trend(ledger, "series")
    assert [(name, on, float(total)) for name, on, total in by_time] == [
        ("ohlcv_1m", point.on, pytest.approx(point.total)) for point in points
    ]
    assert [point.total for point in points] == [pytest.approx((1 + CUT_TOTAL) / 8), pytest.approx(2 / 8)]


_CHANGE = st.tuples(st.sampled_from([BTC, ETH]), st.integers(0, 2), st.integers(0, 5), st.none() | st.floats(0, 1))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(_CHANGE, min_size=1, unique_by=lambda change: change[:3]))
def test_means_and_trend_are_those_of_the_last_row_of_each_day(
    ledger: Ledger, changes: list[tuple[str, int, int, float | None]]
) -> None:
    with ledger.transaction() as connection:
        connection.execute("TRUNCATE collection.quality")
        for symbol, day, step, value in changes:
            connection.execute(
                "INSERT INTO collection.quality (exchange, market_type, symbol, dataset, day, scored_at, total) "
                "VALUES ('binance', 'spot', %s, 'ohlcv_1m', %s, %s, %s)",
                (symbol, FIRST + timedelta(days=day), NOW + timedelta(days=step), value),
            )

    def mean(step: int) -> float | None:
        last = {c[:2]: c[3] for c in sorted(changes, key=lambda c: c[2]) if c[2] <= step}
        judged = [value for value in last.values() if value is not None]
        return sum(judged) / len(judged) if judged else None

    expected = {NOW.date() + timedelta(days=c[2]): mean(c[2]) for c in changes}
    found = {point.on: point.total for point in trend(ledger, "series")}
    assert found == {on: None if m is None else pytest.approx(m, abs=1e-9) for on, m in expected.items()}
    [now] = read_scores(ledger, "series")
    assert now.total == found[max(found)] or now.total == pytest.approx(found[max(found)], abs=1e-9)
