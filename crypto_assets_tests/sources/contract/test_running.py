"""Whole runs of the engine, for every market of every source: stored, collected again, republished, limited and banned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets import sources
from crypto_assets.config.collection import Collection, parse_collection
from crypto_assets.engine.instruments import refresh_instruments
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import DAY, Partition, Series, State
from crypto_assets.sandbox.request_limits import busiest
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.conftest import postgres_url_with_tables as postgres_url
from crypto_assets_tests.sources.contract.conftest import FIRST, LAST, NOW, new_world
from crypto_assets_tests.sources.contract.subjects import SYMBOLS, markets
from crypto_assets_tests.sources.contract.truth import differences, true_rows
from crypto_assets_tests.workbench import Workbench

__all__ = ["postgres_url"]  # a fixture

SOME = ("ohlcv_1m", "ohlcv_1h", "trades", "agg_trades", "funding_rates")
ONCE = date(2024, 2, 7)


class SourceBench(Workbench):
    """Collects from one source of the sandbox; `limit` is that of each of its budgets."""

    exchange: str
    market_type: str
    limit = "1000 requests/s"

    @property
    def collection(self) -> Collection:
        budgets = ("archive", "listing", *sources.get(self.exchange).limits)
        urls = {**self.sandbox.urls(self.exchange), "limits": {name: [self.limit] for name in budgets}}
        return parse_collection({"exchanges": {self.exchange: urls}, "series": self.entries})

    @property
    def series(self) -> list[Series]:
        return [Series.named(self.exchange, self.market_type, name) for name in self.entries[0]["datasets"]]

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.market_type]

    def learn_instruments(self) -> None:
        with Ledger(self.url) as ledger:
            assert {one.problem for one in refresh_instruments(self.collection, ledger)} <= {""}

    def asked(self, *kinds: str) -> list[str]:
        found = [
            one for one in self.sandbox.app.state.requests if one.exchange == self.exchange and one.method == "GET"
        ]
        return [f"{one.path}?{one.query}" for one in found if one.kind in kinds]


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(new_world()) as server:
        yield server


Open = Callable[..., SourceBench]


@pytest.fixture
def bench(running: SandboxServer, postgres_url: str, tmp_path: Path, no_waits: None) -> Iterator[Open]:
    def opened(exchange: str, market_type: str, *, limit: str = SourceBench.limit) -> SourceBench:
        offered = sources.get(exchange).dataset_names(market_type)
        entry: dict[str, Any] = {
            "exchange": exchange,
            "market_type": market_type,
            "datasets": [name for name in SOME if name in offered],
            "symbols": [SYMBOLS[market_type]],
            "start": FIRST,
            "rest": True,
        }
        made = SourceBench(running, postgres_url, tmp_path / "lake", entry)
        made.exchange, made.market_type, made.limit = exchange, market_type, limit
        made.now = lambda: NOW
        made.learn_instruments()
        running.forget_requests()
        return made

    running.app.state.limits.forget()
    yield opened
    running.app.state.faults.off()
    running.app.state.limits.forget()


each = pytest.mark.parametrize(("exchange", "market_type"), markets())


@each
def test_rows_are_stored_asked_for_once_and_collected_again_when_republished(
    bench: Open, running: SandboxServer, exchange: str, market_type: str
) -> None:
    work = bench(exchange, market_type)
    first = work.collect(ONCE, ONCE)
    stored = {}
    for series in work.series:
        outcome = first.of(ONCE, series.dataset, work.symbol, market_type)
        if outcome.state is not State.AVAILABLE:
            assert "newest" in outcome.reason, outcome.reason
            continue
        stored[series] = rows = work.lake.read_partition(series, Partition(work.symbol, ONCE))
        true = true_rows(running.app.state.source, series, work.symbol, ONCE)
        assert rows.num_rows
        assert differences(series, rows, true) == []
    assert stored
    before = set(work.asked("object", "rest"))
    keys = {key for series in stored for key in _keys(work, series, ONCE)}
    later = {key for series in stored for key in _keys(work, series, ONCE + DAY)}
    running.forget_requests()
    work.collect(ONCE, ONCE + DAY)
    again = [path for path in work.asked("object") if any(key in path for key in keys - later)]
    assert again == [], "a file of a stored day was requested again"
    answers = [path for path in work.asked("rest") if path in before and f"{ONCE}" in path]
    assert answers == []
    archived = [series for series in stored if sources.archives(series) and _keys(work, series, ONCE)]
    of_archive = [
        one for one in archived if first.of(ONCE, one.dataset, work.symbol, market_type).source.source == "archive"
    ]
    for key in keys:
        running.app.state.faults.on("republished", exchange=exchange, pattern=key)
    third = work.collect(ONCE, ONCE)
    for series in of_archive:
        was, now = (run.of(ONCE, series.dataset, work.symbol, market_type) for run in (first, third))
        assert now.source is not None
        assert now.source.sha256 != was.source.sha256, f"{series}: the republished file was not found"


def _keys(work: SourceBench, series: Series, day: date) -> tuple[str, ...]:
    found = sources.archives(series)
    return found[0].keys(sources.name_of(series, work.symbol), day) if found else ()


@each
def test_a_ban_ends_all_requests_also_those_of_the_next_run(
    bench: Open, running: SandboxServer, exchange: str, market_type: str
) -> None:
    work = bench(exchange, market_type)
    running.app.state.faults.on("http-418", exchange=exchange, kinds=("rest",), retry_after_s=600)
    result = work.collect(LAST, LAST)
    outcomes = [result.of(LAST, series.dataset, work.symbol, market_type) for series in work.series]
    assert not {one.state for one in outcomes} & {State.AVAILABLE, State.PROVISIONAL}
    assert any("waits until 20" in one.reason for one in outcomes), [one.reason for one in outcomes]
    # Threads that had begun may still ask once.
    assert 1 <= len(work.asked("rest")) <= 4
    running.app.state.faults.off()  # the exchange would answer again: nobody may try before the time
    running.forget_requests()
    work.collect(LAST, LAST)
    assert work.asked("rest") == []
    with psycopg.connect(work.url) as connection:
        query = "SELECT max(cool_until) - clock_timestamp() FROM collection.budgets WHERE cool_status IS NOT NULL"
        (left,) = connection.execute(query).fetchone() or (None,)
    assert timedelta(seconds=100) < left < timedelta(hours=1)


@pytest.mark.parametrize("exchange", [one for one in sources.names() if sources.get(one).dataset_names("spot")])
def test_no_window_has_more_requests_than_the_limits_allow(bench: Open, running: SandboxServer, exchange: str) -> None:
    most = 5
    work = bench(exchange, "spot", limit=f"{most} requests/s")
    running.app.state.limits.forget()
    work.collect(ONCE, ONCE)
    arrivals = running.app.state.limits.arrivals()
    by_budget: dict[str, list[Any]] = {}
    for one in arrivals:
        by_budget.setdefault(one.budget, []).append(one)
    assert by_budget
    for budget, found in by_budget.items():
        assert busiest(found, 1.0)["most_requests"] <= most, budget
        assert not any(one.refused for one in found)


@pytest.mark.parametrize("exchange", sources.names())
def test_declared_limits_are_within_those_of_the_exchange(running: SandboxServer, exchange: str) -> None:
    """The sandbox's allowances are those that the exchange documents; the source may stay below them, not above."""
    dialect, source = running.app.state.dialects[exchange], sources.get(exchange)
    for limits in source.limits.values():
        assert limits
    most = max(one.amount / one.window_s for one in dialect.limits.values())
    for name, limits in source.limits.items():
        if name not in ("archive", "listing"):
            assert min(one.amount / one.window_s for one in limits) <= most, name
