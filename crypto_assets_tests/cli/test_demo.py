"""The demo: it shows what was stored, changes nothing the second time, and touches nothing real."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets.storage.embedded_postgres import delete_server, ensure_server
from crypto_assets_tests.cli.test_cli import table_of
from crypto_assets_tests.command import Answer, Command, no_traceback

# ---- the demo --------------------------------------------------------------------------------------------------------


@dataclass
class Demo:
    home: Path
    first: Answer
    second: Answer
    before: dict[str, tuple[bytes, int]]
    rows_before: list[tuple[Any, ...]]


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def row_versions(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT symbol, timeframe, count(*), min(xmin::text::bigint), max(xmin::text::bigint), sum(volume) "
            "FROM market.ohlcv GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """Two demos in one home, where the environment names another lake and another Postgres that must not be used."""
    home = Path(tempfile.mkdtemp(prefix="crypto_assets_tests-"))
    home.chmod(0o711)
    command = Command.at(
        home,
        "postgresql://nobody@127.0.0.1:1/real",
        CRYPTO_ASSETS_LAKE_URL=str(home / "real-lake"),
    )
    try:
        first = command("demo")
        assert first.code == 0, first
        before = files_of(home / "demo" / "lake")
        rows = row_versions(ensure_server(home / "demo", durable=False))
        second = command("demo")
        yield Demo(home, first, second, before, rows)
    finally:
        delete_server(home / "demo")
        subprocess.run(["rm", "-rf", str(home)], check=True)


def test_the_demo_shows_what_was_stored_and_checked(demo: Demo) -> None:
    assert no_traceback(demo.first)
    assert "none of these prices is real" in demo.first.out
    cells = table_of(demo.first.out)
    assert len(cells) == 3 * 3 + 2 * 3
    for name in ("BTC", "ETH", "SOL"):
        # days, complete, partial, missing, no data, rows
        assert cells[f"binance/spot/ohlcv_1m/{name}-USDT"][:6] == ["11", "10", "0", "0", "1", "14,400"]
    assert cells["binance/linear/ohlcv_1h/ETH-USDT"][:6] == ["11", "10", "0", "0", "1", "240"]
    assert cells["binance/linear/funding_rates/BTC-USDT"][:6] == ["11", "10", "0", "0", "1", "30"]
    assert cells["binance/spot/ohlcv_1m/BTC-USDT"][-2:] == ["119", "0"], "eleven checks a day, nine midnights"
    assert all(line[-1] == "0" for line in cells.values()), "failed checks"
    assert "165 days requested: 150 available, 15 no data" in demo.first.out
    assert "no data: not listed before 2024-01-01 00:00 UTC: the exchange's first row" in demo.first.out


def test_a_second_demo_changes_no_byte_and_no_row(demo: Demo) -> None:
    assert demo.second.code == 0
    assert table_of(demo.second.out) == table_of(demo.first.out)
    assert len(demo.before) == 151, "the days, and the id of the lake"
    assert files_of(demo.home / "demo" / "lake") == demo.before
    assert len(demo.rows_before) > 10
    assert row_versions(ensure_server(demo.home / "demo", durable=False)) == demo.rows_before


def test_the_demo_touches_no_real_lake_and_no_real_database(demo: Demo) -> None:
    assert not (demo.home / "real-lake").exists()
    assert f"Parquet   {demo.home / 'demo' / 'lake'}" in demo.first.out
    assert ":1/real" not in demo.first.out + demo.first.err
    assert sorted(path.name for path in demo.home.iterdir()) == ["demo"]
