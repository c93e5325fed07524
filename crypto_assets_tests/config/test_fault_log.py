"""The last words of each kind of error, and what is kept of it in the log of the home."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
import yaml
from botocore.exceptions import ClientError

from crypto_assets.config import fault_log
from crypto_assets.config.fault_log import is_explained, keep_traceback, last_line, traceback_of, words_of
from crypto_assets.errors import ConfigError, CryptoAssetsError, NothingCollected, PostgresUnavailable, Stopped


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path))
    return tmp_path


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


STATEMENT = sqlalchemy.exc.ProgrammingError(
    "SELECT secret FROM t", {"a": "parameter"}, psycopg.errors.UndefinedColumn("column secret\nLINE 1: SELECT")
)
DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")
WORDS = {
    "ours": (ConfigError("--from: expected a day"), "--from: expected a day"),
    "a statement": (STATEMENT, "Postgres refused what was asked: column secret; what was stored stays"),
    "a driver": (psycopg.errors.DiskFull("no room"), "Postgres refused what was asked: no room; what was stored stays"),
    "a bucket": (DENIED, "the bucket of the lake fails: "),
    "YAML": (yaml.YAMLError("a tab"), "a YAML file cannot be read: a tab"),
    "JSON": (
        json.JSONDecodeError("Expecting value", "a secret document", 0),
        "a JSON text cannot be read: Expecting value",
    ),
    "a disk that is read-only": (
        OSError(errno.EROFS, "Read-only file system", "/lake/a"),
        "/lake/a: Read-only file system; its disk",
    ),
    "a disk that is broken": (
        OSError(errno.EIO, "Input/output error", b"/lake/b"),
        "/lake/b: Input/output error; its disk does",
    ),
    "too many files": (OSError(errno.EMFILE, "Too many open files"), "this process has too many open files"),
    "memory": (MemoryError(), "this process has not enough memory"),
    "depth": (RecursionError("maximum recursion"), "a file or an answer is nested too deeply to be read"),
    "what nobody expects": (KeyError("name"), "unexpected KeyError: 'name'; please report it"),
    "a password": (
        ValueError("postgresql://u:hunter2@h/d"),
        "unexpected ValueError: postgresql://u:***@h/d; please report it",
    ),
}


@pytest.mark.parametrize(("error", "words"), WORDS.values(), ids=WORDS.keys())
def test_every_kind_of_error_is_one_line_without_sql_or_passwords(error: BaseException, words: str) -> None:
    found = words_of(raised(error))
    assert found.startswith(words)
    assert "\n" not in found
    for hidden in ("SELECT", "parameter", "hunter2", "document"):
        assert hidden not in found


@pytest.mark.parametrize(
    ("error", "cause", "explained"),
    [
        (ConfigError("a"), ValueError("b"), True),
        (NothingCollected("a"), None, True),
        (Stopped("a"), OSError("b"), True),
        (PostgresUnavailable("a"), None, True),
        (PostgresUnavailable("a"), OSError("b"), False),
        (CryptoAssetsError("a"), KeyError("b"), False),
        (KeyError("a"), None, False),
    ],
)
def test_a_traceback_is_kept_where_the_line_does_not_say_all(
    home: Path, error: BaseException, cause: BaseException | None, explained: bool
) -> None:
    caught = raised(error, cause)
    assert is_explained(caught) is explained
    line = last_line(caught)
    assert line.endswith(f"; its traceback is in {home / 'errors.log'}") is not explained
    assert (home / "errors.log").exists() is not explained


def test_a_mistake_that_may_be_ours_keeps_its_traceback_though_it_is_said_to_be_one_of_the_configuration(
    home: Path,
) -> None:
    error = ConfigError("the file is wrong, or we are")
    error.explained = False
    assert not is_explained(raised(error, AttributeError("b")))
    assert not is_explained(raised(error, None)) or raised(error).__cause__ is None


def test_the_log_is_private_without_passwords_and_cut(home: Path) -> None:
    error = raised(ValueError(f"postgresql://u:hunter2@h/d {'x' * 1000}\x1b[31m"))
    log = keep_traceback(error)
    assert log == home / "errors.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    assert "ValueError" in text
    assert "hunter2" not in text
    assert "\x1b" not in text
    assert "characters)" in text
    assert max(map(len, text.splitlines())) < 500


def test_a_traceback_has_a_bound_and_keeps_its_beginning_and_end() -> None:
    text = traceback_of(raised(ValueError("\n".join(f"line {number}" for number in range(10_000)))))
    assert len(text) < 21_000
    assert text.startswith("Traceback")
    assert text.endswith("line 9999")


def test_the_log_before_is_kept_once_it_is_large(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_log, "_MOST_BYTES", 10)
    for number in range(3):
        keep_traceback(raised(ValueError(f"number {number}")))
    assert "number 2" in (home / "errors.log").read_text()
    assert "number 1" in (home / "errors.log.old").read_text()
    assert {path.name for path in home.iterdir()} == {"errors.log", "errors.log.old"}


def test_without_a_home_the_line_is_said_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_ASSETS_HOME", str(tmp_path / "none"))
    assert last_line(raised(KeyError("a"))) == "unexpected KeyError: 'a'; please report it"
    assert not (tmp_path / "none").exists()
