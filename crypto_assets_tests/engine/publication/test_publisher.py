"""Replaced days: what is kept, recorded and shown. A real lake and a real Postgres."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from crypto_assets.config.collection import parse_collection
from crypto_assets.engine.day_outcomes import Day, Target
from crypto_assets.engine.publication.publisher import Publisher
from crypto_assets.engine.run_context import Stores
from crypto_assets.errors import StoredDataError
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Outcome, Partition, Series, SourceFile, State
from crypto_assets.storage.lake import Lake
from crypto_assets.storage.migrations import migrate
from crypto_assets.storage.parquet import StoredRows
from crypto_assets.storage.warehouse import Warehouse
from crypto_assets_tests.rows.test_versions import bars

BARS = Series("binance", "spot", "ohlcv", "1m")
DAY = date(2024, 1, 1)
PARTITION = Partition("BTC/USDT", DAY)


class Bench:
    """A lake, a warehouse and a ledger, and a publisher that publishes days to them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.lake = Lake(str(folder))
        self.folder = folder
        self.url = url
        self.warehouse, self.ledger = Warehouse(url), Ledger(url)
        entry = {"exchange": "binance", "market_type": "spot", "datasets": ["ohlcv_1m"], "symbols": ["BTC/USDT"]}
        self.collection = parse_collection({"series": [entry | {"start": DAY}]})

    def publish(
        self, rows: pa.Table, name: str, source: str = "archive", day: date = DAY, by: Publisher | None = None
    ) -> Outcome:
        """Publish a day from an object of some name, `by` a publisher that has published others, or by a new one."""
        partition = Partition("BTC/USDT", day)
        target = Target(BARS, "BTC/USDT", (day,), ("ohlcv",))
        origin = SourceFile(f"{name}.zip", 70, name, hashlib.sha256(name.encode()).hexdigest(), source=source)

        def published(day: Day, stored: Any, counts: Any, correction: Any, beside: Any) -> Outcome:
            return Outcome(
                BARS, day.partition, State.AVAILABLE, source=day.source, stored=stored, correction=correction
            )

        with ThreadPoolExecutor(1) as pool:
            publisher = by or self.publisher(pool)
            [outcome] = publisher.publish([Day(target, partition, rows, origin)], [], published).values()
        return outcome

    def publisher(self, pool: ThreadPoolExecutor) -> Publisher:
        return Publisher(pool, self.collection, Stores(self.lake, self.warehouse, self.ledger), "run-1")

    def file(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, options="-c timezone=UTC") as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def stores(postgres_url: str, tmp_path: Path) -> Iterator[Bench]:
    migrate(postgres_url)
    stores = Bench(postgres_url, tmp_path / "lake")
    with stores.warehouse, stores.ledger:
        yield stores


MINUTES = {n: 100 + n for n in range(60)}


def test_a_republished_day_keeps_the_former_file_and_says_what_changed(stores: Bench) -> None:
    first = stores.publish(bars(MINUTES), "a")
    assert first.correction is None
    assert first.stored is not None
    former = stores.file(first.stored.path)
    second = stores.publish(bars(MINUTES | {7: 108, 60: 3}), "b")
    assert second.stored is not None
    correction = second.correction
    assert correction is not None
    assert correction.text == (
        "rows 1 added, 1 changed; columns open, high, low, close; open at 2024-01-01 00:07:00: 107 → 108 (0.935 %)"
    )
    path = f"versions/exchange=binance/market_type=spot/dataset=ohlcv_1m/symbol=BTC-USDT/date={DAY}/"
    assert correction.kept == f"{path}{first.stored.sha256[:16]}.parquet"
    assert stores.file(correction.kept) == former
    assert stores.file(second.stored.path) != former
    [found] = stores.ledger.corrections()
    assert (found.day, found.symbol, found.dataset, found.run_id, found.version) == (
        DAY,
        "BTC/USDT",
        "ohlcv_1m",
        "run-1",
        1,
    )
    assert (found.rows_added, found.rows_removed, found.rows_changed) == (1, 0, 1)
    assert (found.former_rows, found.rows) == (60, 61)
    assert (found.former_sha256, found.sha256) == (first.stored.sha256, second.stored.sha256)
    assert (found.former_source_key, found.source_key) == ("a.zip", "b.zip")
    assert (found.price_column, found.price_key, found.price_before, found.price_after) == (
        "open",
        "2024-01-01 00:07:00",
        107,
        108,
    )
    assert found.price_change == pytest.approx(1 / 107)
    assert found.volume_change is None
    assert found.columns == ["open", "high", "low", "close"]
    assert found.examples[0] == {"key": "2024-01-01 00:07:00", "what": "open", "before": "107", "after": "108"}
    [version] = stores.rows(
        "SELECT number, content_sha256, path, rows, source, source_key, source_etag, known_from < known_to "
        "FROM collection.versions"
    )
    assert version == (1, first.stored.sha256, correction.kept, 60, "archive", "a.zip", "a", True)
    [record] = stores.ledger.partitions()
    assert (record.state, record.corrections, record.content_sha256) == (State.AVAILABLE, 1, second.stored.sha256)
    assert stores.rows("SELECT known_to FROM collection.versions") == [(record.known_from,)]
    assert stores.ledger.summary()[0].corrections == 1


def test_every_further_version_has_the_next_number(stores: Bench) -> None:
    for name, price in (("a", 1), ("b", 2), ("c", 3), ("d", 1)):
        stores.publish(bars({0: price}), name)
    found = stores.rows(
        "SELECT number, source_key, known_from, known_to, path FROM collection.versions ORDER BY number"
    )
    assert [(number, key) for number, key, *_ in found] == [(1, "a.zip"), (2, "b.zip"), (3, "c.zip")]
    assert [row[3] for row in found[:2]] == [row[2] for row in found[1:]], "one ends where the next begins"
    closes = [StoredRows(BARS, stores.file(path), path).column("close").to_pylist() for *_, path in found]
    assert closes == [[1], [2], [3]]
    assert [record.version for record in stores.ledger.corrections()] == [3, 2, 1]
    assert stores.ledger.partitions()[0].corrections == 3


def test_the_same_rows_published_again_are_no_version(stores: Bench) -> None:
    stores.publish(bars(MINUTES), "a")
    [before] = stores.ledger.partitions()
    outcome = stores.publish(bars(MINUTES), "b")
    assert outcome.correction is not None
    assert outcome.correction.text == "published again, rows equal"
    assert not outcome.correction.changes_rows
    [found] = stores.ledger.corrections()
    assert (found.version, found.rows_added, found.rows_removed, found.rows_changed) == (None, 0, 0, 0)
    assert stores.ledger.corrections(equal_rows=False) == []
    assert stores.rows("SELECT count(*) FROM collection.versions") == [(0,)]
    assert [path for path in stores.lake.store.paths("") if not path.startswith("exchange=")] == ["_lake.json"]
    [record] = stores.ledger.partitions()
    assert (record.source_key, record.corrections) == ("b.zip", 0)
    assert record.known_from == before.known_from, "the rows are known since they were first collected"


def test_the_same_file_again_is_nothing(stores: Bench) -> None:
    stores.publish(bars(MINUTES), "a")
    [before] = stores.ledger.partitions()
    assert stores.publish(bars(MINUTES), "a").correction is None
    assert stores.ledger.corrections() == []
    assert stores.ledger.partitions()[0].known_from == before.known_from


def test_a_provisional_day_that_grows_is_no_version_and_the_archive_then_corrects_it(stores: Bench) -> None:
    def part(count: int) -> pa.Table:
        return bars({n: 100 + n for n in range(count)})

    for count in (20, 40, 40):
        assert stores.publish(part(count), f"r{count}", "rest").correction is None
    assert stores.rows("SELECT rows FROM collection.growth") == [(20,)]
    provisional = stores.file(stores.lake.path(BARS, PARTITION))
    outcome = stores.publish(part(60), "a")
    assert outcome.correction is not None
    assert outcome.correction.text == "rows 20 added (rest → archive)"
    assert outcome.correction.kept is not None
    assert stores.file(outcome.correction.kept) == provisional
    assert stores.rows("SELECT source, rows FROM collection.versions") == [("rest", 40)]
    assert stores.rows("SELECT DISTINCT source FROM market.ohlcv WHERE timeframe = '1m'") == [("archive",)]


def test_a_provisional_day_that_the_archive_confirms_is_recorded_so(stores: Bench) -> None:
    stores.publish(bars(MINUTES), "r", "rest")
    outcome = stores.publish(bars(MINUTES), "a")
    assert outcome.correction is not None
    assert outcome.correction.text == "published again (rest → archive), rows equal"
    assert stores.rows("SELECT count(*) FROM collection.versions") == [(0,)]


def test_a_provisional_day_whose_rows_changed_is_a_version_too(stores: Bench) -> None:
    stores.publish(bars(MINUTES), "r", "rest")
    outcome = stores.publish(bars(MINUTES | {3: 1, 60: 2}), "s", "rest")
    assert outcome.correction is not None
    assert outcome.correction.changes_rows
    assert stores.rows("SELECT source, rows FROM collection.versions") == [("rest", 60)]


@pytest.mark.parametrize("damage", ["gone", "cut", "another file", "inside"])
def test_a_former_file_that_is_damaged_or_gone_is_recorded_as_lost_and_blocks_nothing(
    stores: Bench, damage: str
) -> None:
    first = stores.publish(bars(MINUTES), "a")
    assert first.stored is not None
    path = stores.folder / first.stored.path
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "another file":
        path.write_bytes(stores.lake.encode(BARS, PARTITION, bars({0: 1}), SourceFile("x", 1, "x", "x")))
    else:
        path.write_bytes(content[:100] if damage == "cut" else content[:300] + b"\0" * 50 + content[350:])
    second = stores.publish(bars(MINUTES | {7: 1}), "b")
    assert second.correction is not None
    assert second.correction.difference is None
    assert second.correction.text == "replaced: 60 rows, their file is damaged or deleted, became 60"
    [found] = stores.ledger.corrections(equal_rows=False)
    assert (found.version, found.rows_added, found.rows_changed, found.former_sha256) == (
        1,
        None,
        None,
        first.stored.sha256,
    )
    assert stores.rows("SELECT path, content_sha256, rows FROM collection.versions") == [
        (None, first.stored.sha256, 60)
    ]
    assert stores.lake.read_partition(BARS, PARTITION).equals(bars(MINUTES | {7: 1}))
    assert not list(stores.folder.glob("staging/*"))


def test_a_damaged_file_that_is_collected_again_as_it_was_is_no_correction(stores: Bench) -> None:
    first = stores.publish(bars(MINUTES), "a")
    assert first.stored is not None
    (stores.folder / first.stored.path).write_bytes(b"PAR1")
    assert stores.publish(bars(MINUTES), "a").correction is None
    assert stores.ledger.corrections() == []
    assert stores.lake.read_partition(BARS, PARTITION).equals(bars(MINUTES))


def test_a_lake_that_goes_away_in_the_middle_of_a_run_is_not_filled_at_its_place(stores: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        by = stores.publisher(pool)
        stores.publish(bars(MINUTES), "a", by=by)
        disk = stores.folder.rename(stores.folder.with_name("disk"))
        stores.folder.mkdir()
        with pytest.raises(StoredDataError, match=r"is not where it was: .* none is there now"):
            stores.publish(bars({1440: 1}), "b", day=DAY + timedelta(days=1), by=by)
        assert not list(stores.folder.iterdir())
        assert [record.day for record in stores.ledger.partitions()] == [DAY]
        stores.folder.rmdir()
        disk.rename(stores.folder)
        assert stores.publish(bars({1440: 1}), "b", day=DAY + timedelta(days=1), by=by).stored is not None


def test_a_file_that_the_ledger_has_lost_is_kept_when_it_is_replaced(stores: Bench) -> None:
    first = stores.publish(bars(MINUTES), "a")
    assert first.stored is not None
    former = stores.file(first.stored.path)
    with psycopg.connect(stores.url) as connection:
        connection.execute("DELETE FROM collection.partitions")
    outcome = stores.publish(bars(MINUTES | {7: 1}), "b")
    assert outcome.correction is not None
    assert outcome.correction.kept is not None
    assert stores.file(outcome.correction.kept) == former
    assert stores.rows("SELECT known_from = known_to, source_key FROM collection.versions") == [(True, "a.zip")]


def test_a_day_that_another_run_has_replaced_since_it_was_read_is_left_as_that_run_left_it(stores: Bench) -> None:
    first = stores.publish(bars(MINUTES), "a")
    assert first.stored is not None
    assert first.source is not None
    second = stores.publish(bars(MINUTES | {7: 1}), "b")
    assert second.stored is not None
    target = Target(BARS, "BTC/USDT", (DAY,), ("ohlcv",))
    stale = Day(target, PARTITION, bars(MINUTES), first.source, known=first.stored)
    with ThreadPoolExecutor(1) as pool:
        publisher = Publisher(pool, stores.collection, Stores(stores.lake, stores.warehouse, stores.ledger), "run-2")
        publisher.publish(
            [stale], [], lambda day, stored, *_: Outcome(BARS, day.partition, State.AVAILABLE, stored=stored)
        )
    [record] = stores.ledger.partitions()
    assert (record.content_sha256, record.run_id) == (second.stored.sha256, "run-1")
    query = "SELECT close FROM market.ohlcv WHERE timeframe = '1m' AND open_time = '2024-01-01T00:07Z'"
    assert stores.rows(query) == [(1,)]


def test_corrections_are_found_by_everything_that_is_given(stores: Bench) -> None:
    for offset in range(3):
        for name, price in (("a", 1), ("b", 2)):
            day = DAY + timedelta(days=offset)
            shifted = bars({1440 * offset: price})
            stores.publish(shifted, f"{name}{offset}", day=day)

    def days(**given: Any) -> list[int]:
        return [record.day.day for record in stores.ledger.corrections(**given)]

    assert days() == [3, 2, 1]
    assert days(limit=2) == [3, 2]
    assert days(first=date(2024, 1, 2), last=date(2024, 1, 2)) == [2]
    assert days(exchange="binance", market_type="spot", symbols=["BTC/USDT"], datasets=["ohlcv_1m"]) == [3, 2, 1]
    assert days(symbols=["ETH/USDT"]) == days(datasets=["trades"]) == days(exchange="okx") == []


def test_what_is_shown_on_the_asset_is_short(stores: Bench) -> None:
    stores.publish(bars(MINUTES), "a")
    outcome = stores.publish(bars(dict.fromkeys(range(1440), "1234567.12345678")), "b")
    assert outcome.correction is not None
    text = outcome.correction.markdown
    assert len(text) < 1000, "Dagster shows longer ones behind a link"
    assert text.splitlines()[2:5] == [
        "|row|what|before|after|",
        "|-|-|-|-|",
        "|2024-01-01 00:00:00|open|100|1234567.12345678|",
    ]
