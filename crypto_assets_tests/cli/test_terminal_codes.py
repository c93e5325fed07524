"""What an exchange, a database or a lake says with control characters in it, through the real commands: no output has one."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_assets.defs.observed.quarantine import QUARANTINE
from crypto_assets.defs.partition_events import materialization_of_record
from crypto_assets.defs.resources import LakeResource
from crypto_assets.ledger.partitions import Ledger
from crypto_assets.model import Series, path_symbol
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets_tests import project
from crypto_assets_tests.command import Answer, no_traceback
from crypto_assets_tests.project import key
from crypto_assets_tests.published import text_of, zip_of
from crypto_assets_tests.workbench import Workbench, entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
DAYS = [date(2024, 1, day) for day in range(1, 6)]
NAME, CELL, LATER = DAYS[1], DAYS[2], DAYS[4]
TITLE = "\x1b]0;owned\x07\x9b2J\u202e"
FORGED = "\nbinance spot ETH/USDT ohlcv_1m 2024-01-01: available"


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, DAYS[0], LATER, trades_per_day=300)) as server:
        yield server


def harmless(text: str) -> bool:
    return all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)


def assert_harmless(answers: list[Answer]) -> None:
    for answer in answers:
        assert no_traceback(answer), answer.err
        assert harmless(answer.out), answer.out
        assert harmless(answer.err), answer.err
        for line in (answer.out + answer.err).splitlines():
            assert not line.startswith("binance spot ETH/USDT"), line


def test_no_output_obeys_what_others_say(
    running: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = project.make(running, tmp_path, postgres_url, monkeypatch, project.entry(["ohlcv_1m"], [BTC], DAYS[0]))
    work = Workbench(running, postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], DAYS[0]))
    work.publish(work.key(BARS, BTC, NAME), zipped(f"{TITLE}{FORGED}.csv", b"1,2"))
    of = work.key(BARS, BTC, CELL)
    lines = text_of(work.bytes_at(of)).splitlines()
    cells = lines[700].split(",")
    cells[4] = f"{TITLE}4"
    work.publish(of, zip_of(of, "\n".join([*lines[:700], ",".join(cells), *lines[701:]]) + "\n"))
    span = f"--from {DAYS[0]} --to {DAYS[3]}"
    [collected] = mine.command.sequence(f"collect {span}")
    assert_harmless([collected])
    assert r"\x1b]0;owned\x07\x9b2J" in collected.out + collected.err
    running.app.state.faults.on("terminal-codes", kinds=("listing",))
    [listed] = mine.command.sequence(f"collect --from {LATER} --to {LATER}")
    running.app.state.faults.off()
    assert_harmless([listed])
    assert r"\x9d0;owned\x9c\x7f\u202e\u2028binance spot forged" in listed.out + listed.err

    text = f"x{TITLE}{FORGED}"
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE collection.partitions SET reason = reason || %s WHERE state <> 'available'", (text,))
        connection.execute(
            "UPDATE collection.partitions SET reason = %s, state = 'no_data' WHERE day = %s", (text, LATER)
        )
    answers = mine.command.sequence(
        "gaps",
        "gaps --json",
        "status",
        "quarantine",
        "runs --all",
        f"validate {span}",
        f"fill {span}",
        f"report -o {tmp_path / 'report'}",
        "sql SELECT/**/chr(155)||chr(27)||chr(10)||chr(8238)",
        f"quarantine show {next(iter(work.quarantined()))[-12:]}",
    )
    assert_harmless(answers)
    assert all(answer.code < 2 for answer in answers)
    assert "owned" in answers[0].out
    page = next((tmp_path / "report").glob("*.html")).read_text()
    assert harmless(page)
    assert "owned" in page
    assert_events_are_harmless(mine, postgres_url)


def assert_events_are_harmless(mine: Any, postgres_url: str) -> None:
    """What Dagster keeps and shows of the days and of the refused files."""
    with Ledger(postgres_url) as ledger:
        asset = key(f"binance/spot/ohlcv_1m/{path_symbol(BTC)}")
        events = [materialization_of_record(asset, record) for record in ledger.partitions() if record.reason]
        found = QUARANTINE.look(mine.collection, ["binance"], ledger, LakeResource())
    texts = [str(value.value) for event in events for value in event.metadata.values()]
    table = found["binance"].metadata["refused files"].value
    assert len(events) >= 2
    assert "owned" in " ".join(texts)
    assert all(map(harmless, [*texts, table]))
    assert len(table.splitlines()) == 2 + found["binance"].metadata["files"]


def zipped(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()
