"""Today, through Dagster: its partition, its schedule, and the command that may collect it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from crypto_assets.config import selection
from crypto_assets.config.collection import parse_collection
from crypto_assets.errors import ConfigError
from crypto_assets.ledger.gaps import gaps
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import State
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.migrations import migrate
from crypto_assets_tests import project
from crypto_assets_tests.project import entry, key

TODAY = datetime.now(UTC).date()
START = TODAY - timedelta(days=2)
WITH_REST = entry(["ohlcv_1m", "ohlcv_1h", "ohlcv_1d", "trades"], ["BTC/USDT"], START) | {
    "rest": True,
    "name": "with_rest",
}
WITHOUT = entry(["ohlcv_1m"], ["ETH/USDT"], START)


def collection_of(*entries: dict[str, Any], **urls: str) -> Any:
    return parse_collection({"exchanges": {"binance": urls}, "series": list(entries)})


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    # By the real clock, because Dagster's partitions end with it.
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT", "ETHUSDT"]}, START, TODAY + timedelta(days=2))) as server:
        yield server


@pytest.fixture
def mine(sandbox: SandboxServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> project.Project:
    return project.make(sandbox, tmp_path / "home", postgres_url, monkeypatch, WITH_REST, WITHOUT)


def test_only_entries_with_rest_have_a_partition_for_today(mine: project.Project) -> None:
    graph = mine.definitions().get_repository_def().asset_graph
    last = {
        name: graph.get(key(name)).partitions_def.get_last_partition_key()
        for name in (
            "binance/spot/ohlcv_1m/BTC-USDT",
            "warehouse/binance/spot/ohlcv/BTC-USDT",
            "binance/spot/ohlcv_1m/ETH-USDT",
        )
    }
    assert list(last.values()) == [TODAY.isoformat(), TODAY.isoformat(), (TODAY - timedelta(days=1)).isoformat()]


def test_today_is_never_a_gap(mine: project.Project) -> None:
    migrate(mine.postgres_url)
    with Ledger(mine.postgres_url) as ledger:
        days = {gap.day for gap in gaps(mine.collection, ledger, TODAY)}
    assert days == {START, START + timedelta(days=1)}


def ask(mine: project.Project, name: str, at: datetime) -> list[dg.RunRequest] | str:
    schedule = mine.definitions().get_repository_def().get_schedule_def(name)
    with mine.instance() as instance:
        found = schedule.evaluate_tick(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))
    return list(found.run_requests or []) or str(found.skip_message)


def test_the_schedule_asks_for_what_can_be_closed_of_today(mine: project.Project) -> None:
    day = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    (request,) = ask(mine, "today", day + timedelta(hours=12))
    names = {key.to_user_string() for key in request.asset_selection or []}
    assert names == {
        "binance/spot/ohlcv_1m/BTC-USDT",
        "binance/spot/ohlcv_1h/BTC-USDT",
        "binance/spot/trades/BTC-USDT",
        "warehouse/binance/spot/ohlcv/BTC-USDT",
        "warehouse/binance/spot/trade_statistics_1m/BTC-USDT",
    }
    assert request.tags["dagster/asset_partition_range_start"] == TODAY.isoformat()
    before, after = ask(mine, "today", day + timedelta(minutes=15))
    yesterday = TODAY - timedelta(days=1)
    assert before.tags["dagster/asset_partition_range_end"] == yesterday.isoformat()
    assert key("binance/spot/ohlcv_1d/BTC-USDT") in before.asset_selection
    assert key("binance/spot/ohlcv_1h/BTC-USDT") not in after.asset_selection
    assert len({request.run_key, before.run_key, after.run_key}) == 3
    asked = {key.path[-1] for one in (request, before, after) for key in one.asset_selection or ()}
    assert asked == {"BTC-USDT"}, "the other entry does not use REST"


def test_a_run_of_today_is_provisional_and_reported_as_materialised(mine: project.Project) -> None:
    if datetime.now(UTC).hour == 0 and datetime.now(UTC).minute < 3:
        pytest.skip("the day has just begun; nothing of it is closed yet")
    selection = [key("binance/spot/ohlcv_1m/BTC-USDT"), key("warehouse/binance/spot/ohlcv/BTC-USDT")]
    tags = {
        "dagster/asset_partition_range_start": TODAY.isoformat(),
        "dagster/asset_partition_range_end": TODAY.isoformat(),
    }
    with mine.instance() as instance:
        result = mine.execute(dg.RunRequest(asset_selection=selection, tags=tags), instance)
        assert result.success
        assert instance.get_materialized_partitions(selection[0]) == {TODAY.isoformat()}
        assert instance.get_materialized_partitions(selection[1]) == {TODAY.isoformat()}
    record = mine.records()["BTC/USDT", "ohlcv_1m", TODAY]
    assert record.state is State.PROVISIONAL
    assert record.rows == int(
        (datetime.fromisoformat(record.evidence["until"]) - datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC))
        / timedelta(minutes=1)
    )
    assert record.failed_checks == []


# ---- the command ------------------------------------------------------------------------------------------------------


def planned(collection: Any, last: date) -> list[tuple[str, date, date]]:
    selected = [(part, tuple((series, part.symbols[0]) for series in part.series)) for part in collection.series]
    requests, _ = selection.clip(collection, selected, START, last, TODAY, with_today=True)
    return [(request.entry.symbols[0], request.first, request.last) for request in requests]


def test_today_may_be_asked_for_where_an_entry_has_rest() -> None:
    yesterday = TODAY - timedelta(days=1)
    collection = collection_of(WITH_REST, WITHOUT)
    assert planned(collection, TODAY) == [("BTC/USDT", START, TODAY), ("ETH/USDT", START, yesterday)]
    assert planned(collection, yesterday) == [("BTC/USDT", START, yesterday), ("ETH/USDT", START, yesterday)]


def test_days_after_the_end_of_an_entry_are_not_asked_for() -> None:
    yesterday = TODAY - timedelta(days=1)
    collection = collection_of(WITH_REST | {"end": START}, WITHOUT)
    assert planned(collection, yesterday) == [("BTC/USDT", START, START), ("ETH/USDT", START, yesterday)]
    (ended, _) = collection.series
    with pytest.raises(
        ConfigError, match=rf"no day is left; binance spot ohlcv_1m, ohlcv_1h, ohlcv_1d, trades ends on {START}"
    ):
        selection.clip(collection, [(ended, ())], yesterday, yesterday, TODAY)


@pytest.mark.parametrize(
    ("entries", "urls", "last", "why"),
    [
        ([WITHOUT], {}, TODAY - timedelta(1), "is the last day that has ended in UTC"),
        ([WITH_REST], {}, TODAY, "has nothing after today"),
        # Rows of two exchanges must not be mixed in one series.
        (
            [WITH_REST],
            {"archive_url": "http://127.0.0.1:9"},
            TODAY - timedelta(1),
            "is the last day that has ended in UTC",
        ),
    ],
)
def test_what_nobody_has_yet_is_not_asked_for_and_said(
    entries: list[dict[str, Any]], urls: dict[str, str], last: date, why: str
) -> None:
    collection = collection_of(*entries, **urls)
    selected = selection.select(collection)
    (request,), note = selection.clip(collection, selected, START, last + timedelta(1), TODAY, with_today=True)
    assert (request.first, request.last) == (START, last)
    assert note.startswith(f"--from {START} --to {last + timedelta(1)}: some of these days are left out: ")
    assert why in note
    assert selection.clip(collection, selected, START, last, TODAY, with_today=True)[1] == ""
    with pytest.raises(ConfigError, match="no day is left"):
        selection.clip(collection, selected, last + timedelta(1), last + timedelta(1), TODAY, with_today=True)
