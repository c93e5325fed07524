"""Reasons and files in quarantine/ that somebody else has put there: each is named, none stops the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crypto_assets.engine.day_outcomes import Target, quarantine
from crypto_assets.errors import BadContainer
from crypto_assets.model import Series, SourceFile
from crypto_assets.quality.quarantine.refused_files import refused_files
from crypto_assets.sandbox.archive import SyntheticArchive
from crypto_assets.sandbox.server import SandboxServer
from crypto_assets.storage.refusal_reason import MOST_BYTES, checked_reason, reason_text
from crypto_assets_tests import project
from crypto_assets_tests.command import no_traceback
from crypto_assets_tests.published import zip_of
from crypto_assets_tests.workbench import Workbench, entry

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
FIRST, LAST = date(2024, 1, 1), date(2024, 1, 2)
PREFIX = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-"
OF = f"{PREFIX}{LAST}.zip"
TITLE = "\x1b]0;owned\x07"

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

# What the reason has instead (bytes: the whole file), and what the list and `restore` say of it.
REASONS: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "deep": (DEEP, "expected at most 32 nested lists and objects"),
    "a little too deep": (b"[" * 40 + b"]" * 40, "expected at most 32 nested lists and objects"),
    "a list": (b"[1, 2]", "expected an object, found a list"),
    "other bytes": (b"\xff\xfe", "expected text in UTF-8, found other bytes"),
    "too large": (b'{"reason": "' + b"x" * (33 << 20) + b'"}', "expected at most 1,048,576 bytes, found 1,048,577"),
    "a long text": ({"reason": "x" * 20_000}, "reason: expected a text of at most 10,000 letters, found 20,000"),
    "a number as reason": ({"reason": 7}, "reason: expected a text, found a number"),
    "a number as symbol": ({"symbol": 7}, "symbol: expected a text, found a number"),
    "a list as exchange": ({"exchange": ["binance"]}, "exchange: expected a text, found a list"),
    "an object as key": ({"key": {}}, "key: expected a text, found an object"),
    "a number as days": ({"days": 7}, "days: expected a list, found a number"),
    "an object as days": ({"days": {"2024-01-01": 1}}, "days: expected a list, found an object"),
    "numbers as days": ({"days": [20240101]}, "days: expected a text, found a number"),
    "many days": ({"days": ["2024-01-01"] * 5_000}, "days: expected at most 4,000 days, found 5,000"),
    "a size below 0": ({"size_bytes": -1}, "size_bytes: expected a number from 0"),
    "a text as size": ({"size_bytes": "9"}, "size_bytes: expected a whole number, found a text"),
    "a list as findings": ({"findings": [1]}, "findings: expected an object, found a list"),
    "a text as checks": ({"findings": {"2024-01-01": "x"}}, "findings: expected an object, found a text"),
    "a text as evidence": ({"findings": {"2024-01-01": {"x": "y"}}}, "findings: expected an object, found a text"),
    "NUL": ({"key": "a\0b"}, "key: expected a text that can be stored"),
    "half a surrogate pair": ({"symbol": "\ud800"}, "symbol: expected a text that can be stored"),
    "an unknown dataset": ({"dataset": "types"}, ""),
    "a dataset of no exchange": ({"dataset": "order_books"}, ""),
    "a path as exchange": ({"exchange": "../../x"}, ""),
    "a path as symbol": ({"symbol": "BTC/USDT:X-../../../../x"}, ""),
    "days outside": ({"days": ["2030-01-01"]}, ""),
    "nothing anywhere": (dict.fromkeys(("exchange", "days", "findings", "key", "error", "symbol", "version")), ""),
    "a title": ({"reason": f"x{TITLE}\nbinance forged", "error": TITLE, "etag": TITLE, "version": "\u202e"}, ""),
    "a title as key": ({"key": f"{OF}{TITLE}\n", "symbol": TITLE}, ""),
}
PLACES = {"a link": "found a link", "a pipe": "found a pipe", "a folder of links": ""}


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(SyntheticArchive({"spot": ["BTCUSDT"]}, FIRST, LAST, trades_per_day=300)) as server:
        yield server


@pytest.fixture
def mine(running: SandboxServer, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    return project.make(running, tmp_path, postgres_url, monkeypatch, project.entry(["ohlcv_1m"], [BTC], FIRST))


@pytest.fixture
def work(mine: Any, running: SandboxServer, tmp_path: Path) -> Iterator[Workbench]:
    """A day that is refused, for its checksum is another, and published as it should be since."""
    work = Workbench(running, mine.postgres_url, tmp_path / "lake", entry("spot", ["ohlcv_1m"], [BTC], FIRST))
    content = work.bytes_at(OF)
    work.publish(OF, content, b"0" * 64)
    work.collect(FIRST, LAST)
    work.publish(OF, content)
    yield work
    running.app.state.overrides.clear()


def refuse(work: Workbench, content: bytes) -> Path:
    """Have some bytes in quarantine/; return where their reason lies."""
    source = SourceFile(OF, len(content), "etag", "c" * 64)
    kept = quarantine(work.lake, OF, content, BadContainer("no zip"), Target(BARS, BTC, (LAST,), ()), [LAST], source)
    return work.folder / f"{kept.path}.reason.json"


def changed(reason: Path, change: dict[str, Any] | bytes) -> None:
    """Put other fields, or other bytes, in a reason."""
    other = change if isinstance(change, bytes) else json.dumps(json.loads(reason.read_text()) | change).encode()
    reason.write_bytes(other)


def test_each_bad_reason_is_named_and_the_good_file_is_restored(work: Workbench, mine: Any, tmp_path: Path) -> None:
    reasons = {}
    for number, (name, (change, _)) in enumerate(REASONS.items()):
        place = reasons[name] = refuse(work, b"no zip %d" % number)
        changed(place, change)
    (tmp_path / "secret").write_bytes(b"root:$6$secret\n")
    link, pipe, folder = (refuse(work, name.encode()).with_suffix("").with_suffix("") for name in PLACES)
    for place in (link, pipe, folder):
        place.unlink()
    link.symlink_to(tmp_path / "secret")
    os.mkfifo(pipe)
    folder.symlink_to(tmp_path)
    odd = work.folder / "quarantine" / f"{TITLE}\n.0123456789ab".replace("/", "")
    odd.write_bytes(b"x")
    (work.folder / "quarantine" / "a\udcff.0123456789ac").write_bytes(b"x")

    listed, as_json, shown, restored = mine.command.sequence(
        "quarantine",
        "quarantine --json",
        f"quarantine show {link.name[-12:]}",
        "quarantine restore --all",
        timeout_s=120,
    )
    for answer in (listed, as_json, shown, restored):
        assert no_traceback(answer), answer.err
        assert answer.out.replace("\n", "").isprintable()
        assert answer.err.replace("\n", "").isprintable()
        assert "$6$secret" not in answer.out + answer.err
    assert (listed.code, as_json.code, shown.code, restored.code) == (0, 0, 0, 1), (listed.err, shown.err, restored.err)

    found = {str(work.folder / one["path"]) + ".reason.json": one for one in as_json.json}
    for name, (_, says) in REASONS.items():
        assert says in found[str(reasons[name])]["reason"], name
        if says:
            assert f"the reason beside it is invalid: {says}" in listed.out, name
    assert len(listed.out.splitlines()) == 3 * len(found)
    assert not any(line.startswith("binance forged") for line in listed.out.splitlines())
    assert "not read: " in shown.out
    assert "found a link" in restored.err
    assert "found a pipe" in restored.err

    assert f"binance spot {BTC} ohlcv_1m {LAST}: available" in restored.out
    assert work.in_lake(BARS, BTC, LAST) == work.published(BARS, BTC, LAST)
    refused = [line for line in restored.err.splitlines() if "still refused" in line]
    assert len(refused) == len(found) - 1, "each of them, and not the good one"


@pytest.mark.parametrize("name", ["deep", "a number as days", "a list as findings", "nothing anywhere"])
def test_a_file_that_is_refused_again_replaces_a_bad_reason(work: Workbench, name: str) -> None:
    place = refuse(work, b"no zip")
    good = json.loads(place.read_text())
    changed(place, REASONS[name][0])
    assert refuse(work, b"no zip") == place
    assert json.loads(place.read_text()) == good | {"refused_at": json.loads(place.read_text())["refused_at"]}


def test_refused_files_of_a_link_are_dropped_and_nothing_behind_it(work: Workbench, tmp_path: Path, mine: Any) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    place = refuse(work, b"x").with_suffix("").with_suffix("")
    place.unlink()
    place.symlink_to(tmp_path / "secret")
    [dropped] = mine.command.sequence(f"quarantine drop --yes {place.name[-12:]}")
    assert dropped.code == 0, dropped.err
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert place.name not in " ".join(file.path for file in refused_files(work.lake))


def test_a_key_with_a_title_stays_in_quarantine_and_is_shown_harmless(work: Workbench, mine: Any) -> None:
    key = f"{PREFIX}{LAST}{TITLE}\n../../x\\y.zip"
    quarantine(work.lake, key, zip_of("x", "y"), BadContainer(key), Target(BARS, BTC, (LAST,), ()), [LAST])
    [listed] = mine.command.sequence("quarantine")
    assert r"\x1b]0;owned\x07\n../../x\y.zip" in listed.out
    assert listed.out.replace("\n", "").isprintable()
    assert not any("\x1b" in str(path) for path in work.folder.rglob("*"))


_OF_EMPTY_OBJECTS = """
import resource, sys
from crypto_assets.storage.refusal_reason import MOST_BYTES, checked_reason
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
content = b'{"findings": {"x": {"y": {"z": [' + b"{}," * ((MOST_BYTES - 100) // 3) + b"1]}}}}"
checked_reason(content)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_the_largest_reason_takes_less_than_100_mb() -> None:
    told = subprocess.run([sys.executable, "-c", _OF_EMPTY_OBJECTS], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 100


def test_a_reason_of_ours_is_never_too_large_to_be_believed() -> None:
    rows = [{"time": f"2024-01-01T00:00:{n:02}", "price": "1" * 20} for n in range(50)]
    findings = {f"2024-01-{day:02}": {f"check {n}": {"rows": rows} for n in range(20)} for day in range(1, 32)}
    content = reason_text({"reason": "why", "error": "InvalidRows", "findings": findings})
    assert len(json.dumps(findings, indent=1)) > MOST_BYTES
    assert len(content) <= MOST_BYTES
    found = checked_reason(content)
    assert found["reason"] == "why"
    assert set(found["findings"]) == {f"2024-01-{day:02}" for day in range(33 - len(found["findings"]) - 1, 32)}
    assert len(found["findings"]) >= 7
