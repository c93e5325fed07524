"""Rows of the ledger that somebody else has written: no file outside of the lake is read, written or deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest

import crypto_assets
from crypto_assets.errors import StoredDataError
from crypto_assets.model import Series
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.command import no_traceback
from crypto_assets_tests.workbench import Workbench, entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
DAYS = [date(2024, 1, day) for day in (1, 2)]
SECRET = b"root:$6$secret"


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, DAYS[0], DAYS[-1], trades_per_day=300)) as server:
        yield server


@pytest.mark.parametrize("path", ["{tmp}/victim", "exchange=binance/../../victim", "_lake.json"])
def test_no_path_of_the_ledger_leads_outside(
    running: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    mine = project.make(running, tmp_path, postgres_url, monkeypatch, project.entry(["ohlcv_1m"], [BTC], DAYS[0]))
    work = Workbench(running, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], DAYS[0]))
    work.collect(*DAYS)
    (tmp_path / "victim").write_bytes(SECRET)
    path = path.format(tmp=tmp_path)
    identity = (tmp_path / "lake" / "_lake.json").read_bytes()
    with psycopg.connect(postgres_url) as connection:
        lake = work.lake.store.url
        connection.execute("UPDATE collection.partitions SET path = %s WHERE day = %s", (path, DAYS[1]))
        connection.execute(
            "INSERT INTO collection.journal (lake, path, folder, staged, kept, former_sha256, sha256, host, pid) "
            "VALUES (%s, %s, 'a/', %s, %s, 'x', 'x', 'h', 1)",
            (lake, path, path, path),
        )
        connection.execute(
            """INSERT INTO collection.versions (exchange, market_type, symbol, dataset, day, number, path, rows,
                content_sha256, known_from, known_to, source, source_key, source_sha256, source_etag)
            SELECT exchange, market_type, symbol, dataset, day, 1, %s, rows, content_sha256,
                known_from - interval '2 days',
                known_from - interval '1 second', source, source_key, source_sha256, 'e'
            FROM collection.partitions WHERE day = %s""",
            (path, DAYS[0]),
        )
        (known,) = connection.execute("SELECT min(known_from) FROM collection.versions").fetchone() or (None,)
    span = f"--from {DAYS[0]} --to {DAYS[1]}"
    answers = mine.command.sequence(
        f"collect {span}",
        f"lock -o {tmp_path / 'a.lock'} {span}",
        f"verify {tmp_path / 'a.lock'}",
        f"validate {span}",
        f"fill {span}",
        "gaps",
        "status",
    )
    for answer in answers:
        assert no_traceback(answer), answer.err
        assert (answer.out + answer.err).replace("\n", "").isprintable()
        assert "$6$" not in answer.out + answer.err
    assert "a row of collection.journal is not believed" in answers[0].err
    assert answers[0].code == 0, answers[0].err
    assert (tmp_path / "victim").read_bytes() == SECRET
    assert (tmp_path / "lake" / "_lake.json").read_bytes() == identity
    assert isinstance(known, datetime)
    with pytest.raises(StoredDataError, match=r"expected (a path inside|sha256)"):
        crypto_assets.read("binance", BTC, "ohlcv_1m", DAYS[0], DAYS[0], as_of=known.astimezone(UTC))
    assert len(crypto_assets.read("binance", BTC, "ohlcv_1m", DAYS[0], DAYS[1])) == 2_880
