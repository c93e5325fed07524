"""Real files of Binance, collected and judged the whole way: an outage, thin trading, a halt, trades against bars."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from crypto_assets.causes.incidents import Incident, read_incidents
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import State
from crypto_assets.model.kinds import Kind
from crypto_assets.quality.after_run import close_run
from crypto_assets.quality.compare_sources import source_comparer
from crypto_assets.quality.score_store import refresh_scores
from crypto_assets.quality.validate import Validator
from crypto_assets.sandbox.archive import FolderArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests.published import key, zip_of
from crypto_assets_tests.workbench import Workbench, entry

pytestmark = pytest.mark.realdata

AVAX, FIL, ALGO, PERPETUAL = "AVAX/USDT:USDT", "FIL/USDT:USDT", "ALGO/USDT:USDT", "BTC/USDT:USDT"
SEPTEMBER, MONTH_END = date(2023, 9, 1), date(2023, 9, 30)
RECORDED, HALT = date(2024, 8, 8), date(2023, 3, 24)


@pytest.fixture(scope="module")
def server(realdata: Path) -> Iterator[SandboxServer]:
    with SandboxServer(FolderArchive(realdata / "binance_vision")) as running:
        yield running


@pytest.fixture
def bench(server: SandboxServer, postgres_url: str, tmp_path: Path) -> Iterator[Workbench]:
    yield Workbench(server, postgres_url, tmp_path / "lake")
    server.app.state.overrides.clear()


def collect(bench: Workbench, first: date, last: date) -> None:
    bench.collect(first, last)
    with Ledger(bench.url) as ledger:
        close_run(bench.collection, bench.lake, ledger, bench.targets(first, last))


def incidents(bench: Workbench) -> list[Incident]:
    with Ledger(bench.url) as ledger, ledger.transaction() as connection:
        return read_incidents(connection)


def test_an_outage_of_the_exchange_is_found_from_two_symbols_alone(bench: Workbench) -> None:
    bench.entries = [entry("linear", ["ohlcv_1m"], [AVAX, FIL], SEPTEMBER)]
    collect(bench, SEPTEMBER, MONTH_END)
    assert {record.state for record in bench.records().values()} == {State.AVAILABLE}
    found = [one for one in incidents(bench) if one.kind is Kind.EXCHANGE_OUTAGE]
    assert [(one.start_time, one.end_time, one.symbol) for one in found] == [
        (datetime(2023, 9, 12, 8, 34, tzinfo=UTC), datetime(2023, 9, 12, 8, 53, tzinfo=UTC), None)
    ]
    assert set(found[0].symbols) == {AVAX, FIL}


def test_daily_bars_agree_with_the_file_of_the_month(bench: Workbench) -> None:
    bench.entries = [entry("linear", ["ohlcv_1m"], [AVAX, FIL], SEPTEMBER)]
    collect(bench, SEPTEMBER, MONTH_END)
    with Ledger(bench.url) as ledger, source_comparer(bench.collection, bench.url, ["monthly"]) as comparer:
        Validator(bench.lake, ledger, source_comparer=comparer).run(bench.targets(SEPTEMBER, MONTH_END))
    found = [record.findings["agrees_with_monthly"] for record in bench.records().values()]
    assert [(one["passed"], one["compared"]) for one in found] == [(True, 1_440)] * 60


def test_thin_trading_is_no_gap_and_no_outage(bench: Workbench) -> None:
    first, last = date(2024, 9, 1), date(2024, 9, 30)
    bench.entries = [entry("linear", ["ohlcv_1m"], [ALGO], first)]
    collect(bench, first, last)
    records = bench.records()
    assert {record.state for record in records.values()} == {State.AVAILABLE}
    assert sum(record.rows or 0 for record in records.values()) == 43_200
    assert [one for one in incidents(bench) if one.source == "found"] == []
    failed = {name for record in records.values() for name in record.failed_checks}
    assert failed <= {"outliers"}  # warnings, if any
    with Ledger(bench.url) as ledger:
        assert list(gaps(bench.collection, ledger, date(2024, 10, 1))) == []
        refresh_scores(ledger, bench.collection, first, last)
        with ledger.transaction() as connection:
            totals = connection.execute(
                "SELECT min(completeness), min(accuracy) FROM collection.quality_now"
            ).fetchone()
    assert totals == (1.0, 1.0)


def test_bars_that_lack_in_a_halt_are_an_outage_of_the_exchange(bench: Workbench, realdata: Path) -> None:
    (loose,) = (realdata / "loose").glob("binance_spot_BTCUSDT-5m_20230323-*.csv")
    rows = [line.split(",") for line in loose.read_text().splitlines() if line.startswith(str(HALT))]
    lines = []
    for opened, o, h, lo, c, volume, closed, quote, count, taker, taker_quote in rows:
        begin, end = (int(datetime.fromisoformat(t).replace(tzinfo=UTC).timestamp() * 1000) for t in (opened, closed))
        lines.append(f"{begin},{o},{h},{lo},{c},{volume},{end},{quote},{count},{taker},{taker_quote},0\n")
    assert len(lines) == 288 - 16
    of = key("spot", "klines", "BTCUSDT", "5m", HALT)
    bench.publish(of, zip_of(of, "".join(lines)))
    bench.entries = [entry("spot", ["ohlcv_5m"], ["BTC/USDT"], HALT)]
    collect(bench, HALT, HALT)
    record = bench.records()["BTC/USDT", "ohlcv_5m", HALT]
    found = record.findings["complete"]
    assert (record.state, found["passed"], found["missing"], found["excused"]) == (State.AVAILABLE, True, 16, 16)
    assert found["cause"] == "exchange_outage"
    assert record.reason.startswith(
        "16 bars are missing, the exchange was down 12:40–14:00 (known outage: https://www.binance"
    )
    with Ledger(bench.url) as ledger:
        assert list(gaps(bench.collection, ledger, date(2023, 3, 25))) == []
        with ledger.transaction() as connection:
            scores = connection.execute("SELECT completeness FROM collection.quality_now").fetchone()
    assert scores == (1.0,)  # what the exchange did not make is not expected


def test_recorded_trades_rebuild_the_published_bars_in_all_nine_fields(bench: Workbench, realdata: Path) -> None:
    of = key("linear", "klines", "BTCUSDT", "1m", RECORDED)
    lines = (realdata / "loose" / "BTCUSDT-1m-2024-08.slice.csv").read_text().splitlines(keepends=True)
    bench.publish(of, zip_of(of, "".join(lines[:-1])))  # the last one is of the next day
    bench.entries = [entry("linear", ["ohlcv_1m", "trades"], [PERPETUAL], RECORDED)]
    collect(bench, RECORDED, RECORDED)
    records = bench.records()
    assert records[PERPETUAL, "ohlcv_1m", RECORDED].rows == 7
    found = records[PERPETUAL, "trades", RECORDED].findings["agrees_with_bars"]
    assert found["with"] == "ohlcv_1m"
    assert (found["compared"], found["agree"], found["differ"]) == (7, 5, 2)
    # The recording begins within 23:54; of 23:53 it has nothing.
    assert {row["open_time"][11:16] for row in found["differences"]} == {"23:53", "23:54"}
