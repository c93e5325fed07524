"""Lock files that somebody else has written: nothing outside of the lake is read by them, and each is said in one line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crypto_assets.errors import ConfigError
from crypto_assets.model import Partition, Series, SourceFile
from crypto_assets.quality.lock import file
from crypto_assets.quality.lock.content import (
    DaysWithoutFile,
    Lock,
    LockedFile,
    digest,
    read_locked,
    to_text,
    write_lock,
)
from crypto_assets.quality.lock.file import read_lock
from crypto_assets.quality.lock.line_reader import OtherLayout
from crypto_assets.quality.query import Query
from crypto_assets.storage.lake import Lake
from crypto_assets_tests.command import Command, no_traceback
from crypto_assets_tests.project import entry
from crypto_assets_tests.storage.test_lake import bars

BARS = Series("binance", "spot", "ohlcv", "1m")
BTC = "BTC/USDT"
DAYS = [date(2024, 1, day) for day in (1, 2, 3)]


@dataclass
class Locked:
    """A lake with three days, a lock of them, and the command line."""

    lake: Lake
    lock: Lock
    folder: Path
    command: Command

    def content(self) -> dict[str, Any]:
        return json.loads(to_text(self.lock))

    def write(self, name: str, content: Any) -> Path:
        """Write a lock with the right digest, or any bytes."""
        path = self.folder / f"{name}.lock"
        if isinstance(content, dict):
            made = {key: value for key, value in content.items() if key not in ("digest", "created_at")}
            content = json.dumps({**content, "digest": digest(made)})
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


def command_at(home: Path, lake: Lake) -> Command:
    command = Command.at(home, CRYPTO_ASSETS_LAKE_URL=lake.url)
    command.configure({"series": [entry(["ohlcv_1m"], [BTC], DAYS[0])]})
    return command


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Locked:
    folder = tmp_path_factory.mktemp("locked")
    lake, files = Lake(str(folder / "lake")), []
    for day in DAYS:
        stored = lake.write(BARS, Partition(BTC, day), bars(day), SourceFile("key", 1, "", "b" * 64))
        files.append(
            LockedFile(
                exchange="binance",
                market_type="spot",
                symbol=BTC,
                dataset="ohlcv_1m",
                day=day,
                path=stored.path,
                rows=stored.rows,
                sha256=stored.sha256,
                version=1,
                state="available",
                known_from=datetime(2024, 2, 1, tzinfo=UTC),
                source="archive",
                source_key="key",
                source_sha256="b" * 64,
            )
        )
    query = Query(symbols=(BTC,), first=DAYS[0], last=DAYS[-1])
    lock = Lock(query, None, tuple(files), (), datetime(2024, 2, 2, tzinfo=UTC) + timedelta(seconds=1))
    command = command_at(folder / "home", lake)
    return Locked(lake, lock, folder, command)


Change = Callable[[dict[str, Any]], Any]


def of_line(**values: Any) -> Change:
    return lambda content: content["files"][1].update(values)


SECRET = b"root:$6$secret\n"

BAD_LINES: dict[str, tuple[Change, str]] = {
    "an absolute path": (of_line(path="/etc/shadow"), "path: expected exchange="),
    "a path that leads up": (of_line(path="../secret"), "found '../secret'; it was not read"),
    "a path of another day": (lambda c: of_line(path=c["files"][0]["path"])(c), "it was not read"),
    "a path of the identity": (of_line(path="_lake.json"), "it was not read"),
    "a path with NUL": (of_line(path="a\0b"), "path: expected a text that can be stored"),
    "a long path": (of_line(path="x/" * 1_000_000), "path: expected a text of at most 10,000 letters, found 2,000,000"),
    "a number as path": (of_line(path=7), "path: expected a text, found a number"),
    "a list as path": (of_line(path=["/etc/shadow"]), "path: expected a text, found a list"),
    "a number as symbol": (of_line(symbol=7), "symbol: expected a text, found a number"),
    "a symbol that leads up": (of_line(symbol="BTC/USDT:X-../../../secret"), "symbol"),
    "a symbol with a title": (of_line(symbol="BTC/\x1b]0;owned\x07"), "symbol"),
    "nothing as exchange": (of_line(exchange=None), "exchange: expected a text, found nothing"),
    "an unknown exchange": (of_line(exchange="../x"), "exchange: expected one of binance"),
    "an unknown market type": (of_line(market_type="x"), "market_type: expected one of spot"),
    "an unknown dataset": (of_line(dataset="types"), "dataset: expected one of"),
    "an unknown timeframe": (of_line(dataset="ohlcv_7x"), "timeframe '7x' is unknown"),
    "no day": (of_line(day="2024-13-01"), "day: expected a day such as 2024-01-31"),
    "a number as day": (of_line(day=20240101), "day: expected a text, found a number"),
    "a truth value as rows": (of_line(rows=True), "rows: expected a whole number, found a boolean"),
    "rows below 0": (of_line(rows=-1), "rows: expected a number from 0"),
    "too many rows": (of_line(rows=10**30), "rows: expected a number from 0"),
    "no sha256": (of_line(sha256="../../x"), "sha256: expected 64 hexadecimal digits"),
    "an instant of nowhere": (of_line(known_from="2024-01-01T00:00:00"), "known_from: expected an instant"),
    "a state of nobody": (of_line(state="owned"), "state: expected one of pending, available"),
    "a field too many": (of_line(**{"a\x1b[2J": 1}), "expected the fields exchange"),
    "a field too few": (lambda c: c["files"][1].pop("path"), "expected the field path, found none"),
    "a text as source files": (of_line(source_files="k1.zip"), "expected a list, found a text"),
    "a source file without its key": (of_line(source_files=[{}]), "expected the field key, found none"),
    "a text as line": (lambda c: c["files"].__setitem__(1, "/etc/shadow"), "expected an object, found a text"),
}


def test_one_bad_line_is_refused_and_the_others_are_checked(locked: Locked) -> None:
    (locked.folder / "secret").write_bytes(SECRET)
    paths = []
    for number, (change, _) in enumerate(BAD_LINES.values()):
        content = locked.content()
        change(content)
        line = content["files"][1]
        if isinstance(line, dict) and line["sha256"] != "../../x":
            line["sha256"] = hashlib.sha256(SECRET).hexdigest()  # so that it would be the same
        paths.append(locked.write(f"line-{number}", content))
    answers = locked.command.sequence(*(f"verify {path}" for path in paths))
    for name, (_, says), answer in zip(BAD_LINES, BAD_LINES.values(), answers, strict=True):
        assert answer.code == 1, (name, answer.out, answer.err)
        first, *others = answer.out.splitlines()
        assert first.startswith("files, line 2: refused: "), name
        assert says in first, (name, first)
        assert len(first) < 1_500, name
        assert others[-1] == "2 of 2 files are the same, by their bytes; 1 line of the lock refused", (name, others)
        assert no_traceback(answer), name
        assert "".join(answer.out.split("\n")).isprintable(), name
        assert hashlib.sha256(SECRET).hexdigest() not in answer.out
    [as_json] = locked.command.sequence(f"verify {paths[0]} --json")
    assert (as_json.code, as_json.json["same"], as_json.json["counts"]["same"]) == (1, False, 2)
    assert [line["line"] for line in as_json.json["refused"]] == ["files, line 2"]


def test_many_bad_lines_are_counted(locked: Locked) -> None:
    content = locked.content()
    content["files"] += [{"path": "/etc/shadow"}] * 1_000
    [answer] = locked.command.sequence(f"verify {locked.write('many', content)}")
    lines = answer.out.splitlines()
    assert len(lines) == 22
    assert lines[-2:] == [
        "… and 980 more refused lines: --json",
        "3 of 3 files are the same, by their bytes; 1,000 lines of the lock refused",
    ]


def whole(change: Callable[[dict[str, Any]], Any]) -> Callable[[Locked, Path], Path]:
    def write(locked: Locked, path: Path) -> Path:
        content = locked.content()
        change(content)
        return locked.write(path.name, content)

    return write


def fifo(locked: Locked, path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(locked: Locked, path: Path) -> Path:
    path.mkdir()
    return path


def raw(content: bytes) -> Callable[[Locked, Path], Path]:
    return lambda locked, path: locked.write(path.name, content)


def huge(locked: Locked, path: Path) -> Path:
    path.touch()
    os.truncate(path, 1 << 40)
    return path


BAD_FILES: dict[str, tuple[Callable[[Locked, Path], Path], str]] = {
    "a pipe": (fifo, "expected a lock file, found something that is not a regular file"),
    "a folder": (folder, "is a directory"),
    "a device": (lambda *_: Path("/dev/zero"), "expected a lock file, found something that is not a regular file"),
    "a terabyte": (huge, "expected a lock file of at most 671,088,640 bytes, found 1,099,511,627,776"),
    "a long name": (lambda *_: Path("x" * 5_000), "expected a lock file, found: File name too long"),
    "deep lists": (raw(b"[" * 100_000), "expected at most 32 nested lists and objects, found more"),
    "deep objects": (raw(b'{"a":' * 500 + b"1" + b"}" * 500), "expected at most 32 nested lists and objects"),
    "no text": (raw(b"\xff\xfe\x00"), "expected the JSON of `crypto-assets lock`, found other text"),
    "a number without an end": (raw(b"1" * 100_000), "expected the JSON of `crypto-assets lock`, found other text"),
    "half a surrogate pair": (raw(b'{"format": 1, "package": "\\ud800"}'), "found text that cannot be stored"),
    "an edited one with a title": (raw(b'{"format": 1, "digest": "\\u001b]0;owned\\u0007"}'), "edited or damaged"),
    "a later format with a title": (raw(b'{"format": 9, "package": "\\u001b]0;owned\\u0007"}'), "found 9, made by"),
    "a text as files": (whole(lambda c: c.update(files="x")), "files: expected a list, found a text"),
    "no files": (whole(lambda c: c.pop("files")), "expected the field files, found none"),
    "a list as query": (whole(lambda c: c.update(query=[])), "query: expected an object, found a list"),
    "a number as symbols": (whole(lambda c: c["query"].update(symbols=7)), "symbols: expected a list, found a number"),
    "a number as a symbol": (
        whole(lambda c: c["query"].update(symbols=[7])),
        "symbols: expected a text, found a number",
    ),
    "a symbol asked for that is none": (
        whole(lambda c: c["query"].update(symbols=["\x1b"])),
        "expected the form BTC/USDT",
    ),
    "days that end before they begin": (
        whole(lambda c: c["query"].update({"from": "2024-01-02", "to": "2024-01-01"})),
        "expected --from on or before --to",
    ),
    "a number as instant": (whole(lambda c: c.update(created_at=7)), "created_at: expected a text, found a number"),
    "an instant of no zone": (whole(lambda c: c.update(created_at="2024-01-01")), "created_at: expected an instant"),
}


def test_a_file_that_is_no_lock_is_one_line_and_exit_code_2(locked: Locked, tmp_path: Path) -> None:
    made = [make(locked, tmp_path / f"bad-{number}") for number, (make, _) in enumerate(BAD_FILES.values())]
    answers = locked.command.sequence(*(f"verify {path}" for path in made), timeout_s=60)
    for (name, (_, says)), answer in zip(BAD_FILES.items(), answers, strict=True):
        assert answer.code == 2, (name, answer.err)
        assert says in answer.err, (name, answer.err)
        assert answer.out == ""
        assert no_traceback(answer), name
        assert "\x1b" not in answer.err, name


def test_what_lies_in_a_days_place_is_said_and_stops_no_other(locked: Locked, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for day in DAYS:
        lake.write(BARS, Partition(BTC, day), bars(day), SourceFile("key", 1, "", "b" * 64))
    places = [tmp_path / "lake" / lake.path(BARS, Partition(BTC, day)) for day in DAYS]
    for place in places[:2]:
        place.unlink()
    os.mkfifo(places[0])
    (tmp_path / "secret").write_bytes(SECRET)
    places[1].symlink_to(tmp_path / "secret")
    command = command_at(tmp_path / "home", lake)
    [answer] = command.sequence(f"verify {locked.write('places', locked.content())}", timeout_s=60)
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert [line.partition("expected a file, ")[2].split(";")[0] for line in lines[:2]] == [
        "found a pipe",
        "found a link",
    ]
    assert lines[2] == "1 of 3 files are the same, by their bytes"


def test_rows_are_not_read_by_a_lock_with_a_bad_line(locked: Locked) -> None:
    content = locked.content()
    content["files"][1]["path"] = "/etc/shadow"
    lock = read_lock(locked.write("reading", content))
    with pytest.raises(ConfigError, match=r"found files, line 2: .*path: expected .*; create the lock again"):
        read_locked(lock, locked.lake, BARS, BTC, DAYS[0], DAYS[0], ["close"])


# ---- sizes -----------------------------------------------------------------------------------------------------------


def test_a_lock_reads_the_same_line_by_line_and_as_a_whole(locked: Locked, monkeypatch: pytest.MonkeyPatch) -> None:
    without = DaysWithoutFile(
        exchange="binance", market_type="spot", symbol=BTC, dataset="ohlcv_1m", first=DAYS[0], last=DAYS[-1],
        state="missing", reason="a reason with ü and \u2028",
    )  # fmt: skip
    path = locked.folder / "as-written.json"
    for lock in (locked.lock, replace(locked.lock, without_file=(without,)), replace(locked.lock, files=())):
        write_lock(lock, path)
        monkeypatch.setattr(file, "MOST_OTHER_BYTES", 0)  # so that it can only be read line by line
        by_line = read_lock(path)
        monkeypatch.undo()
        monkeypatch.setattr(file, "read_lines", refuse)
        as_a_whole = read_lock(path)
        monkeypatch.undo()
        assert by_line == as_a_whole == lock


def refuse(*_: object) -> None:
    raise OtherLayout


@pytest.mark.parametrize("change", [(b'"rows": ', b'"rows": 1'), (b'"spot"', b'"linear"'), (b"2024", b"2023")])
def test_a_line_that_was_edited_is_noticed_by_the_digest(locked: Locked, change: tuple[bytes, bytes]) -> None:
    path = locked.folder / "edited.json"
    write_lock(locked.lock, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(*change, 1))
    assert path.read_bytes() != content
    with pytest.raises(ConfigError, match="it was edited or damaged"):
        read_lock(path)


_SIZES = """
import resource, sys
from pathlib import Path
from crypto_assets.errors import ConfigError
from crypto_assets.quality.lock import file
from crypto_assets.quality.lock.file import read_lock
file.MOST_LINES = 10_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(len(read_lock(sys.argv[1]).files))
except ConfigError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (b'{"format": 1, "files": [' + b"{}," * 9_000_000 + b"1]}", "27,000,027 bytes in another layout"),
        (b'{\n"format": 1,\n"package": "x",\n"query": {},\n"files": [\n' + b"{},\n" * 10_001, "at most 10,000 lines"),
        (b'{\n"format": ' + b"1" * 9_000_000, "9,000,012 bytes in another layout"),
    ],
    ids=["one line", "many lines", "a long line"],
)
def test_a_hostile_lock_takes_little_memory(tmp_path: Path, lines: bytes, says: str) -> None:
    path = tmp_path / "hostile.json"
    path.write_bytes(lines)
    told = subprocess.run([sys.executable, "-c", _SIZES, path], capture_output=True, text=True, check=True)
    said, megabytes = told.stdout.splitlines()
    assert says in said
    assert int(megabytes) < 50
